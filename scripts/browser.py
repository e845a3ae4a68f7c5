# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests of the bridge's page need of this machine: Chromium, with a font.

It is installed where that may be done: as root, on Debian, unless CLIQUE_SETUP is 0.
"""

from debian import answers, install, need

PACKAGES = ("chromium", "fonts-dejavu-core")


def main() -> None:
    if answers("chromium", "--version"):
        return
    need("of the page", "Chromium", f"install it (on Debian: apt install {' '.join(PACKAGES)})")
    install(*PACKAGES)


if __name__ == "__main__":
    main()
