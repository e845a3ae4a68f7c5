# SPDX-License-Identifier: GPL-3.0-or-later
"""A London chain in memory, and the committed artefact on it."""

import json
import runpy
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from eth.vm.forks.london import LondonVM
from eth_tester import EthereumTester, PyEVMBackend
from web3 import EthereumTesterProvider, Web3
from web3.contract import Contract
from web3.types import Wei

CHECKOUT = Path(__file__).parents[2]
sys.path.insert(0, str(CHECKOUT / "tests"))

from support.market import Market  # noqa: E402

RICH_WEI = 2**255 + 10**24
"""What each account of the chain has: more than a signed balance can hold."""


@pytest.fixture(scope="session")
def artifact() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads((CHECKOUT / "contracts/artifacts/EnergyMarket.json").read_text())
    return loaded


@pytest.fixture(scope="session")
def chain() -> EthereumTester:
    state = PyEVMBackend.generate_genesis_state(overrides={"balance": RICH_WEI}, num_accounts=10)
    return EthereumTester(PyEVMBackend(genesis_state=state, vm_configuration=((0, LondonVM),)))


@pytest.fixture(scope="session")
def web3(chain: EthereumTester) -> Web3:
    return Web3(EthereumTesterProvider(chain))


Deploy = Callable[..., Contract]


@pytest.fixture(scope="session")
def deploy(web3: Web3) -> Deploy:
    """Put an artefact on the chain: deploy(artifact, *constructor_arguments, wei=0)."""

    def put(artifact: dict[str, Any], *arguments: Any, wei: int = 0) -> Contract:
        factory = web3.eth.contract(abi=artifact["abi"], bytecode=artifact["bytecode"])
        transaction = factory.constructor(*arguments).transact({"value": Wei(wei)})
        address = web3.eth.wait_for_transaction_receipt(transaction)["contractAddress"]
        assert address is not None
        return web3.eth.contract(address, abi=artifact["abi"])

    return put


@pytest.fixture(scope="session")
def market_for_all(web3: Web3, deploy: Deploy, artifact: dict[str, Any]) -> Market:
    """The market that every test starts from, with nothing settled and nothing deposited."""
    admin, operator, stranger, *others = list(web3.eth.accounts)
    actors = tuple(others[:5])
    market = Market(web3, deploy(artifact, admin), admin, operator, actors, stranger)
    names = ("load", "pv", "chp", "battery", "grid")
    functions = market.contract.functions
    market.send(functions.registerActors([(actors[i], i, names[i]) for i in range(5)]), sender=admin)
    market.send(functions.setOperator(operator, True), sender=admin)
    return market


Afresh = Callable[[], AbstractContextManager[Market]]


@pytest.fixture(scope="session")
def afresh(chain: EthereumTester, market_for_all: Market) -> Afresh:
    """Hand out the market, and afterwards take the chain back to where it was."""

    @contextmanager
    def hand_out() -> Iterator[Market]:
        snapshot = chain.take_snapshot()
        yield market_for_all
        chain.revert_to_snapshot(snapshot)

    return hand_out


@pytest.fixture
def market(afresh: Afresh) -> Iterator[Market]:
    with afresh() as market:
        yield market


@pytest.fixture(scope="session")
def script() -> dict[str, Any]:
    """What scripts/contracts.py defines."""
    return runpy.run_path(str(CHECKOUT / "scripts/contracts.py"))


@pytest.fixture(scope="session")
def hostile(script: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Artefacts of the contracts that misbehave, compiled as the market is."""
    compiled = script["compile_with_any"]([CHECKOUT / "contracts/test/src/Hostile.sol"])
    return {file.removesuffix(".json"): json.loads(text) for file, text in compiled.artifacts.items()}
