"""SimNIBS 4's TMS coil definitions (.tcd), a JSON format for coils of several, movable parts.

``coilElementList`` holds elements of type 1 (dipoles: points mm, values A.m2 per A), 2 (line elements: points mm,
values their direction times length, mm) and 3 (a vector potential in T.m per A on a grid, with its affine), arrays as
lists or as base64 of zlib of float64. An element names its ``deformations`` in ``deformList``: translations "x", "y",
"z" (mm) or "rot2p", a rotation about the axis through point1 and point2 (degrees), whose value is the ``initial`` of an
entry of ``deformRangeList`` (in the first files, of the deformation itself); they are applied in the order listed.
Casings are in ``coilModels``. Limits of deformations and self-intersection tests are for optimisers, not used here.
"""

from __future__ import annotations

import base64
import binascii
import json
import warnings
import zlib
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float
from scipy.spatial.distance import cdist
from scipy.spatial.transform import Rotation

from tmsjax.coil.fit import POOR, brain_points, dipole_potential, fit_error, moments_at, points_in_front
from tmsjax.coil.library import from_dipoles
from tmsjax.coil.sampled import from_samples, place_sites
from tmsjax.coil.types import Coil, Fit
from tmsjax.coil.wires import span
from tmsjax.core.errors import InputError, check_number
from tmsjax.core.transforms import apply_affine

CELL_MM = 3.0
"""Cells of the sheets that closed line elements are turned into."""

BEHIND_MM = 60.0
"""How far behind the furthest point the fan of wires has its apex that go round the head."""

FITTED_POINTS = 2000
"""Points at which dipoles are fitted to line elements that do not join, and as many to state the error at."""

JOINT = 0.002
"""Line elements join if one begins within this share of its length of where the one before ends."""


def read_tcd(path: Path) -> Coil:
    """Read a ``.tcd`` file into dipoles in the coil's frame, its moving parts at their initial places.

    Line elements that join to closed wires become the sheets that these bound (``wires``); others, and sampled elements
    (``sampled``), have dipoles fitted to their field.
    ``.fit`` is that of the worst element that was fitted. All elements carry the same current; a warning says so where
    the file names several stimulators. Casings join the ``windings``.

    Raises:
        InputError: not JSON, an element, deformation or index that the format does not know, NaN, or lines whose field
            dipoles miss by more than ``fit.POOR``.
    """
    try:
        coil = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError("coil file cannot be read", got=f"{path}: {error}", expected="a .tcd file (JSON)") from error
    elements = coil.get("coilElementList") if isinstance(coil, dict) else None
    if not isinstance(elements, list) or not elements:
        raise _wrong(path, "no list of elements", "coilElementList with one element or more")
    name = str(coil.get("name") or path.stem)
    parts, casings = [], []
    for number, element in enumerate(elements):
        where = f"coilElementList[{number}]"
        if not isinstance(element, dict) or element.get("type") not in (1, 2, 3):
            raise _wrong(path, f"{where} has no known type", "type 1 (dipoles), 2 (lines) or 3 (grid)")
        move = _deformation(coil, element, path, where)
        parts.append(_element(element, move, path, where))
        if "elementCasing" in element:
            casings.append(apply_affine(move, _casing(coil, element["elementCasing"], path, where)))
    if "coilCasing" in coil:
        casings.append(_casing(coil, coil["coilCasing"], path, "coilCasing"))
    named = [element.get("stimulator") for element in elements]
    used = {None if n is None else _index(n, path, "stimulator of an element") for n in named}
    if len(used) > 1:
        warnings.warn(
            f"{path.name} drives its elements by {len(used)} stimulators; here all carry the same dI/dt", stacklevel=3
        )
    made = from_dipoles(
        np.concatenate([np.asarray(part.positions) for part in parts]),
        np.concatenate([np.asarray(part.moments) for part in parts]),
        windings=np.concatenate([*(np.asarray(part.windings) for part in parts), *casings]),
    )
    fits: list[Fit] = [part.fit for part in parts if part.fit is not None]
    worst = max(fits, key=lambda fit: fit.error) if fits else None
    return Coil(made.positions, made.moments, made.windings, name, fit=worst, stimulators=_stimulators(coil, path))


def write_tcd(coil: Coil, path: Path) -> None:
    """Write the dipoles of a coil as one element of a ``.tcd`` file, arrays as lists.

    The clearance points (``windings``) have no place in it: casings are closed surfaces there.
    """
    stimulators = [{"name": name, "maxdIdt": didt * 1e6} for name, didt in coil.stimulators] or [{"name": "any"}]
    element = {
        "name": coil.name,
        "stimulator": 0,
        "type": 1,
        "points": np.asarray(coil.positions, float).tolist(),
        "values": np.asarray(coil.moments, float).tolist(),
    }
    content = {"name": coil.name, "coilElementList": [element], "stimulatorList": stimulators}
    path.write_text(json.dumps(content) + "\n", encoding="utf-8")


def _element(element: dict[str, Any], move: Float[np.ndarray, "4 4"], path: Path, where: str) -> Coil:
    if element["type"] == 3:
        grid = _array(element.get("affine"), path, f"{where}.affine")
        potential = _array(element.get("data"), path, f"{where}.data", ndim=4)
        # A is a vector field of the element's own frame: the dipoles fitted there move with it.
        return _moved(from_samples(potential, grid), move)
    points = _array(element.get("points"), path, f"{where}.points")
    values = _array(element.get("values"), path, f"{where}.values")
    if points.shape != values.shape or points.shape[1:] != (3,) or not len(points):
        raise _wrong(path, f"{where}: points {points.shape}, values {values.shape}", "both (n, 3)")
    if element["type"] == 1:
        return _moved(from_dipoles(points, values), move)
    real = np.linalg.norm(values, axis=1) > 1e-9  # a wire's description may stand still
    points, values = apply_affine(move, points[real]), values[real] @ move[:3, :3].T
    name = str(element.get("name") or where)
    wires = _closed_lines(points, values)
    if wires is None:
        return _fitted_lines(points, values, path, where, name)
    try:
        return span(wires, np.ones(len(wires)), CELL_MM, None, name)
    except InputError:  # wires that go round the head: span them behind it
        corners = np.concatenate(wires)
        return span(wires, np.ones(len(wires)), CELL_MM, [*corners.mean(0)[:2], corners[:, 2].min() - BEHIND_MM], name)


def _moved(coil: Coil, move: Float[np.ndarray, "4 4"]) -> Coil:
    positions, windings = (apply_affine(move, np.asarray(a, float)) for a in (coil.positions, coil.windings))
    made = from_dipoles(positions, np.asarray(coil.moments, float) @ move[:3, :3].T, windings=windings)
    return Coil(made.positions, made.moments, made.windings, coil.name, fit=coil.fit)


def _closed_lines(points: np.ndarray, values: np.ndarray) -> list[np.ndarray] | None:
    """Closed wires (n, 3) mm that line elements join to, given by their middles (as SimNIBS makes them) or starts."""
    for starts in (points - values / 2, points):
        ends, length = starts + values, np.linalg.norm(values, axis=1)
        wires, first = [], 0
        for i in range(len(points)):
            reach = JOINT * length[i] + 1e-6
            if np.linalg.norm(ends[i] - starts[first]) <= reach and i > first + 1:
                wires.append(starts[first : i + 1])
                first = i + 1
            elif i + 1 == len(points) or np.linalg.norm(ends[i] - starts[i + 1]) > reach:
                break
        if first == len(points) and wires:
            return wires
    return None


def _fitted_lines(points: np.ndarray, values: np.ndarray, path: Path, where: str, name: str) -> Coil:
    """Dipoles fitted to elements of current that do not join in the order given; as points, as SimNIBS takes them."""
    sites = place_sites(points, points)
    solid = np.concatenate([points, sites])
    fitted = points_in_front(solid, FITTED_POINTS, 0)
    held_out = brain_points(FITTED_POINTS, 1)

    def field(at):
        return (1 / cdist(at, points)) @ values * 1e-6

    moments = moments_at(sites, fitted, field(fitted))
    kept = moments.astype(np.float32).astype(float)
    fit = fit_error(dipole_potential(sites, kept, held_out), field(held_out), of=f"line elements of {name}")
    if fit.error > POOR:
        raise _wrong(
            path,
            f"{where}: line elements whose field dipoles miss by {100 * fit.error:.0f} %",
            "elements that make closed wires behind z = 0",
        )
    coil = from_dipoles(sites, moments, windings=points)
    return Coil(coil.positions, coil.moments, coil.windings, name, fit=fit)


def _deformation(coil: dict[str, Any], element: dict[str, Any], path: Path, where: str) -> Float[np.ndarray, "4 4"]:
    """The 4x4 of an element's deformations at their initial values."""
    total = np.eye(4)
    for index in _list(element.get("deformations"), path, f"{where}.deformations"):
        what = _entry(coil, "deformList", index, path, where)
        limits = _entry(coil, "deformRangeList", what["deformRange"], path, where) if "deformRange" in what else what
        kind = what.get("type")
        value = check_number(limits.get("initial"), f"initial value of deformList[{index}] in {path.name}")
        step = np.eye(4)
        if kind in ("x", "y", "z"):
            step["xyz".index(kind), 3] = value
        elif kind == "rot2p":
            a, b = (_array(what.get(key), path, f"deformList[{index}].{key}", ndim=1) for key in ("point1", "point2"))
            if a.shape != (3,) or b.shape != (3,) or np.allclose(a, b):
                raise _wrong(path, f"deformList[{index}]: points {a.tolist()}, {b.tolist()}", "two points of an axis")
            axis = (b - a) / np.linalg.norm(b - a)
            step[:3, :3] = Rotation.from_rotvec(axis * np.radians(value)).as_matrix()
            step[:3, 3] = a - step[:3, :3] @ a
        else:
            raise _wrong(path, f"deformList[{index}] of type {kind!r}", '"x", "y", "z" or "rot2p"')
        total = step @ total
    return total


def _casing(coil: dict[str, Any], index: Any, path: Path, where: str) -> Float[np.ndarray, "v 3"]:
    points = _array(_entry(coil, "coilModels", index, path, where).get("points"), path, f"coilModels[{index}].points")
    if points.shape[1:] != (3,):
        raise _wrong(path, f"coilModels[{index}].points {points.shape}", "(n, 3)")
    return points


def _entry(coil: dict[str, Any], key: str, index: Any, path: Path, where: str) -> dict[str, Any]:
    entries, number = coil.get(key), _index(index, path, where)
    if isinstance(entries, list) and number < len(entries) and isinstance(entries[number], dict):
        return entries[number]
    raise _wrong(path, f"{where} refers to {key}[{index}]", "an entry that is in the file")


def _index(value: Any, path: Path, where: str) -> int:
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    raise _wrong(path, f"{where} refers to {str(value)[:40]}", "the number of an entry, from 0")


def _list(value: Any, path: Path, where: str) -> list[Any]:
    """A list that may be absent or null."""
    if value is None or isinstance(value, list):
        return value or []
    raise _wrong(path, f"{where} is {str(value)[:40]}", "a list")


def _array(value: Any, path: Path, where: str, *, ndim: int = 2) -> np.ndarray:
    """A list of numbers, or base64 of zlib of float64 in rows of three."""
    try:
        if isinstance(value, str):
            raw = zlib.decompress(base64.b64decode(value, validate=True))
            if ndim != 2:  # SimNIBS pickles grids, and a pickle may run anything
                raise _wrong(path, f"{where} in a binary form", "lists of numbers: save the coil in ASCII mode")
            array = np.frombuffer(raw, np.float64).reshape(-1, 3)
        else:
            array = np.array(value, np.float64)
    except (TypeError, ValueError, OverflowError, zlib.error, binascii.Error) as error:
        raise _wrong(path, f"{where}: {error}", "numbers, as lists or base64 of zlib of float64") from error
    if array.ndim != ndim or not np.isfinite(array).all():
        raise _wrong(path, f"{where} with shape {array.shape}", f"finite numbers in {ndim} dimensions")
    return array


def _stimulators(coil: dict[str, Any], path: Path) -> tuple[tuple[str, float], ...]:
    out = []
    for number, entry in enumerate(_list(coil.get("stimulatorList"), path, "stimulatorList")):
        if isinstance(entry, dict) and entry.get("maxdIdt") is not None:
            didt = check_number(entry["maxdIdt"], f"maxdIdt of stimulatorList[{number}] in {path.name}", unit="A/s")
            if didt > 0:
                out.append((str(entry.get("name") or "unnamed"), didt * 1e-6))
    return tuple(out)


def _wrong(path: Path, got: str, expected: str) -> InputError:
    return InputError("coil definition cannot be used", got=f"{path.name}: {got}", expected=expected)
