# SPDX-License-Identifier: GPL-3.0-or-later
"""What can be said of every module in the same words; a module adds how far it supports it."""

from __future__ import annotations


class ModuleDocFragment:
    """The attributes that every module documents."""

    DOCUMENTATION = r"""
options: {}
attributes:
  check_mode:
    description: Can run in check mode, and foretells what a run would change without changing anything.
  diff_mode:
    description: Shows in diff mode what changed, or would change in check mode.
  platform:
    description: What it runs on.
    support: full
    platforms: posix
"""
