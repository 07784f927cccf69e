"""What scanners do to an image: contrast, bias field, blur, noise. All of it is made up within published ranges.

Contrast of a label map: inversion recovery, |1 - 2 exp(-TI/T1) + exp(-TR/T1)|, with T1s of tissues at 1.5 to 3 T. The
contrast of a real T1 is bent by a random monotone curve. Bias fields and their ranges are those of SynthSeg (Billot et
al. 2023, Med. Image Anal. 86:102789), Rician noise those of BrainWeb.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from jaxtyping import Float, Integer
from scipy.ndimage import gaussian_filter

Volume = Float[np.ndarray, "i j k"]

T1_MS = {1: (650.0, 900.0), 2: (1000.0, 1500.0), 3: (3500.0, 4500.0), 4: (300.0, 500.0), 5: (350.0, 800.0)}
"""Range of T1 (ms) by label of ``tmsjax.head``: white, grey, CSF, skull, scalp and fat."""

DENSITY = {1: (0.7, 0.75), 2: (0.8, 0.85), 3: (1.0, 1.0), 4: (0.05, 0.25), 5: (0.4, 0.8)}
"""Range of the proton density by label; bone and its marrow together."""


@dataclasses.dataclass(frozen=True)
class ScannerSpec:
    """Ranges of what is drawn for an image.

    ``inversion_ms``, ``repetition_ms``: of the sequence that a label map is imaged with. ``gamma``: SD of the log of
    the curve's power. ``bias``: largest SD of the logarithm of the bias field. ``noise``: of the brightest tissue.
    ``blur_mm``: sigma. ``texture``: SD of what varies within a tissue of a label map. ``neck_mm``: how much of the
    bottom of the image may be cut off.
    """

    inversion_ms: tuple[float, float] = (800.0, 1100.0)
    repetition_ms: tuple[float, float] = (1800.0, 2600.0)
    gamma: float = 0.2
    bias: float = 0.25
    noise: tuple[float, float] = (0.01, 0.05)
    blur_mm: tuple[float, float] = (0.0, 0.7)
    texture: float = 0.08
    neck_mm: tuple[float, float] = (0.0, 30.0)


USUAL_SCANNERS = ScannerSpec()
"""What a synthetic cohort is drawn from if nothing else is said."""


def from_labels(
    labels: Integer[np.ndarray, "i j k"], rng: np.random.Generator, spec: ScannerSpec = USUAL_SCANNERS
) -> Float[np.ndarray, "i j k"]:
    """A T1-weighted image of a label map: the brightest tissue is about 1, air 0. Labels beyond 5 count as scalp."""
    inversion, repetition = rng.uniform(*spec.inversion_ms), rng.uniform(*spec.repetition_ms)
    signal = np.zeros(6, np.float32)
    for label in T1_MS:
        t1, density = rng.uniform(*T1_MS[label]), rng.uniform(*DENSITY[label])
        signal[label] = density * abs(1 - 2 * np.exp(-inversion / t1) + np.exp(-repetition / t1))
    image = (signal / signal.max())[np.minimum(labels, 5)]
    # Tissue is not of one value: a little white noise within it, and more that is smooth.
    fine = rng.standard_normal(labels.shape, np.float32)
    wide = smooth_noise(labels.shape, 16, rng)
    return image * np.maximum(1 + spec.texture * (0.5 * fine + wide), 0.1)


def curved(image: Volume, rng: np.random.Generator, spec: ScannerSpec) -> Volume:
    """A real image of 95th percentile 1 by another contrast: a power, and a bend in the middle; both monotone."""
    power, bend = np.exp(rng.normal(0, spec.gamma)), rng.uniform(-0.15, 0.15)
    knots = np.linspace(0, 1, 6)
    curve = np.maximum.accumulate(knots**power + bend * np.sin(np.pi * knots) * knots)
    return np.interp(image, np.append(knots, 4), np.append(curve, 1 + 3 * power * 0.5)).astype(np.float32)


def scanned(image: Volume, rng: np.random.Generator, spec: ScannerSpec) -> Volume:
    """Blur, bias field, a neck that is cut off, and Rician noise, in this order: noise is never interpolated."""
    blur = rng.uniform(*spec.blur_mm)
    out = gaussian_filter(image, blur, truncate=3) if blur > 0.2 else image
    spread = rng.uniform(0, spec.bias)
    out = out * np.exp(spread * smooth_noise(image.shape, int(rng.integers(4, 9)), rng))
    bottom = np.flatnonzero((out > 0.2).any((0, 1)))
    if len(bottom):
        out[:, :, : bottom[0] + int(rng.uniform(*spec.neck_mm))] = 0
    size = np.float32(rng.uniform(*spec.noise) * np.percentile(out[::4, ::4, ::4], 98))
    return np.hypot(out + size * rng.standard_normal(out.shape, np.float32),
                    size * rng.standard_normal(out.shape, np.float32))  # fmt: skip


def smooth_noise(shape: tuple[int, ...], nodes: int, rng: np.random.Generator) -> Float[np.ndarray, "i j k"]:
    """Noise of SD about 1 on ``nodes`` a side, interpolated linearly to ``shape`` voxels."""
    at = [np.linspace(0, nodes - 1, size) for size in shape]
    rises = [np.maximum(0, 1 - abs(a[:, None] - np.arange(nodes))).astype(np.float32) for a in at]
    values = rng.standard_normal((nodes,) * 3).astype(np.float32)
    return np.einsum("ia,jb,kc,abc->ijk", *rises, values, optimize="greedy")
