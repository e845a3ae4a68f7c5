# SPDX-License-Identifier: GPL-3.0-or-later
"""Files that a user writes, and what may stand in them; whatever is wrong is a sentence that names the file."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

__all__ = ["ConfigError", "Settings", "is_int", "is_number", "naming", "read_text"]

# What each setting has to be: in words, and as a test.
Settings = Mapping[str, tuple[str, Callable[[Any], bool]]]


class ConfigError(Exception):
    """What is wrong with a file that the user wrote, one sentence per line."""


def read_text(path: Path, encoding: str = "utf-8") -> str:
    """The text of a file; raises ConfigError."""
    try:
        return path.read_text(encoding)
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}.") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{path} is not a text in UTF-8.") from error


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Put the file's name before each sentence of a ConfigError."""
    try:
        yield
    except ConfigError as error:
        raise ConfigError("\n".join(f"{path}: {line}" for line in str(error).splitlines())) from None


def is_int(value: Any) -> bool:
    """Whether this is a whole number, which true and false are not."""
    return isinstance(value, int) and not isinstance(value, bool)


def is_number(value: Any) -> bool:
    """Whether this is a number, and a finite one."""
    return is_int(value) or (isinstance(value, float) and math.isfinite(value))
