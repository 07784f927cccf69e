"""A user's own membrane: a TOML file of the form of ``biophysics.toml``, checked key by key.

[MY_CELL]
g_pas = { soma = 3e-5, dendrite = 3e-5, axon = 3e-5 }              # S/cm2
e_pas_mv = { soma = -75.0, dendrite = -75.0, axon = -75.0 }
distant = { Ih = { regions = ["apical"], per_um = 0.0031 } }       # optional; offset and factor too
[MY_CELL.soma]                                                     # also basal, apical, ais, node, ...
NaTs2_t = 0.98                                                     # S/cm2
[common]                                                           # optional: what differs from ours
ra_ohm_cm = 150.0
[axon_factors.node]                                                # optional: multiples of the initial segment's
NaTa_t = 2.0
"""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tmsjax.cells.biophysics import DENSITY_S_PER_CM2, LARGEST, NO_TABLE, tables
from tmsjax.cells.mechanism_library import MECHANISMS, own_mechanisms
from tmsjax.cells.types import REGIONS, Membrane
from tmsjax.core.errors import InputError, check_number

PARTS = ("soma", "dendrite", "axon")
CALCIUM = ("gamma", "decay")
CALCIUM_CHANNELS = ("Ca", "Ca_HVA", "Ca_LVAst")
CALCIUM_GATED = ("SK_E2",)
POTENTIAL_MV = 200.0
"""Reversal potentials lie within this of 0: the channels' rates end at 300 mV."""
RA_OHM_CM = (1.0, 1e4)
CM_UF_PER_CM2 = (1e-4, 100.0)
FACTOR = 1e6
"""Largest multiple in a distribution or of the initial segment's densities."""
FIXED = ("temperature_c", "ca_out_mm")
"""Constants that the channels' equations and the cable solver take as given."""
PLACED = ("soma", "basal", "apical", "ais")
"""Regions whose distance from the soma is known: the others are made by myelination."""


def read_membrane(path: str | os.PathLike, mechanisms: str | os.PathLike | None = None) -> Membrane:
    """Read the membrane of ``"file.toml"``, or of one table of it, ``"file.toml#TABLE"``.

    ``mechanisms`` is a folder of .mod files with channels beyond ours. Raises InputError, which names file, table,
    region and key, for what is missing, unknown, no number, not finite, negative, or beyond what any membrane has.
    """
    for what, given in (("the membrane", path), ("the mechanisms' folder", mechanisms)):
        if not isinstance(given, (str, os.PathLike)) and (given is not None or what == "the membrane"):
            raise InputError(f"{what} is no path", got=repr(given), expected="a path")
    file, _, wanted = str(path).partition("#")
    name = Path(file).name
    content = _toml(Path(file))
    found = [key for key in content if key not in NO_TABLE]
    if wanted and wanted not in found:
        raise InputError(f"{name} has no table [{wanted}]", got=repr(wanted), expected=f"one of {found}")
    if not wanted and len(found) != 1:
        raise InputError(
            f"{name} has {len(found)} tables",
            got=found,
            expected="one table, or which one: biophysics='FILE.toml#TABLE'",
        )
    key = wanted or found[0]
    known = [mechanism for mechanism in MECHANISMS if mechanism != "CaDynamics_E2"]
    known += own_mechanisms(mechanisms) if mechanisms is not None else ()
    check = _Check(name, known)
    table = check.table(key, content[key])
    common = check.common(content.get("common", {}))
    factors = check.factors(content.get("axon_factors", {}), table)
    folder = None if mechanisms is None else str(Path(mechanisms).absolute())
    return Membrane(f"{name}#{key}", table, common, factors, folder)


def _toml(file: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(
            "the membrane file cannot be read", got=f"{file}: {error.strerror}", expected="a .toml file"
        ) from error
    except (ValueError, RecursionError) as error:  # an integer of 5000 digits and a deep nest are no TOMLDecodeError
        raise InputError(f"{file.name} is no TOML", got=error, expected="tables as in biophysics.toml") from error


class _Check:
    """Checks the parts of one file; every message begins with the file, the table and the key."""

    def __init__(self, file: str, channels: list[str]) -> None:
        self.file, self.channels = file, channels

    def table(self, key: str, table: Any) -> dict[str, Any]:
        """A cell type's table with numbers as floats."""
        table = self.mapping(key, table)
        self.keys(key, table, ["g_pas", "e_pas_mv", "distant", *REGIONS], needed=["g_pas", "e_pas_mv", "soma", "ais"])
        out: dict[str, Any] = {}
        for leak, low, high in (("g_pas", 0.0, DENSITY_S_PER_CM2), ("e_pas_mv", -POTENTIAL_MV, POTENTIAL_MV)):
            parts = self.mapping(f"{key}.{leak}", table[leak])
            self.keys(f"{key}.{leak}", parts, PARTS, needed=PARTS)
            out[leak] = {part: self.number(f"{key}.{leak}", part, value, low, high) for part, value in parts.items()}
        for region in REGIONS:
            if region in table:
                out[region] = self.region(f"{key}.{region}", table[region])
        out["distant"] = self.distant(f"{key}.distant", table.get("distant", {}), out)
        return out

    def region(self, where: str, region: Any) -> dict[str, float]:
        """Densities (S/cm2) of a region, and its calcium."""
        region = self.mapping(where, region)
        for name in region:
            if name not in (*self.channels, *CALCIUM):
                raise InputError(
                    f"{self.file} [{where}]: there is no channel {name}",
                    got=name,
                    expected=f"one of {', '.join(self.channels)} (or gamma and decay of the calcium)",
                    mend=_near(name, self.channels) or "give the folder of your .mod files (option mechanisms)",
                )
        out = {
            name: self.number(where, name, value, 0.0, LARGEST.get(name, DENSITY_S_PER_CM2))
            for name, value in region.items()
        }
        self.calcium(where, out)
        return out

    def calcium(self, where: str, out: Mapping[str, float]) -> None:
        """A region's calcium is described where a channel carries it or opens by it."""
        if len([name for name in CALCIUM if name in out]) == 1 or out.get("decay") == 0:
            raise InputError(
                f"{self.file} [{where}]: the calcium is not described",
                got={name: out[name] for name in CALCIUM if name in out},
                expected="both gamma and decay (ms, positive)",
            )
        for names, does in (
            (CALCIUM_CHANNELS, "carries calcium that nothing takes away"),
            (CALCIUM_GATED, "is opened by calcium that nothing describes"),
        ):
            present = [name for name in names if out.get(name, 0) > 0]
            if present and "gamma" not in out:
                raise InputError(
                    f"{self.file} [{where}]: {present[0]} {does}",
                    got="no gamma and decay",
                    expected="gamma (share of free calcium) and decay (ms) in the same region",
                )

    def distant(self, where: str, rules: Any, table: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
        """Distributions with the distance from the soma, each for a channel of the regions that it names."""
        out = {}
        for name, rule in self.mapping(where, rules).items():
            rule = self.mapping(f"{where}.{name}", rule)
            self.keys(f"{where}.{name}", rule, ["regions", "per_um", "offset", "factor"], needed=["regions", "per_um"])
            regions = rule["regions"]
            if not isinstance(regions, list) or not regions or not set(map(str, regions)) <= set(PLACED):
                raise InputError(
                    f"{self.file} [{where}.{name}] regions", got=regions, expected=f"a list of some of {list(PLACED)}"
                )
            absent = [region for region in regions if name not in table.get(region, {})]
            if absent:
                raise InputError(
                    f"{self.file} [{where}.{name}]: the channel is not in {absent[0]}",
                    got=f"a distribution of {name} over {regions}",
                    expected=f"a density of {name} in [{where.split('.')[0]}.{absent[0]}]",
                )
            numbers = [key for key in rule if key != "regions"]
            out[name] = {key: self.number(f"{where}.{name}", key, rule[key], -FACTOR, FACTOR) for key in numbers}
            out[name]["regions"] = list(regions)
        return out

    def common(self, own: Any) -> dict[str, Any]:
        """The constants: ours, and what the file says instead."""
        ours = tables()["common"]
        own = self.mapping("common", own)
        self.keys("common", own, list(ours))
        out = dict(ours)
        for key, value in own.items():
            if key == "cm_uf_per_cm2":
                parts = self.mapping("common.cm_uf_per_cm2", value)
                self.keys("common.cm_uf_per_cm2", parts, REGIONS)
                numbers = {
                    r: self.number("common.cm_uf_per_cm2", r, value, *CM_UF_PER_CM2) for r, value in parts.items()
                }
                out[key] = {**ours[key], **numbers}
            elif key in FIXED:
                if value != ours[key]:
                    raise InputError(
                        f"{self.file} [common] {key} cannot be changed",
                        got=value,
                        expected=f"{ours[key]}, or no such line",
                    )
            elif key == "ra_ohm_cm":
                out[key] = self.number("common", key, value, *RA_OHM_CM)
            elif key == "g_pas_myelin":
                out[key] = self.number("common", key, value, 0.0, DENSITY_S_PER_CM2)
            else:
                out[key] = self.number("common", key, value, -POTENTIAL_MV, POTENTIAL_MV)
        return out

    def factors(self, own: Any, table: Mapping[str, Any]) -> dict[str, dict[str, float]]:
        """Multiples of the initial segment's densities in node and bare axon; ours where the file has none."""
        own = self.mapping("axon_factors", own)
        self.keys("axon_factors", own, ["node", "unmyelinated"])
        out = {region: dict(values) for region, values in tables()["axon_factors"].items()}
        for region, values in own.items():
            where = f"axon_factors.{region}"
            self.keys(where, self.mapping(where, values), list(table["ais"]))
            out[region] = {name: self.number(where, name, value, 0.0, FACTOR) for name, value in values.items()}
            if region not in table:
                ais = table["ais"]
                self.calcium(where, {name: factor * ais[name] for name, factor in out[region].items() if name in ais})
        for region, values in out.items():
            if region not in table and not set(values) & set(table["ais"]):
                raise InputError(
                    f"{self.file}: the axon's region {region} has no channel",
                    got=f"the initial segment's channels {list(table['ais'])}",
                    expected=f"[axon_factors.{region}] with multiples of their densities",
                )
        return out

    def mapping(self, where: str, value: Any) -> Mapping[str, Any]:
        """The value, if it is a table."""
        if not isinstance(value, Mapping):
            raise InputError(f"{self.file} [{where}] is no table", got=repr(value), expected="keys with values")
        return value

    def keys(self, where: str, table: Mapping[str, Any], known, needed=()) -> None:
        """Nothing unknown, nothing missing."""
        for key in table:
            if key not in known:
                raise InputError(
                    f"{self.file} [{where}]: unknown key {key}",
                    got=key,
                    expected=f"some of {', '.join(known)}",
                    mend=_near(key, known),
                )
        missing = [key for key in needed if key not in table]
        if missing:
            raise InputError(
                f"{self.file} [{where}] lacks {', '.join(missing)}",
                got=list(table),
                expected=f"keys {', '.join(needed)}",
            )

    def number(self, where: str, key: str, value: Any, low: float, high: float) -> float:
        """The value, if it is a number from ``low`` to ``high``."""
        return check_number(value, f"{self.file} [{where}] {key} cannot be used", low, high)


def _near(word: str, known) -> str:
    close = difflib.get_close_matches(word, list(known), n=1)
    return f"did you mean {close[0]}?" if close else ""
