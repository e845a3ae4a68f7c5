# SPDX-License-Identifier: GPL-3.0-or-later
"""From a datagram to a trade on the chain, as a meter and a node see it."""

from __future__ import annotations

import json
import struct
import time
from collections.abc import Collection, Mapping
from typing import Any

from hosts import PATIENCE_PERIODS, Host, Network, at_once

# Each source's reading is sent until it is answered with what is waited for; without patience, only once.
METER = """
import hashlib, hmac, json, socket, sys, time
given = json.load(sys.stdin)
deadline = time.monotonic() + given["patience_s"]
meters = []
for reading in given["readings"]:
    secret = bytes.fromhex(given["secrets"][reading["source"]])
    body = json.dumps(reading).encode()
    meter = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    meter.settimeout(0.5)
    meter.connect((given["host"], given["port"]))
    meters.append((reading["source"], meter, body + hmac.digest(secret, body, hashlib.sha256)))
answers = {}
while True:
    for source, meter, datagram in meters:
        try:
            meter.send(datagram)
            answers[source] = json.loads(meter.recv(512)[:-32])
        except OSError:
            pass
    done = [answers.get(name, {}).get("status") in given["until"] for name, _, _ in meters]
    if all(done) or time.monotonic() > deadline:
        break
    time.sleep(0.5)
json.dump(answers, sys.stdout)
"""
# kWh and ether per kWh: pv sells 1 kWh to load, and the rest to the grid.
OFFERS = {"pv": (1.5, 0.1), "load": (-1.0, 0.3), "chp": (0, 0.2), "battery": (0, 0.2), "grid": (0, 0.2)}
TRADED_WH = [500, 1000]
SLOT_S = 900
EVENT = "BatchSettled(address,uint32,bytes32,bytes32,bytes)"


def send(network: Network, meter: Host, slot: int, until: Collection[str], patience_s: float) -> dict[str, Any]:
    """Send a data set from a container; the last answer to each source's reading."""
    secrets = json.loads(network.gateway.run("energy-bridge", "secret"))
    now = time.time()
    readings = [
        {"version": 1, "source": name, "boot": 1, "seq": slot, "time": now, "slot": slot}
        | {"energy_kwh": energy_kwh, "price_ether_per_kwh": price}
        for name, (energy_kwh, price) in OFFERS.items()
    ]
    given = {
        "host": network.gateway.addresses[0],
        "port": network.bridge_port,
        "secrets": secrets,
        "readings": readings,
        "until": list(until),
        "patience_s": patience_s,
    }
    answers: dict[str, Any] = json.loads(meter.run("python3", "-c", METER, stdin=json.dumps(given).encode()))
    return answers


def check_a_datagram_becomes_a_trade(network: Network, slot: int, *, periods: int = PATIENCE_PERIODS) -> None:
    """What a container sends that is allowed to is settled, and every node shows the trades."""
    answers = send(network, network.source, slot, ["settled"], periods * network.period_s)
    settled = {name: answer.get("status") for name, answer in answers.items()}
    assert settled == dict.fromkeys(OFFERS, "settled"), f"of {sorted(OFFERS)} only this was answered: {answers}"
    (transaction,) = {answer["transaction"] for answer in answers.values() if "transaction" in answer}
    market = _market(network)

    def traded(host: Host) -> list[int]:
        receipt, event = host.rpc(
            ("eth_getTransactionReceipt", [transaction]), ("web3_sha3", ["0x" + EVENT.encode().hex()])
        )
        batches = [log for log in receipt["logs"] if log["address"] == market and log["topics"][0] == event]
        return sorted(energy_wh for log in batches for traded_slot, energy_wh in _trades(log) if traded_slot == slot)

    found = at_once(traded, network.hosts.values())
    assert set(map(tuple, found.values())) == {tuple(TRADED_WH)}, f"the nodes show as traded Wh of slot {slot}: {found}"


def first_free_slot(network: Network) -> int:
    """The first slot from now on that is later than all that were traded, in an earlier session perhaps."""
    (event,) = network.gateway.rpc(("web3_sha3", ["0x" + EVENT.encode().hex()]))
    asked = {"fromBlock": "0x0", "address": _market(network), "topics": [event]}
    (logs,) = network.gateway.rpc(("eth_getLogs", [asked]))
    return 1 + max([int(time.time()) // SLOT_S, *(slot for log in logs for slot, _ in _trades(log))])


def _market(network: Network) -> str:
    (deployment,) = (network.network_dir / "deployments").glob("*/EnergyMarket.json")
    return str(json.loads(deployment.read_text())["address"]).lower()


def _trades(log: Mapping[str, Any]) -> list[tuple[int, int]]:
    """The slot and the Wh of each trade of a batch: after three words (root, place, length) come its bytes."""
    data = bytes.fromhex(log["data"][2:])
    batch = data[96:][: int.from_bytes(data[64:96], "big")]
    first_slot, accounts = struct.unpack_from(">IH", batch)
    trades = struct.iter_unpack(">HHIqH", batch[6 + 20 * accounts :])
    return [(first_slot + offset // 2, energy_wh) for _, _, energy_wh, _, offset in trades]


def check_a_stranger_is_not_heard(network: Network, slot: int) -> None:
    """What another container sends does not arrive, though it knows the secrets: its numbers are free afterwards."""
    answers = send(network, network.neighbour, slot, [], 0)
    assert not answers, f"the neighbour was answered: {answers}"
    answers = send(network, network.source, slot, ["stored", "batched", "settled", "conflict"], 10)
    assert len(answers) == len(OFFERS), f"of {sorted(OFFERS)} only this was answered: {answers}"
    taken = [name for name, answer in answers.items() if answer["status"] == "conflict"]
    assert not taken, f"what the neighbour sent as {taken} was stored"
