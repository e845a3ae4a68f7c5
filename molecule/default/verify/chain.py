# SPDX-License-Identifier: GPL-3.0-or-later
"""What the chain shows: who seals, that every node is on the same one, and that nothing of it is lost."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from hosts import PATIENCE_PERIODS, Host, Network, SilentError, at_once, wait_until

WINDOW_BLOCKS = 8
BOOT_S = 120


def head(host: Host) -> int:
    """The number of the newest block that a node has."""
    return int(host.rpc(("eth_blockNumber", []))[0], 16)


def sealed_by(host: Host, numbers: range) -> dict[int, str]:
    """The signer of each block, recovered from its seal by the node."""
    answers = host.rpc(*(("clique_getSigner", [hex(number)]) for number in numbers)) if numbers else []
    return {number: answer.lower() for number, answer in zip(numbers, answers, strict=True) if answer}


def check_every_signer_seals(network: Network, *, since: int | None = None, periods: int = PATIENCE_PERIODS) -> None:
    """Within so many periods there is a window of 8 blocks with all signers; since is the block before the first."""
    names = network.signers
    signers = {address.lower() for address in network.gateway.rpc(("clique_getSigners", []))[0]}
    assert signers == set(names), f"the chain's signers are {sorted(signers)} and not the inventory's sealers {names}"
    first = 1 + (max(0, head(network.gateway) - periods) if since is None else since)
    sealed: dict[int, str] = {}

    def window() -> bool:
        sealed.update(sealed_by(network.gateway, range(first + len(sealed), head(network.gateway) + 1)))
        starts = range(first, first + max(1, len(sealed) - WINDOW_BLOCKS + 1))
        return any(signers <= {sealed.get(n, "") for n in range(start, start + WINDOW_BLOCKS)} for start in starts)

    def report() -> str:
        counts = Counter(names[address] for address in sealed.values())
        each = ", ".join(f"{name} {counts[name]}" for name in sorted(names.values()))
        return f"no window of {WINDOW_BLOCKS} blocks has all signers; from block {first} on there sealed: {each}"

    wait_until(report, window, periods * network.period_s)


def check_come_back(network: Network, hosts: Iterable[Host], *, since: int, periods: int = PATIENCE_PERIODS) -> None:
    """The services of these hosts run, and each sealer among them has sealed a block after the one given."""
    returned = list(hosts)
    at_once(lambda host: _wait_for_services(network, host), returned)
    missing = {address: name for address, name in network.signers.items() if name in {host.name for host in returned}}
    seen = since

    def all_sealed() -> bool:
        nonlocal seen
        blocks = sealed_by(network.gateway, range(seen + 1, head(network.gateway) + 1))
        seen = max(blocks, default=seen)
        for address in blocks.values():
            missing.pop(address, None)
        return not missing

    def report() -> str:
        return f"{', '.join(missing.values())} sealed nothing from block {since + 1} to block {seen}"

    wait_until(report, all_sealed, periods * network.period_s)


def _wait_for_services(network: Network, host: Host) -> None:
    states: dict[str, str] = {}

    def settled() -> bool:
        states.update({name: host.state(name) for name in network.services(host)})
        return not {"activating", "deactivating", "reloading"} & set(states.values())

    def booted() -> bool:
        jobs = host.run("systemctl", "list-jobs", "--no-legend").strip()
        return not jobs and settled()

    wait_until(lambda: f"{host.name} is still busy, its services are {states}", booted, BOOT_S)
    down = {name: state for name, state in states.items() if state != "active"}
    assert not down, f"{host.name} did not come back: {down}"


@dataclass(frozen=True)
class Genesis:
    """What makes a chain this one: the digest is of all that the genesis holds, the config is the running node's."""

    hash: str
    digest: str
    config: Mapping[str, Any]


def check_one_genesis(network: Network) -> None:
    """Hash, digest and running config are everywhere those of genesis.json and network.json."""
    given = json.loads((network.network_dir / "genesis.json").read_text())
    wanted = Genesis(network.record["genesis"]["hash"], digest(given), _plain(given["config"]))
    wrong = [
        f"{name}'s {field} is {getattr(genesis, field)} and not {getattr(wanted, field)}"
        for name, genesis in at_once(genesis_of, network.hosts.values()).items()
        for field in ("hash", "digest", "config")
        if getattr(genesis, field) != getattr(wanted, field)
    ]
    assert not wrong, "; ".join(wrong)


def genesis_of(host: Host) -> Genesis:
    """Put together what a running node has in its database. Raises SilentError."""
    block, node = host.rpc(("eth_getBlockByNumber", ["0x0", False]), ("admin_nodeInfo", []))
    keys = ["0x" + prefix.hex() + block["hash"][2:] for prefix in (b"ethereum-config-", b"ethereum-genesis-")]
    config, alloc = host.rpc(*(("debug_dbGet", [key]) for key in keys))
    if config is None or alloc is None:
        raise SilentError(f"{host.name}: geth does not show its genesis")
    stored = {**block, "config": _decoded(config), "alloc": _decoded(alloc)}
    return Genesis(block["hash"], digest(stored), _plain(node["protocols"]["eth"]["config"]))


def digest(genesis: Mapping[str, Any]) -> str:
    """Sha256 of a genesis written in one way only: numbers whole, hex in lower case, defaults filled in."""
    numbers = ("nonce", "timestamp", "gasLimit", "difficulty", "baseFeePerGas")
    alloc = {
        "0x" + address.lower().removeprefix("0x"): {
            "balance": _number(account["balance"]),
            "nonce": _number(account.get("nonce", 0)),
            "code": account.get("code", "0x").lower(),
            "storage": account.get("storage", {}),
        }
        for address, account in genesis["alloc"].items()
    }
    canonical = {
        **{name: _number(genesis.get(name, 0)) for name in numbers},
        "config": _plain(genesis["config"]),
        "extraData": genesis["extraData"].lower(),
        "alloc": alloc,
    }
    return hashlib.sha256(json.dumps(canonical, sort_keys=True).encode()).hexdigest()


def _plain(config: Mapping[str, Any]) -> dict[str, Any]:
    return {name: _plain(value) if isinstance(value, Mapping) else _number(value) for name, value in config.items()}


def _number(value: Any) -> int:
    return int(value, 0) if isinstance(value, str) else int(value)


def _decoded(value: str) -> Any:
    return json.loads(bytes.fromhex(value[2:]))


def final_block(network: Network) -> tuple[int, str]:
    """Number and hash of a block that no node can leave any more."""
    number = max(0, head(network.gateway) - len(network.signers) // 2 - 1)
    return number, hash_of(network.gateway, number)


def hash_of(host: Host, number: int) -> str:
    """The hash of a node's block of that number, or what says that it has none."""
    block = host.rpc(("eth_getBlockByNumber", [hex(number), False]))[0]
    return str(block["hash"]) if block else "missing"


def check_block_is_kept(network: Network, number: int, hash_: str) -> None:
    """Every node has this block."""
    found = at_once(lambda host: hash_of(host, number), network.hosts.values())
    lost = {name: other for name, other in found.items() if other != hash_}
    assert not lost, f"block {number} was {hash_} and now is {lost}"
