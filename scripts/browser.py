# SPDX-License-Identifier: GPL-3.0-or-later
"""What the tests of the bridge's page need of this machine: Chromium, with a font.

It is installed where that may be done: as root, on Debian, unless CLIQUE_SETUP is 0.
"""

import shutil

from debian import install, need

# Ubuntu's package of that name only brings a snap, which nothing here can start.
PROGRAMS = ("chromium", "chromium-browser", "google-chrome")
PACKAGES = ("chromium", "fonts-dejavu-core")


def browser() -> str | None:
    """Where this machine's Chromium is."""
    return next(filter(None, map(shutil.which, PROGRAMS)), None)


def main() -> None:
    if browser():
        return
    need("of the page", "Chromium", f"install it (on Debian: apt install {' '.join(PACKAGES)})")
    install(*PACKAGES)


if __name__ == "__main__":
    main()
