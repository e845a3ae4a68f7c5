# SPDX-License-Identifier: GPL-3.0-or-later
"""EnergyAgreementFactory and its agreements on a real chain."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from eth_abi.abi import decode
from eth_account.signers.local import LocalAccount
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak
from hexbytes import HexBytes
from web3.exceptions import ContractLogicError

from energy_bridge.agreements import Act, Agreed, Agreements, State
from energy_bridge.chain import LOG_BLOCKS, MarketChain
from energy_bridge.model import Trade
from energy_bridge.settlement import ChainError, MismatchError

__all__ = ["ABI", "AgreementChain", "Created", "Terms"]


def _parameters(**types: str) -> list[dict[str, Any]]:
    return [{"name": name, "type": kind, "internalType": kind} for name, kind in types.items()]


def _function(
    name: str, inputs: Sequence[Any] = (), outputs: Sequence[Any] = (), *, view: bool = True
) -> dict[str, Any]:
    mutability = "view" if view else "nonpayable"
    return {"type": "function", "name": name, "inputs": inputs, "outputs": outputs, "stateMutability": mutability}


def _error(name: str, **types: str) -> dict[str, Any]:
    return {"type": "error", "name": name, "inputs": _parameters(**types)}


_TERMS = _parameters(
    tradeId="bytes32",
    seller="address",
    buyer="address",
    energyWh="uint32",
    priceWeiPerWh="int64",
    slot="uint32",
    deliverBy="uint64",
)
# What is used of the two contracts; a test compares it with what the compiler says.
ABI: tuple[dict[str, Any], ...] = (
    _function(
        "create",
        [{"name": "terms", "type": "tuple", "components": _TERMS}],
        [{"name": "agreement", "type": "address"}],
        view=False,
    ),
    _function("implementation", outputs=[{"name": "", "type": "address"}]),
    _function("market", outputs=[{"name": "", "type": "address"}]),
    _function("terms", outputs=_TERMS),
    _function("state", outputs=[{"name": "", "type": "uint8"}]),
    _function("settle", view=False),
    _function("expire", view=False),
    {
        "type": "event",
        "name": "AgreementCreated",
        "anonymous": False,
        "inputs": [
            {"name": "tradeId", "type": "bytes32", "indexed": True},
            {"name": "agreement", "type": "address", "indexed": True},
            {"name": "seller", "type": "address", "indexed": False},
            {"name": "buyer", "type": "address", "indexed": False},
        ],
    },
    _error("NotOperator", caller="address"),
    _error("NotAnActor", account="address"),
    _error("SelfTrade", account="address"),
    _error("ZeroEnergy"),
    _error("DeliverByIsOver", deliverBy="uint64"),
    _error("DeliverByTooFar", deliverBy="uint64"),
    _error("WrongState", state="uint8"),
    _error("TooEarly", deliverBy="uint64"),
)
_STATE_CHANGED = "0x" + keccak(text="StateChanged(uint8)").hex()
_STATES = tuple(State)


@dataclass(frozen=True, slots=True)
class Created:
    """An agreement in the factory's log, and where in the chain it is."""

    trade_id: bytes
    address: str
    transaction: str
    block: int
    block_hash: str


@dataclass(frozen=True, slots=True)
class Terms:
    """What an agreement says was agreed: accounts (checksummed), deliver_by in seconds since the epoch."""

    seller: str
    buyer: str
    energy_wh: int
    price_wei_per_wh: int
    slot: int
    deliver_by: int


class AgreementChain(MarketChain):
    """A market whose trades are made agreements, by one operator. Implements agreements.WatchedChain."""

    most_unmined = 16  # what a node keeps of one account for sure

    def __init__(self, rpc_url: str, *, agreements: Agreements, abi: Sequence[Any], operator: LocalAccount) -> None:
        """Abi is the market's."""
        super().__init__(
            rpc_url,
            chain_id=agreements.chain_id,
            market=agreements.market,
            abi=[*abi, *(entry for entry in ABI if entry["type"] == "error")],
            operator=operator,
            accounts=agreements.accounts,
        )
        self.agreements = agreements
        self._factory = to_checksum_address(agreements.factory)
        self._maker: Any = self._web3.eth.contract(address=self._factory, abi=list(ABI))

    async def identity(self) -> str:
        """Name this chain, market and factory; raises MismatchError when they do not belong together."""
        identity = await super().identity()
        with self._talking():
            if not await self._web3.eth.get_code(self._factory):
                raise ChainError(f"there is no contract at {self._factory} yet")
            market = await self._maker.functions.market().call()
            implementation = await self._maker.functions.implementation().call()
        if market != self._market or implementation != self.agreements.implementation:
            raise MismatchError(f"{self._factory} makes no agreements for the market {self._market}")
        return f"{identity}, with agreements by {self._factory}"

    async def next_seq(self, *, pending: bool) -> None:  # noqa: ARG002
        """Agreements have no numbers: a trade that has one gets no second."""
        return

    def _call(self, seq: int, readings_root: bytes, trades: Sequence[Trade], accounts: Mapping[str, str]) -> Any:  # noqa: ARG002
        (agreed,) = trades
        if not isinstance(agreed, Agreed):
            raise TypeError(agreed)
        if agreed.act is not Act.CREATE:
            return self._agreement(agreed.address).functions[agreed.act]()
        return self._maker.functions.create(
            (
                agreed.trade_id,
                accounts[agreed.seller],
                accounts[agreed.buyer],
                agreed.energy_wh,
                agreed.price_wei_per_wh,
                agreed.slot,
                agreed.deliver_by,
            )
        )

    def _agreement(self, address: str) -> Any:
        return self._web3.eth.contract(address=to_checksum_address(address), abi=list(ABI))

    def _reason(self, error: ContractLogicError) -> tuple[str, dict[str, Any]]:
        """As MarketChain does, with what to do where that is for the actor to do."""
        reason, values = super()._reason(error)
        if reason.startswith("AgreementsNotAccepted"):
            account = str(values.get("account")).lower()
            who = next((name for name, address in self._accounts.items() if address.lower() == account), account)
            reason += f": {who} has to call acceptAgreements(true) of the market {self._market} once"
        return reason, values

    async def block_time(self, block: int) -> int:
        """Return the time of a block, seconds since the epoch."""
        with self._talking():
            return int((await self._web3.eth.get_block(block))["timestamp"])

    async def state(self, address: str, block: int | None = None) -> State:
        """Return where an agreement stood after a block, or stands now."""
        with self._talking():
            call = self._agreement(address).functions.state()
            return _STATES[int(await call.call(block_identifier="latest" if block is None else block))]

    async def changes(self, first: int, last: int) -> list[tuple[str, State]]:
        """Return all changes of agreements' states in these blocks: address and new state, in their order."""
        found: list[tuple[str, State]] = []
        with self._talking():
            for start in range(first, last + 1, LOG_BLOCKS):
                logs = await self._web3.eth.get_logs(
                    {
                        "fromBlock": start,
                        "toBlock": min(last, start + LOG_BLOCKS - 1),
                        "topics": [HexBytes(_STATE_CHANGED)],
                    }
                )
                for log in logs:
                    (state,) = decode(["uint256"], bytes(log["data"]))
                    if state < len(_STATES):  # other contracts may have an event of that name
                        found.append((log["address"], _STATES[state]))
        return found

    async def terms(self, address: str) -> Terms:
        """Return what an agreement says was agreed."""
        with self._talking():
            _, *values = await self._agreement(address).functions.terms().call()
            return Terms(*values)

    async def sender(self, transaction: str) -> str:
        """Return who sent a transaction that is in the chain."""
        with self._talking():
            return str((await self._web3.eth.get_transaction(HexBytes(transaction)))["from"])

    async def created(self, first_block: int = 0) -> AsyncIterator[Created]:
        """Yield every agreement that the factory made, whoever asked for it, in order."""
        with self._talking():
            head = await self._web3.eth.block_number
            for first in range(first_block, head + 1, LOG_BLOCKS):
                last = min(head, first + LOG_BLOCKS - 1)
                for log in await self._maker.events.AgreementCreated.get_logs(from_block=first, to_block=last):
                    yield Created(
                        bytes(log["args"]["tradeId"]),
                        log["args"]["agreement"],
                        transaction=log["transactionHash"].to_0x_hex(),
                        block=log["blockNumber"],
                        block_hash=log["blockHash"].to_0x_hex(),
                    )
