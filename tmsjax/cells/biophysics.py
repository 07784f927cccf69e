"""Membrane tables of the cell types, from ``biophysics.toml``: which density where."""

from __future__ import annotations

import functools
import tomllib
from importlib.resources import files

import numpy as np
from jaxtyping import Float

from tmsjax.cells.types import Region, Section
from tmsjax.core.errors import InputError

COMPARTMENT: dict[Region, str] = {
    "soma": "soma",
    "basal": "dendrite",
    "apical": "dendrite",
    "ais": "axon",
    "node": "axon",
    "myelin": "axon",
    "unmyelinated": "axon",
}


@functools.cache
def tables() -> dict:
    """The whole of ``biophysics.toml``."""
    return tomllib.loads((files("tmsjax.cells") / "biophysics.toml").read_text(encoding="utf-8"))


def common() -> dict:
    """Constants that all cells share."""
    return tables()["common"]


def table_of(biophysics: str) -> dict:
    """The table of one cell type, or InputError naming those that exist."""
    known = sorted(set(tables()) - {"common", "axon_factors"})
    if biophysics not in known:
        raise InputError("there is no such membrane table", got=repr(biophysics), expected=f"one of {known}")
    return tables()[biophysics]


def passive(biophysics: str, region: Region) -> tuple[float, float, float]:
    """Membrane capacitance (uF/cm2), leak conductance (S/cm2) and leak reversal (mV) of a region."""
    table = table_of(biophysics)
    part = COMPARTMENT[region]
    g = common()["g_pas_myelin"] if region == "myelin" else table["g_pas"][part]
    return common()["cm_uf_per_cm2"][region], g, table["e_pas_mv"][part]


def densities(biophysics: str, section: Section) -> dict[str, Float[np.ndarray, " nseg"]]:
    """Maximal conductance (S/cm2) of every channel of a section, and gamma and decay of its calcium, per segment."""
    table = table_of(biophysics)
    factors = tables()["axon_factors"].get(section.region)
    if factors is not None:
        values = {name: factor * table["ais"][name] for name, factor in factors.items()}
    else:
        region = "basal" if section.region == "apical" and "apical" not in table else section.region
        values = table.get(region, {})
    out = {name: np.full(section.nseg, float(value)) for name, value in values.items()}
    for name, rule in table["distant"].items():
        if section.region in rule["regions"]:
            out[name] = out[name] * (-0.8696 + 2.087 * np.exp(rule["per_um"] * section.distance_um))
    return out
