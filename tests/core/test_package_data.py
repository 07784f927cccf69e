"""Every shipped data file is the one that was checked in, and none is missing from the list or the disk."""

import hashlib
from importlib import resources
from pathlib import Path

DATA = Path(str(resources.files("tmsjax"))) / "data"


def listed() -> dict[str, str]:
    lines = (DATA / "SHA256SUMS").read_text().splitlines()
    return {name: digest for digest, name in (line.split("  ", 1) for line in lines)}


def test_every_file_has_its_recorded_checksum():
    for name, digest in listed().items():
        assert hashlib.sha256((DATA / name).read_bytes()).hexdigest() == digest, name


def test_no_file_is_unlisted():
    there = {p.relative_to(DATA).as_posix() for p in DATA.rglob("*") if p.is_file() and "__pycache__" not in p.parts}
    assert there - {"SHA256SUMS"} == set(listed())


def test_every_folder_states_its_licence():
    for folder in ("heads/S1", "cells/open", "weights"):
        assert list((DATA / folder).glob("LICENSE*")) or "icence" in (DATA / folder / "README.md").read_text()


def test_the_data_stay_small():
    sizes = {p: p.stat().st_size for p in DATA.rglob("*") if p.is_file()}
    assert sum(size for p, size in sizes.items() if "heads" in p.parts) < 5e6
    assert sum(sizes.values()) < 20e6
