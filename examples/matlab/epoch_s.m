function seconds = epoch_s()
%EPOCH_S  Seconds since 1970-01-01 00:00 UTC, by this computer's clock.

% SPDX-License-Identifier: GPL-3.0-or-later

    if exist('OCTAVE_VERSION', 'builtin')
        seconds = time();
    else
        seconds = posixtime(datetime('now', 'TimeZone', 'UTC'));
    end
end
