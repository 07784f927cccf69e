"""Pose models on disk: Orbax arrays beside a JSON card, in a folder that appears whole or not at all."""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import json
import tempfile
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from tmsjax.core.errors import InputError
from tmsjax.core.versions import versions
from tmsjax.efield.posemodel_train import head_hash
from tmsjax.efield.posemodel_type import PoseModel
from tmsjax.head import HeadModel, ScalpDistance
from tmsjax.io.reading import checked_path
from tmsjax.nn import checkpoint

FORMAT = 2
ARRAYS, CARD = "arrays", "card.json"
OPTIONAL = ("voxels", "mask", "affine")
NEEDED = ("head", "head_hash", "coarsen", "partial_volume", "tolerance", "residual")
"""Entries of the card that a model cannot do without."""


def save(model: PoseModel, folder: str | Path) -> Path:
    """Write a pose model and its certificate to ``folder``, whole or not at all; ``load(folder)`` gives the same bits.

    Raises InputError for a model without a certificate (what is kept must say how good it is), for a place where
    something else is than an older pose model, and for a disk that is full.
    """
    if not model.certificate:
        raise InputError(
            "this pose model has no certificate", got="a model that was never compared with direct solves",
            expected="errors at 10 held-out poses or more", mend="model = tmsjax.efield.posemodel.certify(model, head)",
        )  # fmt: skip
    folder = checked_path(folder, "a pose model").absolute()
    _check_free(folder)
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        _write(model, folder)
    except OSError as error:
        raise InputError(
            "the pose model cannot be written", got=f"{folder}: {error}", expected="a folder on a disk with room for it"
        ) from error
    return folder


def _check_free(folder: Path) -> None:
    """A pose model may take the place of an older one, and of nothing else: what was there is deleted."""
    ours = (folder / CARD).is_file() and (folder / ARRAYS).is_dir()
    if folder.exists() and not ours and not (folder.is_dir() and not any(folder.iterdir())):
        raise InputError(
            "something else is in the place of this pose model",
            got=folder,
            expected="a new folder, an empty one, or that of an older pose model",
            mend="give a name of its own, such as FOLDER/model",
        )


def _write(model: PoseModel, folder: Path) -> None:
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as scratch:
        new = Path(scratch) / "new"
        checkpoint.save(_arrays(model), new / ARRAYS)
        card = {
            "model": json.loads(model.card),
            "format": FORMAT,
            "versions": versions("tmsjax", "jax"),
            "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
            "sha256": _digest(new),
        }
        card["card_sha256"] = _own_digest(card)
        (new / CARD).write_text(json.dumps(card, indent=1, sort_keys=True) + "\n")
        checkpoint.replace(new, folder)


def load(folder: str | Path, head: HeadModel | None = None) -> PoseModel:
    """Read what ``save`` wrote. With ``head``, check that the model was made from it.

    Raises InputError for a folder that holds no pose model, arrays or a card that were changed, another format, and
    another head.
    """
    folder = checked_path(folder, "a pose model")
    card = _read_card(folder)
    made = card["model"]
    if head is not None and head_hash(head, made["coarsen"], made["partial_volume"]) != made["head_hash"]:
        raise InputError(
            "this pose model belongs to another head",
            got=f"head {head.name!r}",
            expected=f"the labels, affine and conductivities of head {made['head']!r} that it was made from",
            mend="precompute one for this head",
        )
    arrays = checkpoint.load(folder / ARRAYS)
    spacing_mm = float(arrays["distance"].pop("spacing_mm"))
    arrays = jax.tree.map(jnp.asarray, arrays)
    distance = ScalpDistance(**arrays.pop("distance"), spacing_mm=spacing_mm)
    return PoseModel(**(dict.fromkeys(OPTIONAL) | arrays), distance=distance, card=json.dumps(made, sort_keys=True))


def _arrays(model: PoseModel) -> dict[str, Any]:
    fields = {f.name: getattr(model, f.name) for f in dataclasses.fields(model) if f.name != "card"}
    fields["distance"] = vars(model.distance)
    return {name: value for name, value in fields.items() if value is not None}


def _digest(folder: Path) -> str:
    return hashlib.sha256((folder / ARRAYS / checkpoint.SUMS).read_bytes()).hexdigest()


def _own_digest(card: dict[str, Any]) -> str:
    content = {name: value for name, value in card.items() if name != "card_sha256"}
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


def _read_card(folder: Path) -> dict[str, Any]:
    try:
        card = json.loads((folder / CARD).read_text())
        recorded, version, whole, made = card["sha256"], card["format"], card["card_sha256"], card["model"]
        missing = [name for name in NEEDED if name not in made]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            "there is no pose model here", got=f"{folder / CARD}: {error!r}", expected="a folder that save wrote"
        ) from error
    if version == FORMAT and missing:
        raise InputError("a pose model's card lacks entries", got=f"{folder}: {missing}", expected=list(NEEDED))
    if version != FORMAT:
        raise InputError("a pose model of another format", got=version, expected=FORMAT, mend="precompute it again")
    sums = folder / ARRAYS / checkpoint.SUMS
    for what, found, expected in (
        ("card", _own_digest(card), whole),
        ("arrays", _digest(folder) if sums.is_file() else "missing", recorded),
    ):
        if found != expected:
            raise InputError(
                f"the {what} of this pose model were changed after it was saved",
                got=f"{folder}: {found}",
                expected=f"the SHA-256 {expected}",
                mend="copy it again, or precompute it again",
            )
    return card
