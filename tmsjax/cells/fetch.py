"""The 15 reference cells of Aberra et al. (2020), which users fetch from their public repositories themselves.

Every reconstruction is known by its sha256, taken with Unix line ends, so that it is recognised wherever it lies and
whatever a checkout did to its lines. The addresses are pinned to commits; the file's name is read from the cell's own
``morphology.hoc`` beside it.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import logging
import os
import re
import tempfile
import urllib.parse
import zipfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from tmsjax.core.errors import InputError

ABERRA_SOURCE = "https://github.com/Aman-A/TMSsim_Aberra2019 or ModelDB 241165"
ABERRA_LICENCE = "CC-BY-NC-SA-4.0"
SOURCES = (
    "https://raw.githubusercontent.com/Aman-A/TMSsim_Aberra2019/25445ac6bb11ecc49935f860819a80a5eee9e77e/nrn/cells",
    "https://raw.githubusercontent.com/ModelDBRepository/241165/3d0e0af991ac8aa60229535e4e94b73cf184242b/cells",
)
"""Folders CELL/ with morphology.hoc and morphology/*.asc: the authors' repository, and ModelDB's of entry 241165."""

NOTICE = """\
The 15 reconstructions are by the Blue Brain Project: Copyright (c) 2015 EPFL-BBP, all rights reserved. They are
provided "as is", without any warranty, and licensed under the Creative Commons Attribution-NonCommercial-ShareAlike 4.0
International licence: https://creativecommons.org/licenses/by-nc-sa/4.0/legalcode

That is: you may copy and change them if you name their authors, use them for no commercial purpose, and pass on what
you make of them under the same licence. This includes what is derived from them, such as trained weights.

To be cited: Markram et al. 2015, Cell 163:456; Aberra, Peterchev & Grill 2018, J. Neural Eng. 15:066023 (ModelDB
241165); Aberra, Wang, Grill & Peterchev 2020, Brain Stimul. 13:175.
"""

SHA256 = {
    "L23_PC_cADpyr229_1": "254a5269762a0fe44ce5c57280f4d3c74229ef500c1c997f1632ffbfed8ea804",
    "L23_PC_cADpyr229_2": "ba4229461655dc974e5ce2fd97c2704d2844e287c6710075a078de5789d52ece",
    "L23_PC_cADpyr229_3": "0461cb294f46d9e17256e45049dde2bc3a8c15b0ab6cd872c3b973006b60ccfc",
    "L23_PC_cADpyr229_4": "14ad4bb4f75157457a63b3b9c25d8a02f2036fe47b07e378d50dd15650335a93",
    "L23_PC_cADpyr229_5": "2d861ac97e22284d73e5eb1ea783767707e09731b35cc5498215dfa5fd0977ad",
    "L4_LBC_cACint209_1": "95cbaff8938a1536b708845ae19e0919f6d55c885f8b8102cce24e26a994d8ed",
    "L4_LBC_cACint209_2": "a87dd2b5ebd71c627d8548620dfc7da9e45abe1c24f6d607ac86f8bcf35a9700",
    "L4_LBC_cACint209_3": "fa18a7853358fc73a0fda832ee0f86d4ebc9d1799a81c357d61a1c6b1afc6d26",
    "L4_LBC_cACint209_4": "dfe82b334e71cbc7d548ad6f712fe7a8f5c17fc336d2f821e5cc9f368d7d9a40",
    "L4_LBC_cACint209_5": "78f85950032c610b82b744b181a639f84e3458bb21af14f6ee6702b728abc9c9",
    "L5_TTPC2_cADpyr232_1": "8f114fca8159cfefc91f8553d9d244996d5ec1d341a9e28b526946fc9d481570",
    "L5_TTPC2_cADpyr232_2": "d15204dd7662fa7a411339485d278e4baff1e037cfffe222d0c494b0aad779fb",
    "L5_TTPC2_cADpyr232_3": "22f723101d4997e7e5d2386dbffda8c3aa569301fce3158aec822da3f855a1f5",
    "L5_TTPC2_cADpyr232_4": "3dfe1269f7dbc62267363834c00d375fdab04392594d7a218e6bcd3c25055944",
    "L5_TTPC2_cADpyr232_5": "e1ae3e9b6ff49c5fe3e733c904fd1d709984a81944d66cd472131861eaa60fc8",
}
"""Of the .asc files with Unix line ends. That of L5_TTPC2_cADpyr232_1 is also that of the copy in the package
MEArec."""

BY_HAND = (
    "get the files by hand: `tmsjax fetch aberra2019 --source FOLDER_OR_ZIP` takes a checkout or an archive, and the "
    "folder option (root=FOLDER, --cells FOLDER) reads FOLDER/asc/CELL.asc as it is"
)


def reference_folder() -> Path:
    """Where fetched reference cells lie: $TMSJAX_DATA, or the user's data folder, and below it cells/aberra2019."""
    import platformdirs

    return Path(os.environ.get("TMSJAX_DATA") or platformdirs.user_data_path("tmsjax")) / "cells" / "aberra2019"


def fetch_aberra2019(
    *,
    accept_licence: bool,
    source: str | os.PathLike | None = None,
    folder: str | os.PathLike | None = None,
    progress: Callable[[str], None] = lambda message: None,
) -> dict[str, str]:
    """Put the reference cells into a folder as asc/CELL.asc, checked; returns what became of each ("fetched", "there").

    ``source``: a folder or .zip to search for the files, or the address of a .zip, or of a folder CELL/ like
    ``SOURCES`` (which are tried one after the other by default). ``folder`` is ``reference_folder()`` unless given.
    Cells that are there and whole are left alone, so an interrupted run goes on; each file appears whole or not at
    all. Raises InputError where the licence (``NOTICE``) is not accepted, nothing can be reached, or a file is not the
    expected one.
    """
    if not accept_licence:
        raise InputError(
            "the licence of the reference cells was not accepted",
            got="accept_licence=False",
            expected=f"your consent to {ABERRA_LICENCE}",
            mend="read it (tmsjax fetch aberra2019 shows it) and pass --accept-licence, or accept_licence=True",
        )
    folder = reference_folder() if folder is None else Path(folder)
    missing = [name for name in SHA256 if not _whole(folder / "asc" / f"{name}.asc", SHA256[name])]
    if missing:
        _make(folder / "asc")
        used = _from_any(missing, source, folder / "asc", progress)
        _write(folder / "LICENCE.txt", NOTICE.encode())
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        record = {"fetched": now, "source": used, "licence": ABERRA_LICENCE, "accepted": True, "sha256": SHA256}
        _write(folder / "source.json", (json.dumps(record, indent=1) + "\n").encode())
    return {name: "fetched" if name in missing else "there" for name in SHA256}


def _from_any(missing: list[str], source: str | os.PathLike | None, folder: Path, progress) -> str:
    """Fetch the missing cells from the source, or from the first of ``SOURCES`` that has them; returns which it was."""
    if source is not None and not str(source).startswith(("http://", "https://")):
        _sort_out(_files_in(Path(source)), missing, folder, str(source), progress)
        return str(source)
    with tempfile.TemporaryDirectory() as work:
        if source is not None and str(source).endswith(".zip"):
            archive = _download(str(source), Path(work))
            _sort_out(_files_in(archive), missing, folder, str(source), progress)
            return str(source)
        failures = []
        for base in SOURCES if source is None else (str(source).rstrip("/"),):
            try:
                for name in [name for name in missing if not _whole(folder / f"{name}.asc", SHA256[name])]:
                    progress(f"{name} from {base}")
                    _write(folder / f"{name}.asc", _from_address(name, base, Path(work)))
                return base
            except InputError as error:
                failures.append(error)
        if len(failures) == 1:
            raise failures[0]
        raise InputError(
            "none of the public repositories gave the reference cells",
            got="\n            ".join(str(error).splitlines()[1].removeprefix("  got:").strip() for error in failures),
            expected="a connection to one of them",
            mend=BY_HAND,
        )


def _from_address(name: str, base: str, work: Path) -> bytes:
    """A cell's reconstruction from the folder CELL/ at an address; its morphology.hoc says what the file is called."""
    text = _download(f"{base}/{name}/morphology.hoc", work).read_text(encoding="utf-8", errors="replace")
    found = re.search(r'input\("morphology/([^"/\\]+\.asc)"\)', text)
    if found is None:
        raise InputError(
            f"{base}/{name}/morphology.hoc names no reconstruction",
            got=text[-200:].strip(),
            expected='a line input("morphology/FILE.asc")',
            mend=BY_HAND,
        )
    address = f"{base}/{name}/morphology/{urllib.parse.quote(found[1])}"
    data = _unix(_download(address, work).read_bytes())
    digest = hashlib.sha256(data).hexdigest()
    if digest != SHA256[name]:
        raise InputError(
            f"the file for {name} is not the one that the published thresholds were checked with",
            got=f"{address}: sha256 {digest}",
            expected=f"sha256 {SHA256[name]}",
            mend=BY_HAND,
        )
    return data


def _download(address: str, work: Path) -> Path:
    """A file from an address. Its checksum is taken later, without the ends of its lines."""
    import pooch
    import requests

    logger = pooch.get_logger()
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        return Path(
            pooch.retrieve(
                address,
                known_hash=None,
                path=work,
                fname=hashlib.sha256(address.encode()).hexdigest() + Path(address).suffix,
            )
        )
    except (requests.exceptions.RequestException, OSError) as error:
        answer = getattr(error, "response", None)
        if answer is not None:
            answer.close()  # pooch leaves it open
        raise InputError(
            "the reference cells cannot be downloaded",
            got=f"{address}: {type(error).__name__}" if answer is None else error,  # 404 Client Error: ... for url: ...
            expected="a connection to this address",
            mend=BY_HAND,
        ) from error
    finally:
        logger.setLevel(level)


def _files_in(source: Path) -> Iterator[bytes]:
    """All .asc files of a folder or a .zip."""
    if source.is_dir():
        yield from (path.read_bytes() for path in sorted(source.rglob("*.asc")))
    elif zipfile.is_zipfile(source):
        with zipfile.ZipFile(source) as archive:
            yield from (archive.read(name) for name in sorted(archive.namelist()) if name.lower().endswith(".asc"))
    else:
        raise InputError(
            "the source cannot be read", got=source, expected="a folder, a .zip, or an address https://..."
        )


def _sort_out(contents: Iterable[bytes], missing: list[str], folder: Path, source: str, progress) -> None:
    """Keep the wanted cells among some files, which their checksums tell."""
    wanted = {SHA256[name]: name for name in missing}
    for data in map(_unix, contents):
        name = wanted.pop(hashlib.sha256(data).hexdigest(), None)
        if name is not None:
            progress(f"{name} from {source}")
            _write(folder / f"{name}.asc", data)
    if wanted:
        raise InputError(
            f"{len(wanted)} of the reference cells are not in this source",
            got=f"{source}, without {', '.join(sorted(wanted.values()))}",
            expected="the 15 .asc files of the public repositories, unchanged (their names do not matter)",
            mend=f"get them from {ABERRA_SOURCE}",
        )


def _unix(data: bytes) -> bytes:
    return data.replace(b"\r\n", b"\n")


def _whole(path: Path, sha256: str) -> bool:
    return path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == sha256


def _make(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(
            "the data folder cannot be made",
            got=f"{folder} ({error.strerror})",
            expected="a folder that can be written ($TMSJAX_DATA, or --folder)",
        ) from error


def _write(path: Path, data: bytes) -> None:
    """Write a file in one step."""
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        beside.write_bytes(data)
        os.replace(beside, path)
    except OSError as error:
        raise InputError(
            "a file cannot be written",
            got=f"{path} ({error.strerror})",
            expected="a folder with room that can be written",
        ) from error
    finally:
        beside.unlink(missing_ok=True)
