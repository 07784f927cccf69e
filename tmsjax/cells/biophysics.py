"""Membrane tables of the cell types, from ``biophysics.toml`` or a user's own: which density where."""

from __future__ import annotations

import functools
import tomllib
from importlib.resources import files

import numpy as np
from jaxtyping import Float

from tmsjax.cells.types import Cell, Membrane, Region, Section
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
NO_TABLE = ("common", "axon_factors")
OFFSET, FACTOR = -0.8696, 2.087
"""Of Ih's density with the distance from the soma (Kole et al. 2006, as fitted by Markram et al. 2015)."""
DENSITY_S_PER_CM2 = 1000.0
"""Largest density: ten thousand open channels of 10 pS on every square micrometre."""
LARGEST = {"gamma": 1.0, "decay": 1e5}
"""Largest share of free calcium, and longest decay (ms)."""


@functools.cache
def tables() -> dict:
    """The whole of ``biophysics.toml``."""
    return tomllib.loads((files("tmsjax.cells") / "biophysics.toml").read_text(encoding="utf-8"))


def table_names() -> list[str]:
    """Names of the tables of ``biophysics.toml``."""
    return sorted(set(tables()) - set(NO_TABLE))


def membrane(name: str) -> Membrane:
    """The membrane of a cell type of ``biophysics.toml``, or InputError naming those that exist."""
    if name not in table_names():
        raise InputError(
            "there is no such membrane table", got=repr(name), expected=f"one of {table_names()}, or a .toml file"
        )
    return Membrane(name, tables()[name], tables()["common"], tables()["axon_factors"])


def membrane_of(cell: Cell) -> Membrane:
    """A cell's own membrane, or the one that it names."""
    return cell.membrane or membrane(cell.biophysics)


def channels(membrane: Membrane) -> list[str]:
    """Names of all channels that a membrane has anywhere."""
    names = {name for region in COMPARTMENT for name in membrane.table.get(region, {})}
    return sorted(names - {"gamma", "decay"})


def passive(membrane: Membrane, region: Region) -> tuple[float, float, float]:
    """Membrane capacitance (uF/cm2), leak conductance (S/cm2) and leak reversal (mV) of a region."""
    table, common = membrane.table, membrane.common
    part = COMPARTMENT[region]
    g = common["g_pas_myelin"] if region == "myelin" else table["g_pas"][part]
    return common["cm_uf_per_cm2"][region], g, table["e_pas_mv"][part]


def densities(membrane: Membrane, section: Section) -> dict[str, Float[np.ndarray, " nseg"]]:
    """Maximal conductance (S/cm2) of every channel of a section, and gamma and decay of its calcium, per segment.

    A density that depends on the place is density * (offset + factor exp(per_um d)), d the distance from soma(0) in
    the unscaled cell. Nodes and bare axon carry multiples of the initial segment's densities, unless the table has
    their own. Raises InputError where a distribution becomes negative, or anything larger than a membrane can be.
    """
    table = membrane.table
    factors = membrane.axon_factors.get(section.region)
    if section.region not in table and factors is not None:
        values = {name: factor * table["ais"][name] for name, factor in factors.items() if name in table["ais"]}
    else:
        region = "basal" if section.region == "apical" and "apical" not in table else section.region
        values = table.get(region, {})
    out = {name: np.full(section.nseg, float(value)) for name, value in values.items()}
    for name, rule in table.get("distant", {}).items():
        if section.region in rule["regions"]:
            offset, factor = rule.get("offset", OFFSET), rule.get("factor", FACTOR)
            with np.errstate(over="ignore", invalid="ignore"):
                out[name] = out[name] * (offset + factor * np.exp(rule["per_um"] * section.distance_um))
    for name, values in out.items():
        largest = LARGEST.get(name, DENSITY_S_PER_CM2)
        if not ((values >= 0) & (values <= largest)).all():
            raise InputError(
                f"{membrane.name}: the density of {name} cannot be used in section {section.name}",
                got=f"{values.min():g} to {values.max():g}",
                expected=f"0 to {largest:g}{'' if name in LARGEST else ' S/cm2'} over the whole cell",
            )
    return out
