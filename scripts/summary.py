# SPDX-License-Identifier: GPL-3.0-or-later
"""What the chain itself says about a demo: read by web3 from the gateway's RPC, with nothing of the bridge's in it."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from web3 import Web3
from web3.contract import Contract
from web3.middleware import ExtraDataToPOAMiddleware
from web3.types import RPCEndpoint

WEI_PER_ETHER = 10**18
DAY_S = 86400
BLOCKS_PER_REQUEST = 200


@dataclass(frozen=True)
class Actor:
    """An actor's account on the market; energy is bought less sold, by all trades."""

    name: str
    address: str
    energy_wh: int
    balance_wei: int


@dataclass(frozen=True)
class Trade:
    """One trade of a BatchSettled event."""

    seller: str
    buyer: str
    energy_wh: int
    price_wei_per_wh: int
    slot: int
    imbalance: bool


@dataclass(frozen=True)
class Chain:
    """One look at the chain: its head, who sealed it, and the market on it.

    Of all days with trades: what the market counts as traded, and what its actors hold of that.
    """

    head: int
    head_age_s: int
    genesis_hash: str
    signers: Mapping[str, int]
    actors: Sequence[Actor]
    trades: Sequence[Trade]
    energy_traded_wh: int
    energy_held_wh: int


def connect(rpc_url: str) -> Web3:
    web3 = Web3(Web3.HTTPProvider(rpc_url, request_kwargs={"timeout": 10}))
    web3.middleware_onion.inject(ExtraDataToPOAMiddleware, layer=0)
    return web3


def sealed_blocks(web3: Web3, head: int) -> dict[str, int]:
    """Count the blocks that each authorised signer sealed, from block 1 to head."""
    call = web3.provider.make_request
    signers = call(RPCEndpoint("clique_getSigners"), [hex(head)])["result"]
    sealed: Counter[str] = Counter()
    for first in range(1, head + 1, BLOCKS_PER_REQUEST):
        numbers = range(first, min(first + BLOCKS_PER_REQUEST, head + 1))
        requests = [(RPCEndpoint("clique_getSigner"), [hex(number)]) for number in numbers]
        answers: Any = web3.provider.make_batch_request(requests)  # type: ignore[attr-defined]
        sealed.update(answer["result"] for answer in answers)
    return {Web3.to_checksum_address(signer): sealed[signer] for signer in sorted({*signers, *sealed})}


def read_trades(market: Contract) -> list[Trade]:
    """Read every trade back from the market's log; the market itself decodes its batches."""
    batches = [event["args"]["batch"] for event in market.events.BatchSettled.get_logs(from_block=0)]
    return [Trade(*trade) for batch in batches for trade in market.functions.decodeBatch(batch).call()]


def read_actor(market: Contract, index: int, trades: Iterable[Trade]) -> Actor:
    address, _kind, name = market.functions.actorAt(index).call()
    energy_wh = sum(trade.energy_wh * ((trade.buyer == address) - (trade.seller == address)) for trade in trades)
    return Actor(name, address, energy_wh, market.functions.weiOf(address).call())


def read_days(market: Contract, actors: Iterable[Actor], trades: Iterable[Trade]) -> tuple[int, int]:
    """What the market counts as traded on the days of these trades, and what these actors hold of those days."""
    slot_s = market.functions.slotS().call()
    days = sorted({trade.slot * slot_s // DAY_S for trade in trades})
    traded_wh = sum(market.functions.dayTotals(day).call()[0] for day in days)
    holdings = [(actor.address, day) for actor in actors for day in days]
    held_wh = market.functions.balanceOfBatch([a for a, _ in holdings], [day for _, day in holdings]).call()
    return traded_wh, sum(held_wh)


def read_chain(rpc_url: str, market_address: str, abi: Sequence[Mapping[str, Any]], now_s: float) -> Chain:
    """Look at the chain once; now_s (seconds since the epoch) makes its age of the time of the newest block."""
    web3 = connect(rpc_url)
    market = web3.eth.contract(address=Web3.to_checksum_address(market_address), abi=abi)
    head = web3.eth.get_block("latest")
    trades = read_trades(market)
    actors = [read_actor(market, index, trades) for index in range(market.functions.actorCount().call())]
    traded_wh, held_wh = read_days(market, actors, trades)
    return Chain(
        head=head["number"],
        head_age_s=max(0, int(now_s) - head["timestamp"]),
        genesis_hash=web3.eth.get_block(0)["hash"].to_0x_hex(),
        signers=sealed_blocks(web3, head["number"]),
        actors=actors,
        trades=trades,
        energy_traded_wh=traded_wh,
        energy_held_wh=held_wh,
    )


def duplicated(trades: Iterable[Trade]) -> int:
    """Count what was settled more than once: clearing gives two actors at most one trade a slot."""
    settled = Counter((trade.seller, trade.buyer, trade.slot) for trade in trades if not trade.imbalance)
    return sum(count - 1 for count in settled.values())


def lost(readings: Iterable[Mapping[str, Any]], chain: Chain) -> int:
    """Count the readings whose energy is not, to the Wh, what their actor traded in that slot by the chain's log."""
    names = {actor.address: actor.name for actor in chain.actors}
    provided: Counter[tuple[int, str]] = Counter()
    for trade in chain.trades:
        provided[trade.slot, names[trade.seller]] += trade.energy_wh
        provided[trade.slot, names[trade.buyer]] -= trade.energy_wh
    return sum(provided[reading["slot"], reading["source"]] != reading["energy_wh"] for reading in readings)


def as_text(chain: Chain, sealer_names: Mapping[str, str]) -> str:
    """The chain as a person reads it."""
    most = max(chain.signers.values(), default=1) or 1
    lines = [
        f"Chain       block {chain.head}, {chain.head_age_s} s old, genesis {chain.genesis_hash[:18]}…",
        "",
        "Sealers",
    ]
    for name, address, blocks in sorted(
        (sealer_names.get(key, "?"), key, count) for key, count in chain.signers.items()
    ):
        lines.append(f"  {name:<9} {address}  {blocks:>5} blocks  {'█' * round(20 * blocks / most)}")
    lines += ["", f"Actors      {'bought less sold':>28} {'balance':>20}"]
    for actor in chain.actors:
        lines.append(f"  {actor.name:<9} {actor.energy_wh:>+25,} Wh {actor.balance_wei / WEI_PER_ETHER:>14,.6f} ether")
    return "\n".join([*lines, "", f"Trades      {len(chain.trades)} settled, {chain.energy_traded_wh:,} Wh in all"])
