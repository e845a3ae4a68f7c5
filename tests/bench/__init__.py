# SPDX-License-Identifier: GPL-3.0-or-later
"""What `make bench` measures: one file for each thing that is measured, rows.py for what becomes of it."""
