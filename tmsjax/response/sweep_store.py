"""The files of a sweep: made whole and empty, filled a block of neurons at a time, summed up when all are there."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from tmsjax.coil import Coil, CoilPose
from tmsjax.core.errors import InputError
from tmsjax.core.versions import versions
from tmsjax.efield.posemodel_type import PoseModel
from tmsjax.response.labelled import Empty, Group, Labelled, write_labelled
from tmsjax.response.recruitment import active_share, levels
from tmsjax.response.sweep_modes import NO_POSE, UNLIKE, SweepModes
from tmsjax.response.thresholds import SENTENCES

if TYPE_CHECKING:
    from tmsjax.response.sweep import SweepGrid, SweepTarget

KIND = "tmsjax sweep 1"

TO_DO = 255
"""Status of what is not computed yet."""

WORDS = {
    **SENTENCES,
    UNLIKE: "threshold predicted, of a field unlike the model's training fields",
    NO_POSE: "the pose is outside the pose model's domain: no prediction",
}

CHUNK_BYTES = 2**22
POSE = ("place", "handle_deg", "current")
A_PER_US = {"units": "A/us", "long_name": "|dI/dt| of the coil"}


def identity(
    coil: Coil, poses: CoilPose, model: PoseModel, targets: Sequence[SweepTarget], grid: SweepGrid
) -> dict[str, Any]:
    """What a sweep is of, as checksums by name: one that goes on must be the same."""
    asked = [grid.shape, list(grid.current), grid.intensities.tolist(), list(grid.shares), grid.gap_mm]
    return {
        "coil": _digest(coil.name, coil.positions, coil.moments),
        "poses": _digest(json.dumps(asked), poses.rotation, poses.centre),
        "pose model": _digest(model.card, *jax.tree.leaves(model)),
        "targets": [
            _digest(
                t.name, *jax.tree.leaves(t.population), json.dumps(t.model.spec.to_json()), *jax.tree.leaves(t.model)
            )
            for t in targets
        ],
        "versions": versions("tmsjax", "jax", "jaxlib"),
        "device": jax.default_backend(),
    }


def create(
    path: Path,
    targets: Sequence[SweepTarget],
    coil: Coil,
    poses: CoilPose,
    grid: SweepGrid,
    sizes: Sequence[int],
    identity: dict[str, Any],
    modes: SweepModes,
) -> None:
    """The whole group with nothing computed yet: it appears in one step."""
    n, a, d = grid.shape
    count = len(targets)
    matrix = np.zeros((n * a, 4, 4), np.float32)
    matrix[:, :3, :3], matrix[:, :3, 3], matrix[:, 3, 3] = poses.rotation, poses.centre, 1
    shared = {
        "handle_deg": Labelled(("handle_deg",), grid.handle_deg, {"units": "degree", "long_name": "handle angle"}),
        "current": Labelled(("current",), np.asarray(grid.current, np.int8), {"long_name": "sign of dI/dt"}),
        "u_mm": Labelled(("place",), grid.places_mm[:, 0], {"units": "mm", "long_name": "place on the chart, right"}),
        "v_mm": Labelled(
            ("place",), grid.places_mm[:, 1], {"units": "mm", "long_name": "place on the chart, forwards"}
        ),
    }
    words = {name: [getattr(t.model.spec, name) for t in targets] for name in ("cell", "pulse")}
    words["layer"] = [t.population.layer for t in targets]
    coordinates = shared | {
        "target": Labelled(("target",), np.array([t.name for t in targets])),
        **{name: Labelled(("target",), np.array(values)) for name, values in words.items()},
        "intensity": Labelled(("intensity",), grid.intensities, A_PER_US),
        "share": Labelled(("share",), np.asarray(grid.shares), {"long_name": "share of the neurons that is active"}),
    }

    def empty(*more: int, dtype: Any = np.float32) -> Empty:
        return Empty((count, n, a, d, *more), dtype)

    root = Group(
        {
            "active_share": Labelled(
                ("target", *POSE, "intensity"),
                empty(len(grid.intensities)),
                {"long_name": "share of all neurons that is active at an intensity"},
            ),
            "didt_for_share": Labelled(("target", *POSE, "share"), empty(len(grid.shares)), A_PER_US),
            "without_threshold": Labelled(("target", *POSE), empty(), {"long_name": "share of neurons"}),
            "outside_domain": Labelled(
                ("target", *POSE), empty(), {"long_name": "share of neurons whose field is unlike the training fields"}
            ),
            "matsimnibs": Labelled(("place", "handle_deg", "row", "column"), matrix.reshape(n, a, 4, 4)),
        },
        coordinates,
        {
            "kind": KIND,
            "finished": False,
            "identity": identity,
            "coil": coil.name,
            "gap_mm": grid.gap_mm,
            "status": {str(code): text for code, text in WORDS.items()},
            "modes": {"kept": int(modes.amplitudes.shape[1]), "lost": modes.lost},
            "poses_outside_the_model": int((~modes.covered).sum()),
            "pose_model": {k: v for k, v in json.loads(modes.model.card).items() if k != "certificate"},
            "certificate": {k: v for k, v in modes.model.certificate.items() if k != "poses"},
        },
    )
    inner = {t.name: _neurons(t, size, grid.shape, shared) for t, size in zip(targets, sizes, strict=True)}
    write_labelled(path, root, inner)


def _neurons(target: SweepTarget, size: int, shape: tuple[int, int, int], shared: dict[str, Labelled]) -> Group:
    """The group of one target: thresholds and status of every neuron, chunks that hold one block each."""
    n, a, d = shape
    population, count = target.population, len(target.population)
    chunks = (int(np.clip(CHUNK_BYTES // (4 * a * d * size), 1, n)), a, d, size)
    place = np.asarray(population.positions, np.float32)
    beside = {
        "site": (np.asarray(population.site, np.int32), {"long_name": "position, shared by azimuths"}),
        "azimuth_deg": (np.asarray(population.azimuth_deg, np.float32), {"units": "degree"}),
        **{f"{axis}_mm": (place[:, i], {"units": "mm"}) for i, axis in enumerate("xyz")},
        "weight_mm2": (np.asarray(population.weight, np.float32), {"units": "mm2"}),
    }
    dims = (*POSE, "neuron")
    return Group(
        {
            "threshold_a_per_us": Labelled(dims, Empty((*shape, count), np.float32), A_PER_US, chunks),
            "status": Labelled(dims, Empty((*shape, count), np.uint8), {"to_do": TO_DO}, chunks),
        },
        shared | {name: Labelled(("neuron",), *entry) for name, entry in beside.items()},
        {"layer": population.layer, "cell": target.model.spec.cell, "pulse": target.model.spec.pulse},
    )


def open_sweep(path: Path, identity: dict[str, Any]) -> Any:
    """The group, to go on with; InputError for a folder of another sweep, saying what differs, or of none."""
    import zarr

    try:
        store = zarr.open_group(path, mode="r+")
        attrs: Any = dict(store.attrs)
    except (OSError, ValueError, KeyError) as error:
        raise InputError("there is no sweep here", got=f"{path}: {error}", expected="a new folder") from error
    if attrs.get("kind") != KIND:
        raise InputError("there is no sweep here", got=f"{path}", expected="a new folder, or that of the same sweep")
    held = attrs["identity"]
    other = [name for name, value in json.loads(json.dumps(identity)).items() if held.get(name) != value]
    if other:
        raise InputError(
            "this folder holds another sweep",
            got=f"{path}: differs in {', '.join(other)}",
            expected="the same arguments as when it was begun",
            mend="another folder",
        )
    return store


def write_block(
    store: Any, name: str, row: int, found: np.ndarray, status: np.ndarray, shape: tuple[int, int, int]
) -> None:
    """Write one block of neurons, (n a, d, c) each: its status last, which says that it is done."""
    n, a, d = shape
    rows = slice(row, row + found.shape[-1])
    for array, values in (("threshold_a_per_us", found), ("status", status)):
        store[name][array][..., rows] = values.reshape(n, a, d, -1)


def is_done(store: Any, name: str, row: int, size: int) -> bool:
    """Whether a block was written whole: nothing of it is missing, and its checksums hold."""
    rows = slice(row, row + size)
    try:
        status = np.asarray(store[name]["status"][..., rows])
        found = np.asarray(store[name]["threshold_a_per_us"][..., rows])
    except (ValueError, OSError, RuntimeError):  # damaged: done again
        return False
    return bool((status != TO_DO).all() and (np.isfinite(found) == (status <= UNLIKE)).all())


def finish(
    store: Any,
    targets: Sequence[SweepTarget],
    grid: SweepGrid,
    progress: Callable[[str, int, int], None] | None = None,
) -> None:
    """Sum up every pose, some places at a time, and mark the sweep as finished."""
    for t, target in enumerate(targets):
        group, weight = store[target.name], np.asarray(target.population.weight, float)
        step = group["status"].chunks[0]
        for start in range(0, grid.shape[0], step):
            if progress is not None:
                progress(f"summary of {target.name}", start, grid.shape[0])
            some = slice(start, min(start + step, grid.shape[0]))
            found = np.asarray(group["threshold_a_per_us"][some], float)
            status = np.asarray(group["status"][some])
            flat, shape = found.reshape(-1, found.shape[-1]), found.shape[:-1]
            shares = np.stack([active_share(one, grid.intensities, weight) for one in flat])
            store["active_share"][t, some] = shares.reshape(*shape, -1)
            reached = levels(flat, np.asarray(grid.shares), weight)
            store["didt_for_share"][t, some] = reached.reshape(*shape, -1)
            store["without_threshold"][t, some] = np.average(status > UNLIKE, axis=-1, weights=weight)
            store["outside_domain"][t, some] = np.average(status == UNLIKE, axis=-1, weights=weight)
    store.attrs["finished"] = True


def _digest(*parts: Any) -> str:
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part.encode() if isinstance(part, str) else np.ascontiguousarray(part).tobytes())
    return digest.hexdigest()
