function answer = receive_settled(meter, reading, patience_s)
%RECEIVE_SETTLED  Wait until it is decided what becomes of a reading, and return the bridge's answer.
%   ANSWER = RECEIVE_SETTLED(METER, READING, PATIENCE_S) with what SEND_ENERGY returned. Only answers that are proven by
%   the meter's secret count. PATIENCE_S 0 asks once, and waits a second for the answer.
%
%   ANSWER.status is 'settled' when the trades are final: then ANSWER.deliver is true and the energy may flow. Other ends
%   are 'refused', 'superseded', 'late', 'rejected' and 'conflict'; README.md says what they mean. When there is no end
%   within PATIENCE_S, it is what the bridge said last: 'stored', 'batched' or 'reverted'; or 'silent'.

% SPDX-License-Identifier: GPL-3.0-or-later

    ends = {'settled', 'refused', 'superseded', 'late', 'rejected', 'conflict'};
    answer = ask_bridge(meter, reading, ends, max(patience_s, 1));
end
