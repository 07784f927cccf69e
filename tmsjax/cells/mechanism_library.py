"""NEURON with our membrane mechanisms: compiled once per machine into a cache, loaded once per process."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import os
import platform
import re
import shutil
import subprocess
import sysconfig
import tempfile
from importlib.resources import files
from pathlib import Path

from tmsjax.core.errors import InputError, MissingToolError

MECHANISMS = (
    "NaTa_t",
    "NaTs2_t",
    "Nap_Et2",
    "K_Tst",
    "K_Pst",
    "SKv3_1",
    "Im",
    "Ih",
    "Ca_HVA",
    "Ca",
    "Ca_LVAst",
    "SK_E2",
    "CaDynamics_E2",
)
DRIVE = ("QuasiInjection",)
"""Compiled with them: the drive of the induced field, which `tmsjax.simulate.oracle` inserts."""
INCLUDED = ("linoid.inc",)
"""What several mechanisms share."""
_LOADED: dict[Path, tuple[str, ...]] = {}
"""Libraries of users' mechanisms that this process has loaded: NEURON keeps them for its lifetime."""
TABULATED = tuple(name for name in MECHANISMS if name not in ("SK_E2", "CaDynamics_E2"))
"""Mechanisms whose rates depend on the potential only, so that NEURON can tabulate them."""


def cache_folder() -> Path:
    """Where compiled mechanisms are kept: $TMSJAX_CACHE, or the user's cache folder."""
    import platformdirs

    return Path(os.environ.get("TMSJAX_CACHE") or platformdirs.user_cache_path("tmsjax"))


@functools.cache
def load_neuron():
    """Import NEURON without its GUI and load our mechanisms; returns ``neuron.h``.

    Raises MissingToolError if NEURON, a C++ compiler or make is missing, or if mechanisms of the same names from
    elsewhere are loaded already.
    """
    h = _import_neuron()
    loaded = _loaded_mechanisms(h) & set(MECHANISMS)
    if loaded:
        raise MissingToolError(
            f"NEURON has mechanisms of our names from elsewhere: {', '.join(sorted(loaded))}. It loads what was "
            f"compiled in the working directory ({Path.cwd()}) when it is imported: start from another directory."
        )
    h.nrn_load_dll(str(compiled_library()))
    return h


def use_tables(on: bool) -> None:
    """Switch the tabulated rates (0.1 mV grid, linear interpolation; twice as fast) on or off. They start on."""
    h = load_neuron()
    for name in TABULATED:
        setattr(h, f"usetable_{name}", int(on))


def load_mechanisms(folder: str | os.PathLike):
    """Load a user's own .mod files beside ours (compiled once per content and machine); returns ``neuron.h``.

    Raises InputError for what ``own_mechanisms`` refuses and where this process has loaded another mechanism of the
    same name, and MissingToolError as ``load_neuron`` does, with the end of the compiler's output.
    """
    h = load_neuron()
    own = own_mechanisms(folder)
    library = compiled_library({path.name: path.read_bytes() for path in _sources_in(Path(folder))})
    if _LOADED.get(library) is None:
        clash = _loaded_mechanisms(h) & set(own)
        if clash:
            raise InputError(
                "this process has loaded other mechanisms of these names",
                got=f"{', '.join(sorted(clash))} of {folder}",
                expected="names that are free: NEURON cannot replace a mechanism",
                mend="use a new process, or another SUFFIX",
            )
        h.nrn_load_dll(str(library))
        _LOADED[library] = own
    return h


def own_mechanisms(folder: str | os.PathLike) -> tuple[str, ...]:
    """Names (SUFFIX) of the density mechanisms in a folder of .mod files.

    Raises InputError for a folder without .mod files, a mechanism without a RANGE parameter gbar (its density, S/cm2),
    or a name that is one of ours.
    """
    names: dict[str, str] = {}
    for path in _sources_in(Path(folder)):
        if path.suffix != ".mod":
            continue
        text = re.sub(r"(?s)COMMENT.*?ENDCOMMENT|[:?][^\n]*", "", path.read_text(encoding="utf-8", errors="replace"))
        block = re.search(r"(?s)\bNEURON\s*\{(.*?)\}", text)
        suffix = re.search(r"\bSUFFIX\s+(\w+)", block[1]) if block else None
        if block is None or suffix is None or not re.search(r"(?s)\bRANGE\b.*\bgbar\b", block[1]):
            raise InputError(
                f"{path.name} is no channel that can be used",
                got="no SUFFIX" if suffix is None else f"SUFFIX {suffix[1]} without RANGE gbar",
                expected="a density mechanism (SUFFIX) whose RANGE parameter gbar is its conductance in S/cm2",
            )
        if suffix[1] in (*MECHANISMS, *DRIVE) or suffix[1] in names:
            raise InputError(
                f"{path.name}: the name {suffix[1]} is taken",
                got=suffix[0],
                expected="a SUFFIX of its own",
                mend="rename it",
            )
        names[suffix[1]] = path.name
    return tuple(names)


def _sources_in(folder: Path) -> list[Path]:
    found = sorted(path for path in folder.glob("*") if path.suffix in (".mod", ".inc")) if folder.is_dir() else []
    if not any(path.suffix == ".mod" for path in found):
        raise InputError("there are no mechanisms", got=folder, expected="a folder with .mod files (option mechanisms)")
    return found


def compiled_library(sources: dict[str, bytes] | None = None) -> Path:
    """The compiled mechanisms of this NEURON on this machine, compiled now if they are not in the cache.

    ``sources`` are files by name; ours by default.
    """
    import neuron

    sources = _sources() if sources is None else sources
    folder = cache_folder() / "mechanisms" / _key(sources, neuron.__version__)
    library = folder / "libnrnmech.so"
    if not library.exists():
        folder.mkdir(parents=True, exist_ok=True)
        with _locked(folder / "lock"):
            if not library.exists():
                _compile(sources, library)
    return library


def _import_neuron():
    os.environ.setdefault("NEURON_MODULE_OPTIONS", "-nogui")
    try:
        from neuron import h
    except ImportError as error:
        raise MissingToolError(
            "this needs NEURON, which does not run on Windows itself (use WSL there): pip install neuron"
        ) from error
    return h


def _loaded_mechanisms(h) -> set[str]:
    names = set()
    for kind in (0, 1):
        types = h.MechanismType(kind)
        for k in range(int(types.count())):
            types.select(k)
            name = h.ref("")
            types.selected(name)
            names.add(name[0])
    return names


def _sources() -> dict[str, bytes]:
    folder = files("tmsjax.cells") / "mechanisms"
    names = (*(f"{name}.mod" for name in (*MECHANISMS, *DRIVE)), *INCLUDED)
    return {name: (folder / name).read_bytes() for name in names}


def _key(sources: dict[str, bytes], version: str) -> str:
    digest = hashlib.sha256()
    for name in sorted(sources):
        digest.update(name.encode() + b"\0" + sources[name] + b"\0")
    return f"neuron-{version}-{platform.system()}-{platform.machine()}-{digest.hexdigest()[:16]}".lower()


@contextlib.contextmanager
def _locked(path: Path):
    """Hold an exclusive lock on a file; another process that compiles the same key waits for it."""
    import fcntl

    with path.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _compile(sources: dict[str, bytes], library: Path) -> None:
    """Run nrnivmodl beside the place where the library goes, then move the library there in one step."""
    command = _nrnivmodl()
    with tempfile.TemporaryDirectory(dir=library.parent) as work:
        for name, text in sources.items():
            (Path(work) / name).write_bytes(text)
        done = subprocess.run([command, "."], cwd=work, capture_output=True, text=True, check=False)
        built = sorted(Path(work).glob("*/**/libnrnmech.*"))
        built = [path for path in built if path.suffix in (".so", ".dylib")]
        if done.returncode or not built:
            tail = "\n".join((done.stdout + done.stderr).splitlines()[-15:])
            raise MissingToolError(f"nrnivmodl could not compile the membrane mechanisms:\n{tail}")
        os.replace(built[0], library)


def _nrnivmodl() -> str:
    compiler = os.environ.get("CXX", "").split()[:1] or ["g++", "c++", "clang++"]
    if not any(shutil.which(name) for name in compiler):
        raise MissingToolError(
            f"the membrane mechanisms are compiled on first use, and no C++ compiler was found "
            f"(looked for {', '.join(compiler)}); install one, e.g. apt install g++ make"
        )
    if not shutil.which("make"):
        raise MissingToolError("the membrane mechanisms are compiled on first use, and that needs `make`")
    beside = Path(sysconfig.get_path("scripts")) / "nrnivmodl"
    command = str(beside) if beside.exists() else shutil.which("nrnivmodl")
    if command is None:
        raise MissingToolError("nrnivmodl, which comes with NEURON, was not found; reinstall: pip install neuron")
    return command
