# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests of examples/matlab need of this machine: GNU Octave, with UDP.

It is installed where that may be done: as root, on Debian or Ubuntu, unless CLIQUE_SETUP is 0.
"""

from debian import answers, install, need

PACKAGES = ("octave", "octave-instrument-control")


def main() -> None:
    if answers("octave-cli", "--eval", "pkg load instrument-control"):
        return
    need(
        "of examples/matlab",
        "GNU Octave with its package instrument-control",
        f"install them (on Debian: apt install {' '.join(PACKAGES)})",
    )
    install(*PACKAGES)


if __name__ == "__main__":
    main()
