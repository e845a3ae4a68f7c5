# SPDX-License-Identifier: GPL-3.0-or-later
"""A wall clock of its own for one running process: its clock_gettime is overwritten with another one.

A static Go program takes no preloaded library, and a time namespace moves no wall clock. What every process has is the
kernel's vDSO, whose pages become its own copy where they are written to. Timers go by the monotonic clock, as ever.
"""

from __future__ import annotations

import ctypes
import os
import signal
import struct
import time
from pathlib import Path

import pytest
from ansible_collections.smartenergy.clique.plugins.module_utils._wait import wait_until

_FUNCTION = "__vdso_clock_gettime"
# int clock_gettime(clockid_t edi, struct timespec *rsi), with so many seconds more for CLOCK_REALTIME:
_AHEAD = (
    "b8e4000000"  # mov eax, 228: the system call of this name
    "0f05"  # syscall
    "85ff"  # test edi, edi: CLOCK_REALTIME is 0
    "7507"  # jnz, past the next
    "488106"  # add qword [rsi], the seconds that follow as 32 bits
)
_RETURN = "c3"


def set_ahead(pid: int, seconds: int) -> None:
    """Set a process's wall clock ahead, or back with less than 0; skips the test where this cannot be done."""
    if os.uname().machine != "x86_64":
        pytest.skip("another wall clock for one process is written for x86-64 alone")
    code = bytes.fromhex(_AHEAD) + struct.pack("<i", seconds) + bytes.fromhex(_RETURN)
    start, end = _vdso(pid)
    os.kill(pid, signal.SIGSTOP)
    try:
        # Whoever is inside just now would go on in the middle of something else.
        assert wait_until(lambda: not _inside(pid, start, end), timeout_s=10, clock=time), "it never leaves the vDSO"
        with Path(f"/proc/{pid}/mem").open("r+b", buffering=0) as memory:
            memory.seek(start + _offset())
            memory.write(code)
    except PermissionError:
        pytest.skip("a process's memory can be written to by its tracer alone here")
    finally:
        os.kill(pid, signal.SIGCONT)


def _vdso(pid: int | str) -> tuple[int, int]:
    """Where a process has its vDSO."""
    maps = Path(f"/proc/{pid}/maps").read_text().splitlines()
    (found,) = (line.split()[0] for line in maps if line.endswith("[vdso]"))
    start, end = (int(address, 16) for address in found.split("-"))
    return start, end


def _offset() -> int:
    """Where the function is in the vDSO, which is the same for all processes."""
    function = getattr(ctypes.CDLL("linux-vdso.so.1"), _FUNCTION)
    return int(ctypes.cast(function, ctypes.c_void_p).value or 0) - _vdso("self")[0]


def _inside(pid: int, start: int, end: int) -> bool:
    """Whether a thread is running in the vDSO, or not stopped yet; goes by where each one's next instruction is."""
    said = [path.read_text().split() for path in Path(f"/proc/{pid}/task").glob("*/syscall")]
    return any(words[0] == "running" or start <= int(words[-1], 16) < end for words in said)
