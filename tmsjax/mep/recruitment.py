"""How muscles of a synthetic subject respond to a drive: thresholds, somatotopy, recruitment, trial-to-trial noise.

Recruitment and noise: the statistical MEP model of Goetz et al. 2019 (IEEE TNSRE 27:1539; bioRxiv 406777), its
population's mean subject, in per cent of the motor threshold. Places, widths and plateaus of the muscles are choices
that respect the order found in the literature (proximal muscles posteromedial, distal ones anterolateral with lower
thresholds: Wassermann 1992; APB lateral to ADM: Wilson 1993, Nazarova 2021); no offset in mm is a measured one.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float
from scipy.stats import genextreme

from tmsjax.mep.preprocess import ACTIVE_MV
from tmsjax.mep.types import MUSCLES

LATERAL_MM = {
    "FDI": 0.0, "3DI": 2.0, "3Lum": 1.0, "EI": -3.0, "AbPB": 6.0, "AdPB": 5.0, "ADM": -2.0, "FDM": -1.0, "FCR": -8.0,
    "FCU": -7.0, "FDS": -6.0, "EDC": -5.0, "ECR": -9.0, "ECU": -8.0, "BRD": -11.0,
}  # fmt: skip
"""Middle of a muscle along the motor strip, mm lateral of the FDI's; chosen."""

SCATTER_MM, WIDTH_MM = 1.5, 6.0
"""Subjects' scatter of these, and the s.d. of a muscle's representation along the strip; chosen."""

THRESHOLD = {
    "FDI": 1.0, "3DI": 1.02, "3Lum": 1.04, "EI": 1.10, "AbPB": 1.02, "AdPB": 1.04, "ADM": 1.04, "FDM": 1.08,
    "FCR": 1.14, "FCU": 1.16, "FDS": 1.12, "EDC": 1.10, "ECR": 1.15, "ECU": 1.18, "BRD": 1.20,
}  # fmt: skip
"""Threshold over the FDI's, each at its own best place; chosen."""

PLATEAU_MV = {
    "FDI": 3.4, "3DI": 2.6, "3Lum": 1.8, "EI": 1.4, "AbPB": 2.6, "AdPB": 1.8, "ADM": 2.4, "FDM": 1.6, "FCR": 1.2,
    "FCU": 1.0, "FDS": 1.2, "EDC": 1.6, "ECR": 1.4, "ECU": 1.0, "BRD": 0.9,
}  # fmt: skip
"""The largest responses; the FDI's is the population mean of Goetz et al., the others are chosen."""

MSO_AT_THRESHOLD = 72.6
"""Per cent of the stimulator's maximum at the mean subject's motor threshold."""

SLOPE, STEEPNESS, SHIFT = 10**3.647, 10**0.426, 10**1.666
"""10^p3, 10^p4, 10^p5 of the mean subject."""

LOG_NOISE, DRIVE_NOISE_MSO = 10**-0.965, 10**0.688
"""Noise of log10 of the response (decades), and of the drive (% MSO; 6.7 % of the motor threshold)."""

BACKGROUND_UV = {"loc": 8.3, "scale": 1.55, "c": -0.14}
"""Recorded noise: a generalised extreme value distribution, shape 0.14 (SciPy's c is its negative)."""

COMMON = 0.3
"""Part of the drive's noise that all muscles share; evidence is thin."""


class Muscles(NamedTuple):
    """The muscles of one subject: names, middles (m,) mm along the strip, relative thresholds, plateaus in mV."""

    names: tuple[str, ...]
    lateral_mm: Any
    threshold: Any
    plateau_mv: Any


def muscles(seed: int, names: tuple[str, ...] = MUSCLES) -> Muscles:
    """A subject's muscles, their middles scattered about the usual ones."""
    rng = np.random.default_rng([seed, 1])
    middle = np.array([LATERAL_MM[name] for name in names]) + rng.normal(0, SCATTER_MM, len(names))
    return Muscles(
        names, middle, np.array([THRESHOLD[name] for name in names]), np.array([PLATEAU_MV[name] for name in names])
    )


def median_mv(drive_percent: Any, plateau_mv: Any) -> Any:
    """Response in mV without noise to a drive in per cent of the muscle's own threshold."""
    return 1e3 * 10 ** _log_volt(MSO_AT_THRESHOLD / 100 * np.asarray(drive_percent), np.asarray(plateau_mv))


def _log_volt(mso: Any, plateau_mv: Any) -> Any:
    above = np.maximum(mso - SHIFT, 0.0) ** STEEPNESS
    return -7 + (np.log10(plateau_mv * 1e-3) + 7) * above / (above + SLOPE)


def responses(
    drive_percent: Float[np.ndarray, "n m"], plateau_mv: Float[np.ndarray, " m"], rng: np.random.Generator,
    common: float = COMMON,
) -> Float[np.ndarray, "n m"]:  # fmt: skip
    """Recorded responses (n, m) in mV to drives (n, m) in per cent of each muscle's threshold; below 50 uV they are 0.

    ``common`` of the variance of the drive's noise is shared by a trial's muscles.
    """
    n, m = drive_percent.shape
    shared, private = rng.normal(size=(n, 1)), rng.normal(size=(n, m))
    noise = np.sqrt(common) * shared + np.sqrt(1 - common) * private
    mso = MSO_AT_THRESHOLD / 100 * drive_percent + DRIVE_NOISE_MSO * noise
    evoked = 1e3 * 10 ** (_log_volt(mso, plateau_mv) + LOG_NOISE * rng.normal(size=(n, m)))
    background = 1e-3 * genextreme.rvs(**BACKGROUND_UV, size=(n, m), random_state=rng)
    recorded = evoked + background
    return np.where(recorded >= ACTIVE_MV, recorded, 0.0)
