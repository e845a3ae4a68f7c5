# SPDX-License-Identifier: GPL-3.0-or-later
"""Energy measurements that arrive over UDP become settled trades on a private Ethereum network."""
