// SPDX-License-Identifier: GPL-3.0-or-later
// Read the market's trades from the chain's log alone, newest block first.
// usage: node trades.mjs RPC_URL EnergyMarket.artifact.json [how many blocks back, 1000]   (npm install ethers)
import { readFileSync } from "node:fs";
import { Contract, JsonRpcProvider } from "ethers";

const [url, file, blocks = "1000"] = process.argv.slice(2);
const artifact = JSON.parse(readFileSync(file, "utf8"));
const provider = new JsonRpcProvider(url);
const { chainId } = await provider.getNetwork();
const market = new Contract(artifact.networks[String(chainId)].address, artifact.abi, provider);

const names = new Map();
const count = await market.actorCount();
for (let place = 0n; place < count; place++) {
  const [account, , name] = await market.actorAt(place);
  names.set(account, name);
}
const head = await provider.getBlockNumber();
const events = await market.queryFilter("BatchSettled", Math.max(0, head - Number(blocks)), head);
for (const event of events.reverse()) {
  console.log(`batch ${event.args.seq} in block ${event.blockNumber}, transaction ${event.transactionHash}`);
  for (const trade of await market.decodeBatch(event.args.batch)) {
    const [seller, buyer] = [trade.seller, trade.buyer].map((account) => names.get(account) ?? account);
    console.log(`  slot ${trade.slot}  ${seller} -> ${buyer}  ${trade.energyWh} Wh x ${trade.priceWeiPerWh} wei`);
  }
}
provider.destroy();
