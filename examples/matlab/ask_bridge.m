function answer = ask_bridge(meter, reading, ends, patience_s)
%ASK_BRIDGE  Send a reading's datagram until the bridge gives one of these answers, or any where ENDS is {}.
%   The same bytes get the same answer again, so to repeat them is to ask what became of them. Used by SEND_ENERGY and
%   RECEIVE_SETTLED.

% SPDX-License-Identifier: GPL-3.0-or-later

    answer = struct('status', 'silent');
    deadline_s = epoch_s() + patience_s;
    pause_s = 0.5;
    while epoch_s() < deadline_s
        drop_empty_datagram(meter.udp);
        write(meter.udp, reading.datagram, 'uint8', meter.host, meter.port);
        again_s = min(epoch_s() + pause_s, deadline_s);
        pause_s = min(2 * pause_s, 10);
        while epoch_s() < again_s
            [heard, is_ours] = understand(meter, reading, next_datagram(meter.udp));
            if is_ours
                answer = heard;
                if isempty(ends) || any(strcmp(answer.status, ends))
                    return
                end
            end
        end
    end
end

function datagram = next_datagram(udp)
    % The bytes of one datagram, or none after a moment.
    datagram = zeros(1, 0, 'uint8');
    if exist('OCTAVE_VERSION', 'builtin')
        if udp.NumBytesAvailable > 0  % of the first datagram: more would be read out of the next one
            datagram = read(udp, udp.NumBytesAvailable, 'uint8');
        end
    elseif udp.NumDatagramsAvailable > 0
        received = read(udp, 1, 'uint8');
        datagram = uint8(received.Data);
    end
    if isempty(datagram)
        pause(0.01);
    end
end

function drop_empty_datagram(udp)
    % To Octave an empty datagram is as none, and those behind it are not seen; to read it is an error, after which it is
    % gone. What comes at this very moment may be lost, so it is done before a question, which brings it again.
    if exist('OCTAVE_VERSION', 'builtin') && udp.NumBytesAvailable == 0
        try
            read(udp, 512, 'uint8');
        catch
            % It was there.
        end
    end
end

function [answer, is_ours] = understand(meter, reading, datagram)
    % The answer in a datagram, if it is one to this reading and proven by the meter's secret.
    answer = struct();
    is_ours = false;
    if ~isempty(meter.secret)
        if numel(datagram) <= 32
            return
        end
        mac = datagram(end - 31:end);
        datagram = datagram(1:end - 32);
        if ~isequal(mac, hmac_sha256(sscanf(meter.secret, '%2x')', datagram))
            return
        end
    end
    try
        answer = jsondecode(native2unicode(datagram, 'UTF-8'));
    catch
        return
    end
    wanted = {'status', 'source', 'boot', 'seq'};
    is_ours = isstruct(answer) && all(isfield(answer, wanted)) && strcmp(answer.source, meter.source) ...
              && isequal(answer.boot, reading.boot) && isequal(answer.seq, reading.seq);
end
