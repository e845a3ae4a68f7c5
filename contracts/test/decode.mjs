// SPDX-License-Identifier: GPL-3.0-or-later
// Print the trades of a market's logs as JSON, a line each, from nothing but BatchSettled: {"abi": …, "logs": …} on stdin.
import { readFileSync } from "node:fs";
import { Interface, dataSlice, dataLength, getAddress, toBigInt, toNumber } from "ethers";

const HEAD = 6;
const ACCOUNT = 20;
const TRADE = 18;

const number = (bytes, at, length) => toNumber(dataSlice(bytes, at, at + length));

function* trades(batch) {
  const firstSlot = number(batch, 0, 4);
  const accounts = number(batch, 4, 2);
  const account = (place) => getAddress(dataSlice(batch, HEAD + place * ACCOUNT, HEAD + (place + 1) * ACCOUNT));
  for (let at = HEAD + accounts * ACCOUNT; at < dataLength(batch); at += TRADE) {
    const offset = number(batch, at + 16, 2);
    yield {
      seller: account(number(batch, at, 2)),
      buyer: account(number(batch, at + 2, 2)),
      energyWh: number(batch, at + 4, 4),
      priceWeiPerWh: BigInt.asIntN(64, toBigInt(dataSlice(batch, at + 8, at + 16))).toString(),
      slot: firstSlot + (offset >> 1),
      imbalance: (offset & 1) === 1,
    };
  }
}

const { abi, logs } = JSON.parse(readFileSync(0, "utf8"));
const market = new Interface(abi);
for (const log of logs) {
  const event = market.parseLog(log);
  if (event?.name !== "BatchSettled") continue;
  const { operator, seq, readingsRoot, contentHash, batch } = event.args;
  for (const trade of trades(batch)) {
    console.log(JSON.stringify({ operator, seq: toNumber(seq), readingsRoot, contentHash, ...trade }));
  }
}
