"""A trained network, or an ensemble of some, as it is used: a T1 in, points with their spread in world mm out."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import tempfile
from functools import partial
from importlib import resources
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from tmsjax.core.errors import InputError
from tmsjax.core.pytree import pytree
from tmsjax.core.versions import versions
from tmsjax.nn import checkpoint
from tmsjax.nn.functional import Variables
from tmsjax.target import augment, pyramid
from tmsjax.target.augment import Augmentation
from tmsjax.target.network import NetworkSpec, locate, network
from tmsjax.target.volume import Volume

CARD, WEIGHTS = "card.json", "weights"
BUNDLED = "target"
"""Where weights would come with the package, under ``tmsjax/data/weights``."""

VIEWS = Augmentation(rotate_deg=4.0, move_mm=5.0)
"""How the image is turned and moved for further estimates, whose spread is the uncertainty."""

WIDE_MM = 8.0
"""A point whose estimates spread by more is not to be relied on: the paper's dispersions are 1.3 to 3.2 mm."""


@pytree("spec", "card_json")
class Localiser:
    """Networks of one spec whose estimates are averaged.

    Attributes:
        members: variables of every network, stacked along the first axis of each leaf.
        spec: of the networks.
        card_json: what is known of them: cohort, training, held-out errors, licence.
    """

    members: Variables
    spec: NetworkSpec
    card_json: str = "{}"

    @property
    def card(self) -> dict[str, Any]:
        """The card as a dict."""
        return json.loads(self.card_json)

    def __len__(self) -> int:
        return int(jax.tree.leaves(self.members)[0].shape[0])


@dataclasses.dataclass(frozen=True, eq=False)
class Found:
    """Points in an image.

    Attributes:
        points: names (p,).
        places_mm: (p, 3) world RAS+ mm, the mean of all estimates.
        spread_mm: (p,) their mean distance from it: equation 3 over members and views. It tells how steady the network
            is, not how right.
        estimates_mm: (e, p, 3) world mm.
        status: (p,) "found", or "unsteady" where the spread is above ``WIDE_MM``, or "outside" where the point is
            beyond the image's cube.
    """

    points: tuple[str, ...]
    places_mm: Float[np.ndarray, "p 3"]
    spread_mm: Float[np.ndarray, " p"]
    estimates_mm: Float[np.ndarray, "e p 3"]
    status: tuple[str, ...]


def of_members(members: list[Variables], spec: NetworkSpec, card: dict[str, Any] | None = None) -> Localiser:
    """An ensemble of networks of one spec."""
    if not members:
        raise InputError("an ensemble of nobody", got="no members", expected="one or more")
    return Localiser(jax.tree.map(lambda *leaves: jnp.stack(leaves), *members), spec.check(), json.dumps(card or {}))


def find(model: Localiser, volume: Volume, *, views: int = 8, seed: int = 0) -> Found:
    """Places of all points of a model in an image.

    Args:
        model: one network or several.
        volume: from ``volume.read``, of the network's side and voxel size.
        views: how often every member looks, the first time at the image as it is, then turned and moved a little.
        seed: of these.

    Raises:
        InputError: a volume of another size than the network's, no views.
    """
    spec = model.spec
    size = float(np.linalg.norm(volume.affine[:3, 0]))
    if len(volume.values) != spec.side or abs(size - spec.voxel_mm) > 1e-3:
        raise InputError(
            "the image does not fit the network",
            got=f"{len(volume.values)} voxels a side of {size:g} mm",
            expected=f"{spec.side} of {spec.voxel_mm:g} mm",
            mend="read it with tmsjax.target.volume.read(path, side, voxel_mm)",
        )
    if views < 1:
        raise InputError("views", got=views, expected="1 or more")
    flat = jnp.asarray(pyramid.build(volume.values, spec.levels))
    # Places are in voxels: networks that differ in the voxel's size alone share what is compiled.
    in_voxels = dataclasses.replace(spec, voxel_mm=1.0)
    each = np.asarray(estimates(in_voxels, model.members, flat, views_of(spec.side, views, seed)), np.float64)
    each = each.reshape(-1, len(spec.points), 3)
    places = each.mean(0)
    spread = np.linalg.norm(each - places, axis=-1).mean(0) * size
    outside = ((places < 0) | (places > spec.side - 1)).any(1)
    status = tuple(
        "outside" if out else "unsteady" if wide else "found"
        for out, wide in zip(outside, spread > WIDE_MM, strict=True)
    )
    return Found(spec.points, volume.to_world(places), spread, volume.to_world(each), status)


def views_of(side: int, count: int, seed: int) -> augment.View:
    """``count`` views, stacked: the first changes nothing."""
    drawn = jax.vmap(lambda k: augment.draw(VIEWS, k, side))(jax.random.split(jax.random.key(seed), count))
    return jax.tree.map(lambda first, rest: rest.at[0].set(first), augment.still(), drawn)


@partial(jax.jit, static_argnums=0)
def estimates(spec: NetworkSpec, members: Variables, flat: Array, views: augment.View) -> Float[Array, "m v p 3"]:
    """Places of the finest level by every member in every view, in voxels of the cube; one after the other."""

    def one(pair):
        variables, view = pair
        return augment.unseen(view, locate(spec, variables, flat, view=view).places[-1])

    return jax.lax.map(lambda v: jax.lax.map(lambda view: one((v, view)), views), members)


def save(model: Localiser, folder: str | Path, card: dict[str, Any] | None = None) -> Path:
    """Write weights (Orbax) and card.json to ``folder``, whole or not at all."""
    folder = Path(folder).absolute()
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as scratch:
        new = Path(scratch) / "new"
        checkpoint.save(model.members, new / WEIGHTS)
        written = {
            **model.card,
            **(card or {}),
            "spec": model.spec.to_json(),
            "members": len(model),
            "versions": versions("tmsjax", "jax"),
            "sha256": hashlib.sha256((new / WEIGHTS / checkpoint.SUMS).read_bytes()).hexdigest(),
        }
        (new / CARD).write_text(json.dumps(written, indent=1, sort_keys=True) + "\n")
        checkpoint.replace(new, folder)
    return folder


def load(folder: str | Path | None = None) -> Localiser:
    """A saved model; one that comes with the package if no folder is given (there is none yet: train your own).

    Raises InputError for a folder without a model, a card that cannot be read, or weights that are not the card's.
    """
    path = bundled() if folder is None else Path(folder)
    try:
        card = json.loads((path / CARD).read_text())
        spec, recorded = NetworkSpec.from_json(card["spec"]), card["sha256"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            "there is no model of target points here",
            got=f"{path}: {error!r}"[:200],
            expected=f"a folder with {CARD} and {WEIGHTS}/ that tmsjax target train wrote",
            mend="train one: tmsjax target train PATIENTS --out FOLDER, then --model FOLDER",
        ) from error
    sums = path / WEIGHTS / checkpoint.SUMS
    if not sums.is_file() or hashlib.sha256(sums.read_bytes()).hexdigest() != recorded:
        raise InputError("these weights are not the ones on their card", got=path, expected=f"SHA-256 {recorded}")
    members = jax.tree.map(jnp.asarray, checkpoint.load(path / WEIGHTS))
    shapes = jax.eval_shape(network(spec).init, jax.random.key(0))
    expected = jax.tree.map(lambda leaf: leaf.shape, shapes)
    if jax.tree.map(lambda leaf: leaf.shape[1:], members) != expected:
        raise InputError("these weights do not fit the spec on their card", got=path, expected=spec)
    return Localiser(members, spec, json.dumps(card, sort_keys=True))


def bundled() -> Path:
    """Folder of the weights that come with the package."""
    return Path(str(resources.files("tmsjax"))) / "data" / "weights" / BUNDLED
