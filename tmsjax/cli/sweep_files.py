"""The files of ``tmsjax sweep`` beside its zarr group: a table of the poses, and figures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from tmsjax.cli import populations
from tmsjax.cli.demo import induced_along_y
from tmsjax.coil import CoilPose
from tmsjax.cortex import layer_surface
from tmsjax.response import write_table
from tmsjax.response.labelled import read_labelled
from tmsjax.simulate import pulse as pulse_of
from tmsjax.viz import strength_duration_figure, threshold_maps_figure, tuning_figure
from tmsjax.viz.response import layer_name, places_figure

ORIENTATIONS = 4
"""Columns of the figure of maps."""

Rows = list[dict[str, Any]]


def poses_outside(store: Path) -> int:
    """How many places x angles the pose model does not cover: their thresholds are NaN, with a status of their own."""
    import zarr

    return int(zarr.open_group(store, mode="r").attrs["poses_outside_the_model"])  # pyright: ignore[reportArgumentType]


def rows_of(store: Path) -> Rows:
    """One row for every target and pose: where, which way, the dI/dt of each share, how many have no threshold."""
    data, _ = read_labelled(store)
    rows = []
    for t, p, a, d in np.ndindex(data["without_threshold"].shape):
        row = {name: str(data[name][t]) for name in ("target", "layer", "cell", "pulse")}
        row |= {"place": p, "u_mm": float(data["u_mm"][p]), "v_mm": float(data["v_mm"][p])}
        row |= {"handle_deg": float(data["handle_deg"][a]), "current": int(data["current"][d])}
        row |= {
            f"didt_for_{share:g}": float(level)
            for share, level in zip(data["share"], data["didt_for_share"][t, p, a, d], strict=True)
        }
        rows.append(
            row
            | {
                "without_threshold": float(data["without_threshold"][t, p, a, d]),
                "outside_domain": float(data["outside_domain"][t, p, a, d]),
            }
        )
    return rows


def best(rows: Rows, shares: tuple[float, ...]) -> list[dict[str, Any]]:
    """For every target and share the pose of the grid that needs the least dI/dt; scored on the grid's own neurons."""
    found = []
    for target in dict.fromkeys(row["target"] for row in rows):
        for share in shares:
            mine = [row for row in rows if row["target"] == target and np.isfinite(row[f"didt_for_{share:g}"])]
            if mine:
                least = min(mine, key=lambda row: row[f"didt_for_{share:g}"])
                where = {name: least[name] for name in ("u_mm", "v_mm", "handle_deg", "current")}
                found.append({"target": target, "share": share, "didt_a_per_us": least[f"didt_for_{share:g}"], **where})
    return found


def write(folder: Path, store: Path, rows: Rows, head, coil, roi, placed: dict) -> None:
    """Write poses.csv, tuning.png, maps.png, places.png (of several places), strength_duration.png (several pulses)."""
    write_table(folder / "poses.csv", rows)
    data, attrs = read_labelled(store)
    middle = int(np.argmin(np.hypot(data["u_mm"], data["v_mm"])))
    pose = CoilPose.from_matrix(data["matsimnibs"][middle, 0])
    forwards = induced_along_y(coil, pose)
    ways = ["PA" if sign * forwards > 0 else "AP" for sign in data["current"]]
    about = f"{attrs['coil'].replace('_', ' ')}, head {head.name}"
    names = _short_names(data)
    angles = data["handle_deg"]
    if len(angles) > 1:
        levels = {
            names[t]: {
                f"{100 * share:g} % {way}": data["didt_for_share"][t, middle, :, d, s]
                for s, share in enumerate(data["share"])
                for d, way in enumerate(ways)
            }
            for t in range(len(names))
        }
        caption = f"dI/dt that activates a share of the neurons by handle angle, {about}"
        tuning_figure(folder / "tuning.png", angles, levels, caption=caption)
    _maps(folder / "maps.png", store, data, names, middle, ways, head, roi, placed, pose, about)
    if len(data["u_mm"]) > 3:
        lowest = {}
        for t, name in enumerate(names):
            with np.errstate(all="ignore"):
                levels = np.where(np.isnan(data["didt_for_share"][t]), np.inf, data["didt_for_share"][t])
            least = levels[..., -1].reshape(len(data["u_mm"]), -1).min(axis=1)
            lowest[name] = np.where(np.isinf(least), np.nan, least)
        caption = f"least dI/dt over angles and directions for {100 * data['share'][-1]:g} %, {about}"
        places_figure(folder / "places.png", data["u_mm"], data["v_mm"], lowest, caption=caption)
    _pulses(folder / "strength_duration.png", data, middle, about)


def _short_names(data: dict[str, np.ndarray]) -> list[str]:
    """Layer of each target, with cell and pulse where a layer has several."""
    layers = data["layer"].tolist()
    more = {name: len(set(data[name].tolist())) for name in ("cell", "pulse")}
    several = len(set(layers)) < len(layers)
    return [
        " ".join([layer, *([str(data[n][t]) for n in ("cell", "pulse") if several and more[n] > 1])])
        for t, layer in enumerate(layers)
    ]


def _maps(path: Path, store: Path, data, names, middle: int, ways, head, roi, placed, pose, about: str) -> None:
    """Median thresholds over azimuths at each site, at some orientations of the coil over the middle."""
    import zarr

    chosen = np.unique(np.linspace(0, len(data["handle_deg"]), ORIENTATIONS + 1).astype(int)[:-1])
    forwards = ways.index("PA") if "PA" in ways else 0
    meshes: dict[str, Any] = {}
    values: dict[str, dict[str, np.ndarray]] = {}
    for t, name in enumerate(names):
        population = placed[str(data["layer"][t])]
        surface = layer_surface(head, population.depth)
        _, first, site = np.unique(np.asarray(population.site), return_index=True, return_inverse=True)
        places = np.asarray(population.positions, float)[first]
        spacing = float(np.sqrt(np.asarray(population.weight, float).sum() / len(first)))
        every: Any = zarr.open_group(store, mode="r")[str(data["target"][t])]
        for a in chosen:
            found = np.asarray(every["threshold_a_per_us"][middle, a, forwards])
            medians = np.array([_median(found[site.ravel() == s]) for s in range(len(first))])
            meshes[name], per_face = populations.faces_of(surface, roi, places, medians, spacing)
            values.setdefault(name, {})[f"{data['handle_deg'][a]:g}°"] = per_face
    caption = f"thresholds by handle angle, {ways[forwards]}, {about}"
    threshold_maps_figure(path, meshes, values, -np.asarray(pose.rotation)[:, 2], caption=caption)


def _pulses(path: Path, data, middle: int, about: str) -> None:
    """Thresholds of the populations that have models for several pulses, at their best angle over the middle."""
    levels: dict[str, dict[str, float]] = {}
    for t, pulse in enumerate(data["pulse"].tolist()):
        each = data["didt_for_share"][t, middle, :, :, -1]
        if np.isfinite(each).any():
            name = f"{layer_name(str(data['layer'][t]))} {data['cell'][t]}"
            levels.setdefault(name, {})[pulse] = float(np.nanmin(each))
    levels = {name: values for name, values in levels.items() if len(values) > 1}
    if levels:
        used = {pulse for values in levels.values() for pulse in values}
        durations = {pulse: first_phase_ms(pulse) for pulse in used}
        caption = f"dI/dt for {100 * data['share'][-1]:g} % at the best angle, {about}"
        strength_duration_figure(path, durations, levels, caption=caption)


def first_phase_ms(name: str) -> float:
    """Duration of a pulse's first phase: from its first 5 % of the peak to its first change of sign."""
    pulse = pulse_of(name)
    start = int(np.argmax(np.abs(pulse.waveform) >= 0.05))
    turned = np.flatnonzero(pulse.waveform[start:] * pulse.waveform[start] < 0)
    end = start + (int(turned[0]) if len(turned) else len(pulse.waveform) - 1 - start)
    return float(pulse.time_ms[end] - pulse.time_ms[start])


def _median(values: np.ndarray) -> float:
    known = values[np.isfinite(values)]
    return float(np.median(known)) if len(known) else float("nan")
