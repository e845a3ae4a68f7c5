function [reading, meter] = send_energy(meter, slot, energy_kwh, price_ether_per_kwh)
%SEND_ENERGY  Tell the bridge what a source provides (positive) or needs (negative) in one slot of 15 minutes.
%   [READING, METER] = SEND_ENERGY(METER, SLOT, ENERGY_KWH, PRICE_ETHER_PER_KWH) sends it until the bridge has stored it.
%
%   METER says who you are and where the bridge is. Fill it in once, and go on with the one that is returned:
%     meter.host     the gateway's address, '192.168.1.20'
%     meter.port     the bridge's UDP port, 30401
%     meter.source   the name of the source, 'pv'
%     meter.id       its number, for the binary form alone
%     meter.secret   its secret, 64 hex digits; '' where the bridge authenticates nobody
%     meter.form     'json' or 'binary'
%   SLOT is floor(seconds since 1970 / 900), so floor(epoch_s() / 900) is the present one.
%
%   READING.answer.status is 'stored', or what became of the reading: see README.md. It is 'silent' when no answer came
%   in 10 s. READING is what RECEIVE_SETTLED asks for.

% SPDX-License-Identifier: GPL-3.0-or-later

    numbers = [slot, energy_kwh, price_ether_per_kwh];
    if numel(numbers) ~= 3 || ~all(isfinite(numbers))
        error('send_energy:number', 'slot, energy and price have to be one finite number each');
    end
    if ~isfield(meter, 'udp')
        meter = open_port(meter);
    end
    meter.seq = meter.seq + 1;
    reading = struct('boot', meter.boot, 'seq', meter.seq, 'slot', slot);
    now_s = floor(1000 * epoch_s()) / 1000;
    if strcmp(meter.form, 'binary')
        % In this computer's byte order: the bridge sees by the first number which one that is.
        doubles = [21317, 1, meter.id, meter.boot, meter.seq, now_s, slot, energy_kwh, price_ether_per_kwh];
        body = typecast(doubles, 'uint8');
    else
        % 17 digits are a double exactly.
        text = sprintf(['{"version":1,"source":%s,"boot":%.0f,"seq":%.0f,"time":%.3f,"slot":%.17g,' ...
                        '"energy_kwh":%.17g,"price_ether_per_kwh":%.17g}'], ...
                       jsonencode(meter.source), meter.boot, meter.seq, now_s, numbers);
        body = unicode2native(text, 'UTF-8');
    end
    if isempty(meter.secret)
        mac = [];
    else
        mac = hmac_sha256(sscanf(meter.secret, '%2x')', body);
    end
    reading.datagram = uint8([body, mac]);
    reading.answer = ask_bridge(meter, reading, {}, 10);
end

function meter = open_port(meter)
    if ~isempty(meter.secret) && isempty(regexp(meter.secret, '^[0-9a-fA-F]{64}$', 'once'))
        error('send_energy:secret', 'the secret has to be 64 hex digits, or empty');
    end
    if exist('OCTAVE_VERSION', 'builtin')
        pkg('load', 'instrument-control');
        udp = udpport();
        udp.Timeout = 0;  % what is not there yet is not waited for
        meter.udp = udp;
    else
        meter.udp = udpport('datagram');
    end
    % Boot, seq and source name a reading for ever: a boot that was never used before makes every seq a new one.
    meter.boot = floor(1000 * epoch_s());
    meter.seq = 0;
end
