# SPDX-License-Identifier: GPL-3.0-or-later
"""A London chain in memory, and the committed artefacts on it."""

import json
import runpy
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import solcx
from eth.vm.forks.london import LondonVM
from eth_tester import EthereumTester, PyEVMBackend
from web3 import EthereumTesterProvider, Web3
from web3.contract import Contract
from web3.types import Wei

CONTRACTS = Path(__file__).parents[1]
sys.path.insert(0, str(CONTRACTS.parent / "tests"))

from support.market import DAY_S, GAS, REPLACE_S, SLOT_S, TODAY, WITHDRAW_S, Artifact, Deploy, Market  # noqa: E402

RICH_WEI = 2**200
"""What each account of the chain has: more than a balance in the market can be."""
RECEIVERS = ("token/ERC1155/IERC1155Receiver.sol", "token/ERC1155/utils/ERC1155Holder.sol")


@pytest.fixture(scope="session")
def artifacts() -> dict[str, Artifact]:
    """The committed artefacts, by name."""
    return {path.stem: json.loads(path.read_text()) for path in (CONTRACTS / "artifacts").glob("*.json")}


@pytest.fixture(scope="session")
def chain() -> EthereumTester:
    state = PyEVMBackend.generate_genesis_state(overrides={"balance": RICH_WEI}, num_accounts=12)
    chain = EthereumTester(PyEVMBackend(genesis_state=state, vm_configuration=((0, LondonVM),)))
    chain.time_travel(TODAY * DAY_S)
    return chain


@pytest.fixture(scope="session")
def web3(chain: EthereumTester) -> Web3:
    return Web3(EthereumTesterProvider(chain))


@pytest.fixture(scope="session")
def deploy(web3: Web3) -> Deploy:
    def put(artifact: Artifact, *arguments: Any, wei: int = 0) -> Contract:
        constructor = web3.eth.contract(abi=artifact["abi"], bytecode=artifact["bytecode"]).constructor(*arguments)
        constructor.estimate_gas({"value": Wei(wei)})  # Where it reverts, this says why.
        receipt = web3.eth.wait_for_transaction_receipt(constructor.transact({"value": Wei(wei), "gas": GAS}))
        address = receipt["contractAddress"]
        assert address is not None
        assert receipt["status"] == 1
        return web3.eth.contract(address, abi=artifact["abi"])

    return put


@pytest.fixture(scope="session")
def market_for_all(chain: EthereumTester, web3: Web3, deploy: Deploy, artifacts: dict[str, Artifact]) -> Market:
    """The market that every test starts from, with nothing settled and nothing deposited."""
    admin, operator, meter, stranger, newcomer, *others = list(web3.eth.accounts)
    contract = deploy(artifacts["EnergyMarket"], admin, SLOT_S, WITHDRAW_S, REPLACE_S, False)
    market = Market(web3, chain, contract, admin, operator, meter, tuple(others[:5]), stranger, newcomer)
    names = ("load", "pv", "chp", "battery", "grid")
    market.send("registerActors", [(market.actors[i], i, names[i]) for i in range(5)])
    market.send("setOperator", operator, True)
    market.send("setMeter", meter)
    return market


@pytest.fixture
def market(chain: EthereumTester, market_for_all: Market) -> Iterator[Market]:
    """The market; afterwards the chain is back where it was."""
    snapshot = chain.take_snapshot()
    yield market_for_all
    chain.revert_to_snapshot(snapshot)


@pytest.fixture
def factory(market: Market, deploy: Deploy, artifacts: dict[str, Artifact]) -> Contract:
    """What makes agreements; load and pv let it draw on their balances."""
    factory = deploy(artifacts["EnergyAgreementFactory"], market.contract.address)
    market.send("setAgreementFactory", factory.address)
    for actor in market.actors[:2]:
        market.send("acceptAgreements", True, sender=actor)
    return factory


@pytest.fixture(scope="session")
def script() -> dict[str, Any]:
    """What scripts/contracts.py defines."""
    return runpy.run_path(str(CONTRACTS.parent / "scripts/contracts.py"))


@pytest.fixture(scope="session")
def node_modules(script: dict[str, Any]) -> Path:
    """What contracts/package.json asks for, installed."""
    directory: Path = script["npm_packages"]()
    return directory


@pytest.fixture(scope="session")
def hostile(script: dict[str, Any], node_modules: Path) -> dict[str, Artifact]:
    """Contracts that misbehave, compiled with OpenZeppelin's."""
    openzeppelin = node_modules / "@openzeppelin/contracts"
    paths = [*openzeppelin.glob("utils/introspection/*.sol"), *(openzeppelin / name for name in RECEIVERS)]
    job = {
        "language": "Solidity",
        "sources": {
            "Hostile.sol": {"content": (CONTRACTS / "test/src/Hostile.sol").read_text()},
            **{str(path.relative_to(node_modules)): {"content": path.read_text()} for path in paths},
        },
        "settings": {
            "evmVersion": "london",
            "optimizer": {"enabled": True},
            "outputSelection": {"Hostile.sol": {"*": ["abi", "evm.bytecode.object"]}},
        },
    }
    output = solcx.compile_standard(job, solc_binary=script["native_solc"]() or script["npm_solc"]())
    return {
        name: {"abi": contract["abi"], "bytecode": contract["evm"]["bytecode"]["object"]}
        for name, contract in output["contracts"]["Hostile.sol"].items()
    }
