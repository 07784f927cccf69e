"""SimNIBS coil files (.ccd): text with a count, then x y z [m] mx my mz [A.m2 per A] of each dipole.

Newer files say more in their first line, as ``# NAME;dIdtmax=100.0,162.0;stimulator=A,B;brand=...``: the largest dI/dt
(A/us) of each stimulator is kept as ``Coil.stimulators``.
"""

from __future__ import annotations

import re
from pathlib import Path

import jax.numpy as jnp
import numpy as np

from tmsjax.coil.types import Coil
from tmsjax.core.errors import InputError


def read_ccd(path: Path) -> Coil:
    """Read a ``.ccd`` file into dipoles in the coil frame (mm, A.m2 per A); InputError says which line is wrong."""
    path = Path(path)
    if not path.is_file():
        raise InputError("coil file not found", got=str(path), expected="the path of a .ccd file")
    try:
        text = path.read_text()
    except OSError as error:
        raise InputError("coil file cannot be read", got=str(error), expected="a file that may be read") from error
    except UnicodeDecodeError as error:
        raise InputError("coil file is not text", got=str(path), expected="a SimNIBS .ccd text file") from error
    lines = [(i, line) for i, line in enumerate(text.splitlines(), 1) if line.strip() and not line.startswith("#")]
    if not lines:
        raise InputError("coil file is empty", got=str(path), expected="a count, then x y z mx my mz of each dipole")
    count = _count(path, *lines[0])
    rows = [_row(path, number, line) for number, line in lines[1:]]
    if len(rows) != count:
        raise InputError(
            "coil file has another number of dipoles than it announces",
            got=f"{len(rows)} rows in {path.name}",
            expected=f"{count}, from its first line",
            mend="the file may be cut off: export or download it again",
        )
    table = np.array(rows)
    positions = jnp.asarray(table[:, :3] * 1e3, jnp.float32)
    moments = jnp.asarray(table[:, 3:], jnp.float32)
    return Coil(positions, moments, positions, name=path.stem, stimulators=_stimulators(text))


def write_ccd(coil: Coil, path: Path) -> None:
    """Write the dipoles of a coil as a ``.ccd`` file; the clearance points (``windings``) have no place in it."""
    head = f"# {coil.name} version 1.1"
    if coil.stimulators:
        head += ";dIdtmax=" + ",".join(f"{didt:g}" for _, didt in coil.stimulators)
        head += ";stimulator=" + ",".join(name for name, _ in coil.stimulators)
    rows = np.concatenate([np.asarray(coil.positions, float) * 1e-3, np.asarray(coil.moments, float)], axis=1)
    lines = [head, str(len(rows)), "# centers and weighted directions of the elements (magnetic dipoles)"]
    lines += [" ".join(f"{value:.9e}" for value in row) for row in rows]
    path.write_text("\n".join(lines) + "\n")


def _stimulators(text: str) -> tuple[tuple[str, float], ...]:
    """(name, largest dI/dt in A/us) of the stimulators in the comment lines, as far as they are given."""
    found = dict(re.findall(r";\s*(\w+)\s*=\s*([^;\n]*)", "\n".join(re.findall(r"^#.*$", text, re.MULTILINE))))
    names = [name.strip() for name in found.get("stimulator", "").split(",")]
    out = []
    for index, value in enumerate(found.get("dIdtmax", "").split(",")):
        try:
            didt = float(value)
        except ValueError:
            continue
        if np.isfinite(didt) and didt > 0:
            name = names[index] if index < len(names) and names[index] not in ("", "None") else "unnamed"
            out.append((name, didt))
    return tuple(out)


def _count(path: Path, number: int, line: str) -> int:
    try:
        count = int(line)
    except ValueError:
        count = 0
    if count < 1:
        raise InputError(
            "coil file does not begin with a count",
            got=f"{path.name}:{number}: {line[:60]!r}",
            expected="the number of dipoles, >= 1",
        )
    return count


def _row(path: Path, number: int, line: str) -> list[float]:
    try:
        row = [float(token) for token in line.split()]
    except ValueError:
        row = []
    if len(row) != 6 or not np.isfinite(row).all():
        raise InputError(
            "coil file has a malformed dipole",
            got=f"{path.name}:{number}: {line[:80]!r}",
            expected="6 finite numbers x y z mx my mz (m, A.m2 per A)",
        )
    return row
