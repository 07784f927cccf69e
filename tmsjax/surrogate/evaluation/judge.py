"""From a dataset of simulated thresholds to what each estimator makes of them, and to what may explain the errors."""

from __future__ import annotations

import functools
from collections.abc import Callable, Mapping

import numpy as np
from jaxtyping import Float
from numpy import ndarray
from scipy.spatial import KDTree

from tmsjax import head as heads
from tmsjax.core.errors import InputError
from tmsjax.head import HeadModel
from tmsjax.surrogate.evaluation.gradient import FINE, directional_gradients
from tmsjax.surrogate.evaluation.initiation import initiation_errors, interpolated
from tmsjax.surrogate.evaluation.scores import Judged
from tmsjax.surrogate.source import Source, examples
from tmsjax.surrogate.types import Surrogate


def judge(
    models: Mapping[str, Surrogate],
    source: Source,
    results: Mapping[str, ndarray],
    head: HeadModel | None = None,
    say: Callable[[str], None] = lambda text: None,
) -> tuple[Judged, dict[str, Float[ndarray, "k n n n 3"]]]:
    """Every estimator on the same rows of a dataset: those with a threshold whose patches lie within the tissue.

    Args:
        models: estimator -> surrogate of the dataset's cell and pulse (or of its population); each sees patches on its
            own grid.
        source: the dataset's fields. results: ``Dataset.results()``.
        head: where given, ``depth_mm`` is the soma's distance from the scalp.

    Returns:
        (judged, patches): columns ``row`` of the dataset, ``cell``, ``layer``, ``site``, ``pose``, ``sign``,
        ``azimuth_deg``, ``a_per_us`` (simulated), ``x_mm``, ``y_mm``, ``z_mm``, ``domain_distance`` and ``in_domain``
        of the first estimator; and the patches (k, n, n, n, 3) of each estimator.

    Raises:
        InputError: no models, one of another pulse, fields that are not those of the simulation, no rows.
    """
    if not models:
        raise InputError("nothing to judge", got="no surrogates", expected="one or more")
    recipe = source.recipe
    for name, model in models.items():
        if model.spec.pulse != recipe.pulse:
            raise InputError(
                f"{name} was trained for another pulse", got=model.spec.pulse, expected=f"{recipe.pulse}, the dataset's"
            )
    found = {}
    for side, shift, n in dict.fromkeys(map(_grid, models.values())):
        say(f"patches of {n} samples on {side:g} mm")
        found[side, shift, n] = examples(source, dict(results), side, shift, n)
    rows = functools.reduce(np.intersect1d, [some.rows for some in found.values()])
    if not len(rows):
        raise InputError("no row to judge by", got="no patch within the tissue", expected="one or more")
    at_soma = results["v_per_m"][rows] / results["factor"][rows]
    common = {}
    for grid in list(found):  # one array a grid, however many estimators look at it
        some = found.pop(grid)
        common[grid] = some.patches if len(some.rows) == len(rows) else some.patches[np.isin(some.rows, rows)]
    predicted, patches = {}, {}
    for name, model in models.items():
        patches[name] = common[_grid(model)]
        say(f"{len(rows)} thresholds by {name}")
        predicted[name] = np.asarray(model.scale(patches[name]), np.float64) * at_soma
    first = next(iter(models))
    distance = np.asarray(models[first].domain_distance(patches[first]), np.float64)
    neurons = source.population[source.draw.neuron[rows]]
    positions = np.asarray(neurons.positions, np.float64)
    columns = {
        "row": rows,
        "cell": np.full(len(rows), recipe.cell),
        "layer": np.full(len(rows), neurons.layer),
        "site": np.asarray(neurons.site),
        "pose": source.draw.pose[rows],
        "sign": source.draw.sign[rows],
        "azimuth_deg": np.asarray(neurons.azimuth_deg, np.float64),
        "a_per_us": np.asarray(results["factor"], np.float64)[rows],
        **dict(zip(("x_mm", "y_mm", "z_mm"), positions.T, strict=True)),
        "domain_distance": distance,
        "in_domain": distance <= float(models[first].domain.limit),
    }
    if head is not None:
        scalp = np.asarray(heads.scalp_surface(head).vertices, np.float64)
        columns["depth_mm"] = KDTree(scalp).query(positions)[0]
    return Judged(results["v_per_m"][rows], predicted, columns).check(), patches


def _grid(model: Surrogate) -> tuple[float, float, int]:
    return model.spec.side_mm, model.spec.z_shift_mm, model.spec.n


def error_sources(
    judged: Judged,
    source: Source,
    results: Mapping[str, ndarray],
    xyz_um: Float[ndarray, "c 3"] | None,
    side_mm: float,
    z_shift_mm: float = 0.0,
    n: int = 9,
    most: int = 4000,
    seed: int = 0,
) -> Judged:
    """What errors may come from, as further columns (section 2.2.2), for ``most`` random rows.

    ``gradient_per_mm`` is the median Jacobian norm on 13 samples a side (equation 1). With the compartments' places
    ``xyz_um``, and a dataset that knows where each action potential began, also ``initiation_error_percent`` and
    ``initiation_angle_deg``: the field there interpolated between n samples a side against the field itself (equations
    2 and 3), NaN where the grid does not reach that far.
    """
    keep = np.sort(np.random.default_rng(seed).permutation(len(judged))[:most])
    some = judged[keep]
    rows = np.asarray(some.columns["row"])
    fine = source.patches(rows, side_mm, z_shift_mm, FINE)
    columns = {"gradient_per_mm": directional_gradients(fine, side_mm)[0]}
    compartment = np.asarray(results["initiation"])[rows]
    if xyz_um is not None and (compartment >= 0).any():
        points = np.where(compartment[:, None] >= 0, np.asarray(xyz_um)[np.maximum(compartment, 0)] / 1e3, np.nan)
        coarse = source.patches(rows, side_mm, z_shift_mm, n)
        between = interpolated(coarse, side_mm, z_shift_mm, points)
        magnitude, angle = initiation_errors(between, _fields_at(source, rows, points))
        columns |= {"initiation_error_percent": magnitude, "initiation_angle_deg": angle}
    return some.with_columns(**columns)


def _fields_at(source: Source, rows: ndarray, points_mm: Float[ndarray, "k 3"]) -> Float[ndarray, "k 3"]:
    """Field at one point of each row's neuron (cell's frame, from the soma); NaN off the tissue."""
    neurons, poses = source.draw.neuron[rows], source.draw.pose[rows]
    rotations = np.asarray(source.population.rotations, np.float64)[neurons]
    world = np.asarray(source.population.positions)[neurons] + np.einsum("kij,kj->ki", rotations, points_mm)
    found = np.full((len(rows), 3), np.nan)
    most = np.bincount(poses).max()
    for pose in np.unique(poses):
        these = np.flatnonzero((poses == pose) & np.isfinite(world).all(axis=1))
        if len(these):
            padded = np.resize(these, most)  # of one length, so that one compiled call serves all poses
            found[these] = np.asarray(source.fields[pose].at(world[padded], outside="nan"))[: len(these)]
    return np.einsum("kij,ki->kj", rotations, found) * source.draw.sign[rows][:, None]
