"""Files of responses: zarr that xarray opens, CSV of every neuron, GIFTI maps on the layers' surfaces."""

from __future__ import annotations

import csv
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import Float
from numpy import ndarray
from scipy.spatial import KDTree

from tmsjax.core.errors import InputError
from tmsjax.core.files import staged_file
from tmsjax.core.thresholds import Thresholds
from tmsjax.cortex import LayerSurface, Population
from tmsjax.io import write_metric, write_surface
from tmsjax.response.labelled import Group, Labelled, read_labelled, write_labelled
from tmsjax.response.types import Response, checked

REACH = 2.5
"""A vertex is coloured where a site is nearer than this times the sites' spacing (root of the area of each)."""

NEURON_CHUNK = 65536

WORDS = ("layer", "cell", "pulse")


def save_responses(
    path: str | Path, responses: Response | Iterable[Response], attrs: Mapping[str, Any] | None = None
) -> Path:
    """Write responses to a zarr group, one entry a neuron, whole or not at all: ``load_responses`` gives them back.

    ``xarray.open_zarr(path, consolidated=False)`` opens it: ``threshold_v_per_m``, ``threshold_a_per_us``, ``status``
    and ``in_domain`` over ``neuron``, with layer, cell, pulse, site, azimuth, place (RAS+ mm) and region as
    coordinates: ``ds.where(ds.layer == "L5", drop=True).groupby("azimuth_deg").median()``.
    """
    found = checked(responses)

    def joined(of: Any, dtype: Any = None) -> np.ndarray:
        return np.concatenate([np.asarray(of(r), dtype) for r in found])

    place = joined(lambda r: r.population.positions, np.float32)
    meaning = {str(code): text for r in found for code, text in r.thresholds.sentences.items()}
    variables = {
        "threshold_v_per_m": (joined(lambda r: r.thresholds.v_per_m), {"units": "V/m", "long_name": "|E| at the soma"}),
        "threshold_a_per_us": (joined(lambda r: r.thresholds.a_per_us), {"units": "A/us", "long_name": "coil |dI/dt|"}),
        "status": (joined(lambda r: r.thresholds.status, np.int16), {"meaning": meaning}),
        "in_domain": (joined(lambda r: r.in_domain), {"long_name": "the model has seen such fields"}),
    }  # fmt: skip
    coordinates = {
        **{name: (joined(lambda r, n=name: np.full(len(r), getattr(r, n))), {}) for name in WORDS},
        "population": (joined(lambda r: np.full(len(r), found.index(r)), np.int32), {"long_name": "response"}),
        "site": (joined(lambda r: r.population.site, np.int32), {"long_name": "position, shared by azimuths"}),
        "azimuth_deg": (joined(lambda r: r.population.azimuth_deg, np.float32), {"units": "degree"}),
        **{f"{axis}_mm": (place[:, i], {"units": "mm"}) for i, axis in enumerate("xyz")},
        "weight_mm2": (joined(lambda r: r.population.weight, np.float32), {"units": "mm2"}),
        "clone": (joined(lambda r: r.population.cell, np.int32), {"long_name": "Population.cell"}),
        "depth": (joined(lambda r: np.full(len(r), r.population.depth)), {"long_name": "0 pia, 1 white matter"}),
    }
    if all(r.region is not None for r in found):
        coordinates["region"] = (joined(lambda r: np.asarray(r.region).astype(str)), {})
    size = len(place)

    def labelled(values: np.ndarray, about: Mapping[str, Any]) -> Labelled:
        more = values.shape[1:]
        dims = ("neuron", "world", "cell_axis")[: values.ndim]
        return Labelled(dims, values, about, (min(size, NEURON_CHUNK), *more))

    turned = joined(lambda r: r.population.rotations, np.float32)
    words = {"sources": [r.thresholds.source for r in found], "format": 1, **(attrs or {})}
    arrays = {name: labelled(*entry) for name, entry in variables.items()}
    arrays["rotation"] = labelled(turned, {"long_name": "cell frame to world"})
    return write_labelled(path, Group(arrays, {name: labelled(*entry) for name, entry in coordinates.items()}, words))


def load_responses(path: str | Path) -> list[Response]:
    """The responses that ``save_responses`` wrote; InputError for another folder."""
    arrays, attrs = read_labelled(path)
    needed = {"threshold_v_per_m", "threshold_a_per_us", "status", "rotation", "population", *WORDS}
    if not needed <= set(arrays):
        raise InputError(
            "these are no responses", got=f"{path}: {sorted(arrays)}", expected="what save_responses wrote"
        )
    sentences = {int(k): v for k, v in _status_words(path).items()}
    out = []
    for number in np.unique(arrays["population"]):
        rows = {name: values[arrays["population"] == number] for name, values in arrays.items()}
        population = Population(
            positions=jnp.stack([jnp.asarray(rows[f"{axis}_mm"]) for axis in "xyz"], 1),
            rotations=jnp.asarray(rows["rotation"]),
            site=jnp.asarray(rows["site"]),
            azimuth_deg=jnp.asarray(rows["azimuth_deg"]),
            weight=jnp.asarray(rows["weight_mm2"]),
            cell=jnp.asarray(rows["clone"]),
            layer=str(rows["layer"][0]),
            depth=float(rows["depth"][0]),
        )
        count = len(population)
        thresholds = Thresholds(
            v_per_m=rows["threshold_v_per_m"],
            factor=rows["threshold_a_per_us"],
            initiation=np.full(count, -1),
            status=rows["status"].astype(int),
            runs=np.zeros(count, int),
            sentences=sentences,
            in_domain=rows["in_domain"],
            source=str(attrs["sources"][int(number)]),
        )
        region = rows.get("region")
        out.append(Response(population, thresholds, str(rows["cell"][0]), str(rows["pulse"][0]), region))
    return out


def _status_words(path: str | Path) -> dict[str, str]:
    import zarr

    return zarr.open_array(Path(path) / "status", mode="r").attrs["meaning"]  # type: ignore[return-value]


def write_neurons(path: str | Path, responses: Response | Iterable[Response]) -> Path:
    """CSV of one line a neuron: layer, cell, site, azimuth, place, thresholds, whether the model knows such fields."""
    heads = ("layer", "cell", "site", "azimuth_deg", "x_mm", "y_mm", "z_mm", "threshold_V_per_m",
             "threshold_A_per_us", "in_domain", "status")  # fmt: skip
    with staged_file(path) as stage, stage.open("w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle)
        writer.writerow(heads)
        for r in checked(responses):
            columns = zip(
                np.asarray(r.population.site).tolist(),
                np.asarray(r.population.azimuth_deg).tolist(),
                np.asarray(r.population.positions).tolist(),
                r.thresholds.v_per_m.tolist(),
                r.thresholds.a_per_us.tolist(),
                r.in_domain.tolist(),
                r.thresholds.status.tolist(),
                strict=True,
            )
            for site, azimuth, xyz, v, a, known, status in columns:
                place = [f"{x:.3f}" for x in xyz]
                writer.writerow(
                    [r.layer, r.cell, site, f"{azimuth:g}", *place, f"{v:.3f}", f"{a:.3f}", int(known), status]
                )
    return Path(path)


def by_site(responses: Response | Iterable[Response], of: str = "a_per_us") -> tuple[ndarray, ndarray, ndarray]:
    """Medians over the azimuths and clones of every position of one layer.

    Returns (sites,) numbers, (s, 3) places in mm, (s,) medians of ``of`` ("a_per_us", "v_per_m" or "in_domain": the
    share), NaN where no neuron of a site has a threshold.
    """
    found = checked(responses)
    if len({r.layer for r in found}) > 1:
        raise InputError("responses of several layers", got=[r.layer for r in found], expected="one layer's clones")
    number = np.concatenate([np.asarray(r.population.site) for r in found])
    sites, first, at = np.unique(number, return_index=True, return_inverse=True)
    places = np.concatenate([np.asarray(r.population.positions, float) for r in found])[first]
    if of == "in_domain":
        known = np.concatenate([r.in_domain for r in found])
        return sites, places, np.bincount(at.ravel(), known) / np.bincount(at.ravel())
    values = np.concatenate([np.asarray(getattr(r.thresholds, of), float) for r in found])
    order = np.argsort(at.ravel(), kind="stable")
    groups = np.split(values[order], np.cumsum(np.bincount(at.ravel()))[:-1])
    medians = [np.median(g[np.isfinite(g)]) if np.isfinite(g).any() else np.nan for g in groups]
    return sites, places, np.asarray(medians)


def spacing_of(responses: Response | Iterable[Response]) -> float:
    """Typical distance (mm) between the sites of one layer: the root of the area that each stands for."""
    found = checked(responses)
    area = sum(float(np.asarray(r.population.weight, float).sum()) for r in found) / len(found)
    return float(np.sqrt(area / len(by_site(found)[0])))


def on_points(
    points_mm: Float[ndarray, "v 3"], places_mm: Float[ndarray, "s 3"], values: Float[ndarray, " s"], spacing_mm: float
) -> Float[ndarray, " v"]:
    """(v,) the nearest site's value at each point of a layer, NaN further than ``REACH`` spacings from any."""
    away, nearest = KDTree(places_mm).query(points_mm)
    return np.where(away <= REACH * spacing_mm, np.asarray(values, float)[nearest], np.nan)


def write_maps(
    folder: str | Path, responses: Response | Iterable[Response], surface: LayerSurface, name: str | None = None
) -> list[Path]:
    """GIFTI of one layer's thresholds on its own surface, a pair of files for each hemisphere that holds neurons.

    ``NAME.lh.surf.gii`` is the layer's surface in scanner RAS+ mm, with all of the hemisphere's vertices, and
    ``NAME.lh.func.gii`` has maps on it: median thresholds over azimuths and clones at the nearest site (A/us and V/m),
    and the share of neurons in the model's domain; NaN where there is no neuron near, or none with a threshold.
    """
    found = checked(responses)
    folder, name = Path(folder), name or found[0].layer
    _, places, _ = by_site(found)
    spacing = spacing_of(found)
    side_of = surface.hemisphere[KDTree(surface.vertices).query(places)[1]]
    titles = {"a_per_us": "median threshold (A/us)", "v_per_m": "median threshold (V/m)", "in_domain": "in domain"}
    medians = {title: by_site(found, of)[2] for of, title in titles.items()}
    written = []
    for number, side in enumerate(("lh", "rh")):
        mine, here = surface.hemisphere == number, side_of == number
        if not here.any():
            continue
        vertices = surface.vertices[mine]
        faces = (np.cumsum(mine) - 1)[surface.faces[mine[surface.faces[:, 0]]]]
        written.append(write_surface(folder / f"{name}.{side}.surf.gii", vertices, faces, structure=side))
        maps = {title: on_points(vertices, places[here], values[here], spacing) for title, values in medians.items()}
        written.append(write_metric(folder / f"{name}.{side}.func.gii", maps, structure=side))
    return written
