# SPDX-License-Identifier: GPL-3.0-or-later
"""The collection as others have it: its tarball in an empty directory, and plays and inventories of their own."""

import json
import os
import pwd
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.smartenergy.clique.plugins.module_utils._preflight import services_below
from energy_bridge.batch import BatchTrade
from eth_account import Account
from eth_account.signers.local import LocalAccount
from support.chain import settled_batches, write_keystore
from support.network import CHECKOUT, VENV, Network, Run, wait_until
from support.node import Node, initialise, make_genesis, running
from support.readings import send_readings
from web3 import Web3
from web3.contract import Contract
from web3.middleware import ExtraDataToPOAMiddleware

# Below those that outgoing connections take.
RPC_PORT, FOREIGN_AUTHRPC_PORT = 31910, 31911
BOOTNODE_PORT, NODE_PORT, NODE_AUTHRPC_PORT = 31920, 31921, 31922
BRIDGE_PORT, WEB_PORT = 31930, 31931
SITE_BASE_PORT = 32010
FOREIGN_PORT = 30303
ACTORS = ("load", "pv", "chp", "battery", "grid")

Files = dict[str, bytes]


def outside(home: Path, collections: Path) -> dict[str, str]:
    """The environment of somebody who has never heard of this checkout."""
    ours = {
        "ANSIBLE_HOME": str(home),
        "ANSIBLE_COLLECTIONS_PATH": str(collections),
        "ANSIBLE_COLLECTIONS_SCAN_SYS_PATH": "false",  # the tests' own Python knows the checkout
        "ANSIBLE_PIPELINING": "true",
        "ANSIBLE_NOCOLOR": "true",
    }
    others = {name: value for name, value in os.environ.items() if not name.startswith("ANSIBLE_")}
    return {**others, **ours, "LC_ALL": "C.UTF-8"}


@dataclass(frozen=True)
class Estate:
    """A folder with plays and an inventory of the user's own, and where the collection is installed."""

    directory: Path
    collections: Path

    def start(self, *words: str, **variables: Any) -> "subprocess.Popen[str]":
        """Start ansible-playbook in this folder; keyword arguments are extra variables."""
        return subprocess.Popen(
            [VENV / "bin/ansible-playbook", "-i", "hosts.json", *words, "-e", json.dumps(variables)],
            cwd=self.directory,
            env=outside(self.collections.parent / "home", self.collections),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def play(self, *words: str, **variables: Any) -> Run:
        """Run ansible-playbook in this folder, which has to succeed."""
        return finished(self.start(*words, **variables))

    @property
    def chain(self) -> Path:
        return self.directory / "hosts/node/geth/geth"

    def processes(self) -> dict[str, int]:
        return {name: pid for pid, name in services_below(self.directory / "hosts").items()}

    def files(self, *folders: str) -> Files:
        """Content of every file in these folders that is neither a log nor of a chain."""
        return {
            str(path.relative_to(self.directory)): path.read_bytes()
            for folder in folders
            for path in (self.directory / folder).rglob("*")
            if path.is_file() and "log" not in path.parts and self.chain not in path.parents
        }

    def assert_absent(self, *words: str, **variables: Any) -> None:
        """Take something away: check mode foretells it and touches nothing, and a second time changes nothing."""
        before = self.processes()
        foretold = self.play(*words, "--check", **variables)
        assert self.processes() == before
        done = self.play(*words, **variables)
        assert done.changed == foretold.changed != {}
        assert self.play(*words, **variables).changed == {}


def finished(play: "subprocess.Popen[str]") -> Run:
    output = play.communicate()[0]
    assert play.returncode == 0, output[-6000:]
    assert "[WARNING]" not in output, output
    return Run(play.returncode, output)


@pytest.fixture(scope="module")
def collections(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tarball, built and installed where nothing else is."""
    directory = tmp_path_factory.mktemp("installed")

    def galaxy(*words: Any) -> None:
        environment = outside(directory / "home", directory / "collections")
        command = [VENV / "bin/ansible-galaxy", "collection", *words]
        subprocess.run(command, cwd=directory, env=environment, check=True, capture_output=True)

    galaxy("build", CHECKOUT)
    (tarball,) = directory.glob("smartenergy-clique-*.tar.gz")
    galaxy("install", tarball, "-p", directory / "collections")
    return directory / "collections"


@pytest.fixture(scope="module")
def sealer() -> LocalAccount:
    """Who seals the others' chain."""
    account: LocalAccount = Account.create()
    return account


@pytest.fixture(scope="module")
def estate(collections: Path, sealer: LocalAccount, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Estate]:
    """The plays of examples/estate, copied, with an inventory of one machine that needs no root."""
    directory = tmp_path_factory.mktemp("estate")
    examples = collections / "ansible_collections/smartenergy/clique/examples/estate"
    for play in ("market.yml", "node.yml", "bridge.yml"):
        shutil.copy(examples / play, directory)
    (directory / "hosts.json").write_text(json.dumps(inventory(directory, sealer.address)))
    estate = Estate(directory, collections)
    try:
        yield estate
    finally:
        for pid in estate.processes().values():
            os.kill(pid, signal.SIGTERM)
        wait_until("all processes to stop", lambda: not estate.processes(), 60)


def inventory(directory: Path, sealer: str) -> dict[str, Any]:
    """Three hosts, in the groups of examples/estate."""
    cache = str(CHECKOUT / "build/geth")
    local = {"ansible_connection": "local", "ansible_python_interpreter": "{{ ansible_playbook_python }}"}
    shared = {
        **local,
        "genesis_path": str(directory / "network/genesis.json"),
        "genesis_period_s": 1,
        "genesis_signers": [sealer],
        "geth_build_cache_directory": cache,
    }
    node, meter = (str(directory / "hosts" / name) for name in ("node", "meter"))
    desk_vars = {
        "geth_build_install_directory": None,
        "contracts_geth_program": "{{ geth_build_result.geth }}",
        "contracts_accounts_directory": str(directory / "desk/accounts"),
        "contracts_deployments_directory": str(directory / "desk/deployments"),
        "contracts_network_dir": str(directory / "network"),
        "contracts_rpc_url": f"http://127.0.0.1:{RPC_PORT}",
    }
    node_vars = {
        "geth_build_install_directory": f"{node}/bin",
        "bootnode_directory": node,
        "bootnode_program": f"{node}/bin/bootnode",
        "bootnode_ip": "127.0.0.1",
        "bootnode_port": BOOTNODE_PORT,
        "bootnode_service_manager": "supervisor",
        "geth_node_directory": node,
        "geth_node_program": f"{node}/bin/geth",
        "geth_node_bootnode_program": f"{node}/bin/bootnode",
        "geth_node_ip": "127.0.0.1",
        "geth_node_netrestrict": ["127.0.0.0/8"],
        "geth_node_port": NODE_PORT,
        "geth_node_authrpc_port": NODE_AUTHRPC_PORT,
        "geth_node_service_manager": "supervisor",
    }
    meter_vars = {
        "udp_bridge_directory": meter,
        "udp_bridge_service_directory": meter,
        "udp_bridge_service_manager": "supervisor",
        "udp_bridge_python": "{{ ansible_playbook_python }}",
        "udp_bridge_raise_socket_buffer": False,
        "udp_bridge_clock": "simulated",
        "udp_bridge_period_s": 1,
        "udp_bridge_listen_port": BRIDGE_PORT,
        "udp_bridge_web_port": WEB_PORT,
        "udp_bridge_rpc_url": f"http://127.0.0.1:{RPC_PORT}",
    }
    groups = {
        "trading_desk": ("desk", desk_vars),
        "ledger_nodes": ("node", node_vars),
        "metering": ("meter", meter_vars),
    }
    children = {group: {"hosts": {host: None}, "vars": own} for group, (host, own) in groups.items()}
    return {"all": {"vars": shared, "children": children}}


@dataclass(frozen=True)
class Market:
    """The market on a chain that others seal: one geth of theirs, which knows nothing of this collection."""

    node: Node
    contract: Contract
    actors: dict[str, dict[str, str]]


@pytest.fixture(scope="module")
def market(estate: Estate, sealer: LocalAccount, geth: Path) -> Iterator[Market]:
    """market.yml makes the genesis; others start their geth with it; market.yml finds that and deploys."""
    genesis = estate.directory / "network/genesis.json"
    deploying = estate.start("market.yml")
    wait_until("the genesis", lambda: genesis.exists() or deploying.poll() is not None, 120)
    assert genesis.exists(), deploying.communicate()[0]
    datadir, password_file = estate.directory / "others", estate.directory / "others.password"
    datadir.mkdir()
    write_keystore(sealer, datadir / "keystore", password_file)
    initialise(geth, datadir, json.loads(genesis.read_text()))
    flags = (
        *("--http", f"--http.port={RPC_PORT}", "--allow-insecure-unlock", "--mine", "--miner.gasprice=1"),
        *(f"--miner.etherbase={sealer.address}", f"--unlock={sealer.address}", f"--password={password_file}"),
        *("--syncmode=full", "--gcmode=archive"),
    )
    with running(geth, datadir, *flags) as node:
        finished(deploying)
        web3 = Web3(Web3.HTTPProvider(f"http://127.0.0.1:{RPC_PORT}"))
        web3.middleware_onion.inject(ExtraDataToPOAMiddleware, layer=0)
        record = estate.directory / "network/deployments/1337/EnergyMarket.json"
        contract = web3.eth.contract(
            address=json.loads(record.read_text())["address"],
            abi=json.loads(record.with_suffix(".artifact.json").read_text())["abi"],
        )
        listed = [contract.functions.actorAt(index).call() for index in range(len(ACTORS))]
        kinds = ("Load", "PV", "CHP", "Battery", "Grid")
        actors = {name: {"name": name, "kind": kinds[kind], "address": address} for address, kind, name in listed}
        yield Market(node, contract, actors)


@dataclass(frozen=True)
class Foreign:
    """A geth that was there before, as a user of its own."""

    process: "subprocess.Popen[bytes]"
    directory: Path

    def assert_untouched(self) -> None:
        """It still runs as the process that it was, listens, and has its key."""
        assert self.process.poll() is None
        with closing(socket.create_connection(("127.0.0.1", FOREIGN_PORT), timeout=10)):
            pass
        assert (self.directory / "data/geth/nodekey").read_text() == (self.directory / "nodekey").read_text()


@pytest.fixture(scope="module")
def foreign(geth: Path) -> Iterator[Foreign]:
    """It runs on 30303, for nobody where the tests run as root."""
    directory = Path(tempfile.mkdtemp(prefix="foreign-"))
    datadir = directory / "data"
    program = Path(shutil.copy(geth, directory))
    initialise(program, datadir, make_genesis([Account.create().address], chain_id=999))
    user = pwd.getpwnam("nobody") if os.geteuid() == 0 else None
    if user:
        for path in (directory, *directory.rglob("*")):
            os.chown(path, user.pw_uid, user.pw_gid)
    with (directory / "log").open("wb") as log:
        process = subprocess.Popen(
            [
                *(program, "--datadir", datadir, f"--port={FOREIGN_PORT}", f"--authrpc.port={FOREIGN_AUTHRPC_PORT}"),
                *("--networkid=999", "--netrestrict=127.0.0.0/8", "--nat=none", "--ipcdisable", "--cache=64"),
            ],
            stdout=log,
            stderr=log,
            user=user and user.pw_uid,
            group=user and user.pw_gid,
            extra_groups=user and [],
            umask=0o077,
        )

    def listens() -> bool:
        assert process.poll() is None, (directory / "log").read_text()
        with closing(socket.socket()) as client:
            return client.connect_ex(("127.0.0.1", FOREIGN_PORT)) == 0

    try:
        wait_until("the foreign geth to listen", listens, 60)
        shutil.copy(datadir / "geth/nodekey", directory / "nodekey")
        yield Foreign(process, directory)
    finally:
        process.terminate()
        process.wait(timeout=60)
        shutil.rmtree(directory)


def test_genesis_and_contracts_need_nothing_but_an_rpc_url(estate: Estate, market: Market) -> None:
    assert market.contract.functions.admin().call() in {
        Web3.to_checksum_address(json.loads(path.read_text())["address"])
        for path in (estate.directory / "desk/accounts/admin/keystore").iterdir()
    }
    assert tuple(market.actors) == ACTORS
    assert estate.processes() == {}


def test_a_bootnode_and_a_node_stand_beside_a_foreign_geth(estate: Estate, market: Market, foreign: Foreign) -> None:
    peers = {"geth_node_peers": [market.node.enode]}
    estate.play("node.yml", **peers)
    foreign.assert_untouched()
    processes = estate.processes()
    assert set(processes) == {"node/supervisord", "node/bootnode", "node/geth"}
    node = Web3(Web3.IPCProvider(estate.directory / "hosts/node/geth/geth.ipc"))
    wait_until("the node to follow the others' chain", lambda: node.eth.block_number > 0, 60)
    arguments = Path(f"/proc/{processes['node/geth']}/cmdline").read_text().split("\0")
    (bootnodes,) = [word for word in arguments if word.startswith("--bootnodes=")]
    assert f"@127.0.0.1:0?discport={BOOTNODE_PORT}" in bootnodes
    assert estate.play("node.yml", **peers).changed == {}
    assert estate.processes() == processes


def test_a_bridge_settles_on_a_market_that_it_is_given(estate: Estate, market: Market) -> None:
    desk = estate.directory / "desk"
    given = {
        "udp_bridge_market": {
            "address": market.contract.address,
            "abi": str(desk / "deployments/1337/EnergyMarket.artifact.json"),
        },
        "udp_bridge_operator": {
            "keystore": str(desk / "accounts/operator/keystore"),
            "password_file": str(desk / "accounts/operator/password"),
        },
        "udp_bridge_actors": list(market.actors.values()),
    }
    estate.play("bridge.yml", **given)
    log = estate.directory / "hosts/meter/log/bridge.log"
    wait_until("the bridge to listen", lambda: "listening" in log.read_text(), 60)
    secrets = json.loads((estate.directory / "hosts/meter/source-keys.json").read_text())
    offers = {"pv": (1.5, 0.1), "load": (-1.0, 0.3), "chp": (0, 0.2), "battery": (0, 0.2), "grid": (0, 0.2)}
    slot = int(time.time()) // 900
    answers = send_readings(("127.0.0.1", BRIDGE_PORT), secrets, slot, offers)
    assert {answer["status"] for answer in answers.values()} == {"stored"}
    (batch,) = wait_until("the trades on the chain", lambda: settled_batches(market.contract), 60)
    pv, load, grid = (Web3.to_checksum_address(market.actors[name]["address"]) for name in ("pv", "load", "grid"))
    assert list(batch.trades) == [
        BatchTrade(pv, load, 1000, 10**14, slot),
        BatchTrade(pv, grid, 500, 2 * 10**14, slot),
    ]
    assert estate.play("bridge.yml", **given).changed == {}


SERVICES = ("udp_bridge", "geth_node", "bootnode")
ABSENT = {f"{role}_state": "absent" for role in (*SERVICES, "geth_build")}
DESK_ABSENT = {"contracts_state": "absent", "genesis_state": "absent"}
# Of a supervisord, which has no service any more.
CONFIGURATION = {f"hosts/{host}/supervisord.conf" for host in ("node", "meter")}


def test_what_is_absent_is_gone_but_for_keys_and_data(estate: Estate, market: Market, foreign: Foreign) -> None:
    before = estate.files("hosts", "desk", "network")
    assert set(estate.processes()) > {"node/geth", "node/bootnode", "meter/bridge"}
    estate.assert_absent("bridge.yml", "node.yml", **ABSENT)
    assert estate.processes() == {}
    estate.assert_absent("market.yml", **DESK_ABSENT)
    after = estate.files("hosts", "desk", "network")
    kept = {
        *("hosts/node/boot.key", "hosts/node/node.key", "hosts/meter/source-keys.json"),
        "network/genesis.json",
        *(name for name in before if name.startswith("desk/accounts/")),
    }
    assert {name: after[name] for name in kept} == {name: before[name] for name in kept}
    assert {name for name in after if not name.endswith(".sqlite")} == kept | CONFIGURATION
    assert "hosts/meter/bridge.sqlite" in after
    assert (estate.chain / "chaindata/CURRENT").exists()
    assert market.contract.functions.actorCount().call() == len(ACTORS)
    foreign.assert_untouched()


def test_data_go_only_where_that_is_said_too(estate: Estate, foreign: Foreign) -> None:
    remove = {f"{role}_remove_data": True for role in (*SERVICES, "contracts", "genesis")}
    assert set(estate.play("bridge.yml", "node.yml", **ABSENT, **remove).changed) == {"meter", "node"}
    assert estate.play("bridge.yml", "node.yml", **ABSENT, **remove).changed == {}
    estate.play("market.yml", **DESK_ABSENT, **remove)
    assert set(estate.files("hosts", "desk", "network")) == CONFIGURATION
    assert not estate.chain.exists()
    foreign.assert_untouched()


@pytest.fixture(scope="module")
def site(collections: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Estate, Network]]:
    """An inventory that has the groups of site and stands in a folder of its own, and its network of two sealers."""
    directory = tmp_path_factory.mktemp("site")
    variables = {
        "ansible_connection": "local",
        "ansible_python_interpreter": "{{ ansible_playbook_python }}",
        "clique_become": False,
        "clique_prepare_hosts": False,
        "clique_service_manager": "supervisor",
        "clique_user": None,
        "clique_group": None,
        "clique_period_s": 1,
        "clique_base_port": SITE_BASE_PORT,
        "clique_node_address": "127.0.0.1",
        "clique_netrestrict": ["127.0.0.0/8"],
        "clique_directory": "{{ inventory_dir }}/hosts/{{ inventory_hostname }}",
        "clique_bin_directory": None,
        "clique_build_cache_directory": str(CHECKOUT / "build/geth"),
        "clique_bridge_python": "{{ ansible_playbook_python }}",
    }
    hosts = {name: {"clique_node_number": number} for number, name in enumerate(("sealer1", "sealer2", "gateway"), 1)}
    groups = {"sealers": ("sealer1", "sealer2"), "gateways": ("gateway",), "bootnodes": ("gateway",)}
    children = {group: {"hosts": {name: hosts[name] for name in names}} for group, names in groups.items()}
    inventory = {"all": {"vars": variables, "hosts": {"localhost": None}, "children": children}}
    (directory / "hosts.json").write_text(json.dumps(inventory))
    estate, network = Estate(directory, collections), Network(directory, SITE_BASE_PORT, period_s=1)
    try:
        estate.play("smartenergy.clique.site")
        yield estate, network
    finally:
        network.stop()


def test_site_brings_up_a_network_from_an_inventory_elsewhere(site: tuple[Estate, Network]) -> None:
    estate, network = site
    signers = set(network.record["genesis"]["signers"])
    assert len(signers) == 2
    head = network.web3.eth.block_number
    wait_until(
        "both to seal", lambda: {network.signer_of(number) for number in range(head - 3, head + 1)} == signers, 60
    )
    assert network.market().functions.actorCount().call() == len(ACTORS)
    assert {"gateway/bridge", "gateway/bootnode", "gateway/geth"} < set(estate.processes())
    # All of it is where the inventory is.
    assert not list(estate.collections.rglob("genesis.json"))


def test_a_sealer_is_absent_and_keeps_its_account_until_that_is_to_go(site: tuple[Estate, Network]) -> None:
    estate, network = site
    role = {"role": "smartenergy.clique.sealer", "vars": {"sealer_directory": "{{ clique_directory }}"}}
    manager = {"geth_node_service_manager": "supervisor", "sealer_state": "absent"}
    play = {"hosts": "sealer2", "gather_facts": False, "vars": manager, "roles": [role]}
    (estate.directory / "retire.yml").write_text(json.dumps([play]))
    others = {name: pid for name, pid in estate.processes().items() if not name.startswith("sealer2/")}
    secrets = [network.host("sealer2") / name for name in ("node.key", "password")]
    keystore = network.host("sealer2") / "geth/keystore"
    assert all(path.exists() for path in secrets)
    estate.play("retire.yml")
    assert estate.processes() == others
    assert all(path.exists() for path in secrets)
    assert len(list(keystore.iterdir())) == 1
    estate.assert_absent("retire.yml", sealer_remove_data=True)
    assert not any(path.exists() for path in (*secrets, keystore))
