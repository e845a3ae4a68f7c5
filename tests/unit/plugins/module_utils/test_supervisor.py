# SPDX-License-Identifier: GPL-3.0-or-later
"""What is written for supervisor, read back by supervisor's own parser."""

import os
import string
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest
from ansible_collections.smartenergy.clique.plugins.module_utils._service import Definition, ServiceError
from ansible_collections.smartenergy.clique.plugins.module_utils._supervisor import Supervisor
from hypothesis import given
from hypothesis import strategies as st
from supervisor.options import ProcessConfig, ServerOptions

words = st.one_of(
    st.text(alphabet=st.characters(exclude_categories=["Cs"]).filter(str.isprintable), max_size=20),
    st.text(alphabet=" #;%()'\"\\heresd$=,", max_size=20),
    st.sampled_from(["%(here)s", "%(ENV_HOME)s", "%%", " ;", "a # b", "[program:two]"]),
)
names = st.text(alphabet=string.ascii_letters + "_", min_size=1, max_size=8)


def read_back(directory: Path, definition: Definition) -> ProcessConfig:
    manager = Supervisor(Path(os.path.realpath(directory)), "one", Path("/none"), time)
    manager.write(manager.render(definition))
    options: Any = ServerOptions()
    options.realize(["-c", str(directory / "supervisord.conf")])
    (group,) = options.process_group_configs
    (config,) = group.process_configs
    return config


def definition(argv: tuple[str, ...], environment: dict[str, str]) -> Definition:
    return Definition("one", ("/bin/sh", *argv), environment, "/", "INT", 180, {}, {})


@given(argv=st.lists(words, max_size=4))
def test_every_printable_argument_arrives(argv: list[str]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        config = read_back(Path(directory), definition(tuple(argv), {}))
        assert config.make_process().get_execv_args() == ("/bin/sh", ["/bin/sh", *argv])


@given(environment=st.dictionaries(names, words, max_size=3))
def test_every_value_arrives_or_is_refused(environment: dict[str, str]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        try:
            config = read_back(Path(directory), definition((), environment))
        except ServiceError as error:
            assert "let the program read it from a file" in str(error)
        else:
            assert config.environment.items() >= environment.items()


@pytest.mark.parametrize("folder", ["with space", "a;b", "ünï", "it's"])
def test_where_a_network_may_live(tmp_path: Path, folder: str) -> None:
    place = tmp_path / folder
    place.mkdir()
    config = read_back(place, definition((), {}))
    assert config.stdout_logfile == str(place / "log/one.log")
    assert config.environment["CLIQUE_SERVICE_DIRECTORY"] == str(place)


@pytest.mark.parametrize("folder", ["a ;b", "a #b", "[a]", "a*", "100%", "a\nb"])
def test_where_it_may_not(tmp_path: Path, folder: str) -> None:
    with pytest.raises(ServiceError, match="supervisor cannot work in"):
        Supervisor(tmp_path / folder, "one", Path("/none"), time)
