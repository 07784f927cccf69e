"""The bundled surrogates in a head that training never saw: `python -m benchmarks.other_head LABELS.nii.gz [--quick]`.

Every family that the zoo has for a cell, on the same neurons.

A label map alone is enough: neurons stand at random grey-matter voxels under a coil placed over the upper left of the
head, with their axes along the outward gradient of the smoothed brain mask. That is a cruder placement than between
surfaces (depths are mixed), so it asks more of a surrogate, not less. Every threshold is simulated by NEURON.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import jax.numpy as jnp
import numpy as np
from scipy import ndimage

import tmsjax as tj
from benchmarks import _common
from tmsjax.core.transforms import apply_affine
from tmsjax.cortex import compartment_fields
from tmsjax.cortex.place import Population, cell_frames
from tmsjax.head.model import GREY, WHITE
from tmsjax.nn import metrics

CELLS = ("open/L23_PC_1", "open/L4_LBC_1", "open/L5_PC_1")
BAR_PERCENT = 2.2
"""Mean absolute percentage error of the worst of the paper's CNNs on its second head (Aberra 2023, section 3.1)."""


def under_coil(head, centre_mm: np.ndarray, count: int, seed: int, reach_mm: float = 45.0) -> Population:
    """Neurons at random grey-matter voxels within ``reach_mm`` of a point, axes outwards, random azimuths."""
    labels = np.asarray(head.labels)
    brain = ndimage.gaussian_filter(np.isin(labels, (WHITE, GREY)).astype(np.float32), 2.0)
    inner = ndimage.binary_erosion(np.isin(labels, (WHITE, GREY)), iterations=2)
    voxels = np.argwhere((labels == GREY) & inner)
    points = apply_affine(head.affine, voxels)
    near = np.linalg.norm(points - centre_mm, axis=1) < reach_mm
    rng = np.random.default_rng(seed)
    chosen = rng.choice(np.flatnonzero(near), count, replace=False)
    slope = np.stack([g[tuple(voxels[chosen].T)] for g in np.gradient(brain)], -1)
    outwards = -slope @ np.linalg.inv(np.asarray(head.affine)[:3, :3])
    outwards /= np.maximum(np.linalg.norm(outwards, axis=1, keepdims=True), 1e-9)
    steep = np.linalg.norm(slope, axis=1) > 1e-3
    chosen, outwards = chosen[steep], outwards[steep]
    n = len(chosen)
    return Population(
        positions=jnp.asarray(points[chosen], jnp.float32),
        rotations=jnp.asarray(cell_frames(outwards, rng.uniform(0, 360, n)), jnp.float32),
        site=jnp.arange(n),
        azimuth_deg=jnp.zeros(n),
        weight=jnp.ones(n),
        cell=jnp.zeros(n, jnp.int32),
        layer="grey matter",
        depth=0.5,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("labels", type=Path, help="label map (NIfTI): 1 white, 2 grey, 3 CSF, 4 skull, 5 soft tissue")
    parser.add_argument("--quick", action="store_true", help="60 neurons a cell instead of 400")
    options = parser.parse_args()
    head = tj.head.load(options.labels)
    scalp = np.asarray(tj.head.scalp_surface(head).vertices, np.float64)
    middle = scalp.mean(axis=0)
    upper_left = middle + 100 * np.array([-0.6, -0.1, 0.8])
    target = scalp[np.argmin(np.linalg.norm(scalp - upper_left, axis=1))]
    pose = tj.coil.pose_on_scalp(head, target, handle_deg=45.0, gap_mm=2.0)
    field = tj.efield.solve(head, tj.coil.load("MagVenture_MC_B70"), pose, didt=-1.0)
    print(f"{head.name}: {field.status}, residual {float(field.residual):.1e}")
    results, targets = {}, []
    for seed, name in enumerate(CELLS):
        cell = tj.cells.load(name)
        families = sorted((f for c, _, f in tj.surrogate.available() if c == name), key=lambda f: f != "support")
        models = {family: tj.surrogate.load(name, family=family) for family in families}
        everyone = under_coil(head, np.asarray(pose.centre, np.float64), 60 if options.quick else 400, seed)
        samples = {family: np.asarray(model.sample(field, everyone)) for family, model in models.items()}
        fields = compartment_fields(field, everyone, tj.cells.cable_model(cell).xyz_um)
        whole = np.isfinite(fields).all(axis=(1, 2))
        for some in samples.values():
            whole &= np.isfinite(some).all(axis=(1, 2, 3, 4))
        truth = tj.simulate.thresholds(cell, fields[whole], tolerance=0.002, initiation=False)
        # In A/us, and at the soma: grids of families may differ, and their centres with them.
        at_soma = truth.v_per_m / truth.factor
        predicted = {f: np.asarray(model.scale(samples[f][whole])) * at_soma for f, model in models.items()}
        scores = {family: metrics.summary(values, truth.v_per_m) for family, values in predicted.items()}
        known = np.asarray(models["support"].in_domain(samples["support"][whole]))
        results[name] = {
            "all": scores["support"],
            "families": scores,
            "in_domain": metrics.summary(predicted["support"][known], truth.v_per_m[known]),
            "in_domain_share": float(known.mean()),
        }
        targets.append(_common.target(f"{name}: MAPE, %", results[name]["all"]["mape_percent"], BAR_PERCENT))
    columns = ("cell", "family", "n", "MAPE %", "median %", "p99 %", "R2")
    numbers = ("n", "mape_percent", "median_ape_percent", "p99_ape_percent", "r2")
    lines = [
        (c, family, *(score[n] for n in numbers)) for c, r in results.items() for family, score in r["families"].items()
    ]
    _common.table("a head that training never saw", columns, lines)
    _common.write("other_head", results, targets, quick=options.quick)


if __name__ == "__main__":
    main()
