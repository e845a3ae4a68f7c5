// SPDX-License-Identifier: GPL-3.0-or-later
// Open an exported artefact with Truffle and with ethers, unchanged, and print what both answer as JSON.
// usage: node open_artifact.mjs <bundle of @truffle/contract> <folder of node_modules> <artefact> <RPC URL>
import { readFileSync } from "node:fs";
import { createRequire } from "node:module";

const [bundle, modules, file, url] = process.argv.slice(2);
const require = createRequire(`${modules}/`);
const artifact = JSON.parse(readFileSync(file, "utf8"));
const text = (value) => JSON.parse(JSON.stringify(value, (_, one) => (typeof one === "bigint" ? String(one) : one)));

// The bundle is one for browsers: it takes the page for granted, and asks a provider of ours.
globalThis.window = globalThis.self = globalThis;
globalThis.document = {};
require(bundle);
const send = (request, answer) =>
  fetch(url, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(request) })
    .then((response) => response.json())
    .then((told) => answer(null, told), answer);
const Contract = globalThis.TruffleContract(artifact);
Contract.setProvider({ send, sendAsync: send });
const deployed = await Contract.deployed();
const byTruffle = {
  address: deployed.address,
  limit: String(await deployed.limit()),
  open: (await deployed.terms()).open.map(String),
};

const { BaseContract, ContractFactory, JsonRpcProvider } = require("ethers");
const provider = new JsonRpcProvider(url);
const { address } = artifact.networks[String((await provider.getNetwork()).chainId)];
const contract = new BaseContract(address, artifact.abi, provider);
const byEthers = {
  address,
  limit: String(await contract.getFunction("limit")()),
  open: text((await contract.getFunction("terms")()).open),
};
ContractFactory.fromSolidity(artifact);
provider.destroy();
console.log(JSON.stringify({ byTruffle, byEthers }));
process.exit(0);
