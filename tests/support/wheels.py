# SPDX-License-Identifier: GPL-3.0-or-later
"""A package index on disk with one small distribution, and a package that needs it."""

import hashlib
import sys
import zipfile
from pathlib import Path
from typing import Any

PYTHON = ".".join(map(str, sys.version_info[:2]))
TAGS = {
    "3.11 arm64": "cp311-cp311-manylinux_2_17_aarch64.manylinux2014_aarch64",
    "3.13 arm64": "cp313-cp313-manylinux_2_28_aarch64",
    "3.13 amd64": "cp313-cp313-manylinux_2_28_x86_64",
    "this": f"cp{PYTHON.replace('.', '')}-none-any",
}


def make_wheel(folder: Path, tag: str) -> Path:
    """A wheel of `meter` whose module says for what it was made, and that has a program as many wheels do."""
    path = folder / f"meter-1.0-{tag}.whl"
    tags = "".join(f"Tag: {tag.rsplit('-', 1)[0]}-{platform}\n" for platform in tag.rsplit("-", 1)[1].split("."))
    files = {
        "meter.py": f"TAG = {tag!r}\n",
        "meter-1.0.dist-info/METADATA": "Metadata-Version: 2.1\nName: meter\nVersion: 1.0\n",
        "meter-1.0.dist-info/WHEEL": f"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: false\n{tags}",
        "meter-1.0.dist-info/entry_points.txt": "[console_scripts]\nmeter = meter:main\n",
    }
    record = "".join(f"{name},,\n" for name in [*files, "meter-1.0.dist-info/RECORD"])
    with zipfile.ZipFile(path, "w") as wheel:
        for name, text in {**files, "meter-1.0.dist-info/RECORD": record}.items():
            wheel.writestr(name, text)
    return path


def make_project(root: Path) -> dict[str, Any]:
    """An index, a lock of what is in it, and a package; returns the options of python_bundle for this machine."""
    index, package = root / "index/meter", root / "source/grid_watch"
    index.mkdir(parents=True)
    wheels = [make_wheel(index, tag) for tag in dict.fromkeys(TAGS.values())]
    sums = [hashlib.sha256(wheel.read_bytes()).hexdigest() for wheel in wheels]
    links = (f'<a href="{wheel.name}#sha256={sum_}">{wheel.name}</a>' for wheel, sum_ in zip(wheels, sums, strict=True))
    (index / "index.html").write_text("<!DOCTYPE html>\n" + "\n".join(links))
    (root / "requirements.txt").write_text("meter==1.0 " + " ".join(f"--hash=sha256:{sum_}" for sum_ in sums) + "\n")
    package.mkdir(parents=True)
    (package / "__init__.py").write_text("")
    (package / "__main__.py").write_text("import sys\nimport meter\nprint(meter.TAG, *sys.argv[1:])\n")
    return {
        "cache_dir": str(root / "cache"),
        "requirements": str(root / "requirements.txt"),
        "package": str(package),
        "arch": "x86_64",
        "python_version": PYTHON,
        "index_url": f"file://{root / 'index'}",
    }
