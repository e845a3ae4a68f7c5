function digest = sha256(message)
%SHA256  The SHA-256 of a message (FIPS 180-4), in plain MATLAB: no toolbox, no Java.
%   DIGEST = SHA256(MESSAGE) takes a row of bytes and returns 32 of them, as uint8.
%   Words of 32 bits are doubles here, which hold them and their sums exactly; a remainder takes the place of an overflow.

% SPDX-License-Identifier: GPL-3.0-or-later

    word = 2 ^ 32;
    prime = primes(311);  % the first 64
    k = floor(mod(nthroot(prime, 3), 1) * word);
    h = floor(mod(sqrt(prime(1:8)), 1) * word);
    padding = [128, zeros(1, mod(55 - numel(message), 64))];
    message = [double(message), padding, mod(floor(8 * numel(message) ./ 256 .^ (7:-1:0)), 256)];
    for start = 1:64:numel(message)
        w = [2 ^ 24, 2 ^ 16, 2 ^ 8, 1] * reshape(message(start:start + 63), 4, 16);
        for t = 17:64
            s0 = xor3(turned(w(t - 15), 7), turned(w(t - 15), 18), floor(w(t - 15) / 2 ^ 3));
            s1 = xor3(turned(w(t - 2), 17), turned(w(t - 2), 19), floor(w(t - 2) / 2 ^ 10));
            w(t) = mod(w(t - 16) + s0 + w(t - 7) + s1, word);
        end
        v = h;
        for t = 1:64
            s1 = xor3(turned(v(5), 6), turned(v(5), 11), turned(v(5), 25));
            choice = bitxor(bitand(v(5), v(6)), bitand(word - 1 - v(5), v(7)));
            sum1 = v(8) + s1 + choice + k(t) + w(t);
            s0 = xor3(turned(v(1), 2), turned(v(1), 13), turned(v(1), 22));
            majority = xor3(bitand(v(1), v(2)), bitand(v(1), v(3)), bitand(v(2), v(3)));
            v = [mod(sum1 + s0 + majority, word), v(1:3), mod(v(4) + sum1, word), v(5:7)];
        end
        h = mod(h + v, word);
    end
    digest = uint8(reshape(mod(floor([2 ^ -24; 2 ^ -16; 2 ^ -8; 1] * h), 256), 1, 32));
end

function x = turned(x, places)
    % The word with its bits turned to the right.
    low = mod(x, 2 ^ places);
    x = (x - low) / 2 ^ places + low * 2 ^ (32 - places);
end

function x = xor3(a, b, c)
    x = bitxor(bitxor(a, b), c);
end
