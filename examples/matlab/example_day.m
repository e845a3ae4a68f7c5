% SPDX-License-Identifier: GPL-3.0-or-later
% A day of a solar roof: what it will provide in each of the next 96 slots of 15 minutes, sent as readings of their own.
meter.host = '192.168.1.20';  % the gateway
meter.port = 30401;
meter.source = 'pv';
meter.id = 2;  % its number in the bridge's configuration; for the binary form alone
meter.secret = '';  % 64 hex digits, which the gateway shows: sudo energy-bridge secret pv
meter.form = 'json';  % or 'binary'

price_ether_per_kwh = 0.00008;  % it does not sell for less
first_slot = floor(epoch_s() / 900) + 1;
readings = cell(1, 96);
for place = 1:96
    slot = first_slot + place - 1;
    hour_utc = mod(slot, 96) / 4;
    energy_kwh = round(1000 * 0.9 * max(0, sin(pi * (hour_utc - 6) / 12))) / 1000;  % whole Wh
    [readings{place}, meter] = send_energy(meter, slot, energy_kwh, price_ether_per_kwh);
end
stored = sum(cellfun(@(reading) strcmp(reading.answer.status, 'stored'), readings));
fprintf('%d of 96 readings are stored\n', stored);

% A slot is cleared when everybody has reported, and final some blocks later. Ask whenever you like:
answer = receive_settled(meter, readings{1}, 60);
fprintf('slot %d is %s\n', first_slot, answer.status);
