"""Saved surrogates: Orbax weights beside a JSON card, bundled with the package or in any folder.

A model's folder is ``<cell>/<pulse>/`` and holds ``weights/`` (Orbax) and ``card.json``: cell, pulse, spec, data
hash, seeds, held-out scores, domain, licence, versions, date, and the SHA-256 of the weights' own list of checksums.
"""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import json
import tempfile
from importlib import resources
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from tmsjax.core.errors import InputError
from tmsjax.core.versions import versions
from tmsjax.nn import checkpoint
from tmsjax.surrogate.domain import Domain
from tmsjax.surrogate.types import Surrogate, SurrogateSpec

FORMAT = 1
WEIGHTS, CARD = "weights", "card.json"


def bundled() -> Path:
    """Folder of the weights that come with the package."""
    return Path(str(resources.files("tmsjax"))) / "data" / "weights"


def available(root: str | Path | None = None) -> list[tuple[str, str]]:
    """(cell, pulse) of every model under ``root`` (default: those that come with the package)."""
    root = bundled() if root is None else Path(root)
    folders = sorted(card.parent.relative_to(root) for card in root.rglob(CARD))
    return [(folder.parent.as_posix(), folder.name) for folder in folders]


def save(model: Surrogate, folder: str | Path, *, card: dict[str, Any] | None = None) -> Path:
    """Write a surrogate to ``folder``, whole or not at all; returns it.

    ``card`` adds to the model's own card: ``data_hash``, ``licence``, ``data`` (how the thresholds were made).
    ``load(folder)`` gives the same bits back.
    """
    folder = Path(folder).absolute()
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as scratch:
        new = Path(scratch) / "new"
        checkpoint.save({"variables": model.variables, "domain": _domain_arrays(model.domain)}, new / WEIGHTS)
        written = {
            **model.card,
            **(card or {}),
            "format": FORMAT,
            "cell": model.spec.cell,
            "pulse": model.spec.pulse,
            "spec": model.spec.to_json(),
            "domain": {
                "degree": model.domain.degree,
                "quantile": model.domain.quantile,
                "limit": float(model.domain.limit),
            },
            "parameters": sum(int(np.size(leaf)) for leaf in jax.tree.leaves(model.variables)),
            "versions": versions("tmsjax", "jax", "flax", "optax"),
            "date": datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d"),
            "sha256": hashlib.sha256((new / WEIGHTS / checkpoint.SUMS).read_bytes()).hexdigest(),
        }
        (new / CARD).write_text(json.dumps(written, indent=1, sort_keys=True) + "\n")
        checkpoint.replace(new, folder)
    return folder


def load(name: str | Path, pulse: str = "monophasic", root: str | Path | None = None) -> Surrogate:
    """A saved surrogate by the name of its cell, e.g. ``"open/L5_PC_1"``, or by the path of its folder.

    Raises
    ------
    InputError
        No such cell or pulse (lists what there is), or a folder whose weights or card are damaged.
    """
    home = bundled() if root is None else Path(root)
    folder = home / str(name) / str(pulse)
    if not (folder / CARD).is_file() and (Path(name) / CARD).is_file():
        folder = Path(name)
    if not (folder / CARD).is_file():
        there = available(home)
        raise InputError(
            "there is no surrogate for this cell and pulse",
            got=f"cell {str(name)!r}, pulse {str(pulse)!r}",
            expected="one of: " + ", ".join(f"{c} ({p})" for c, p in there) if there else f"models under {home}: none",
            mend="train one with tmsjax.surrogate.train, or give the path of a folder that surrogate.save wrote",
        )
    card = _read_card(folder)
    arrays = checkpoint.load(folder / WEIGHTS)
    spec = SurrogateSpec.from_json(card["spec"])
    inside = Domain(**arrays["domain"], degree=card["domain"]["degree"], quantile=card["domain"]["quantile"])
    variables, inside = jax.tree.map(jnp.asarray, (arrays["variables"], inside))
    return Surrogate(variables, inside, spec, json.dumps(card, sort_keys=True))


def _read_card(folder: Path) -> dict[str, Any]:
    try:
        card = json.loads((folder / CARD).read_text())
        SurrogateSpec.from_json(card["spec"])
        recorded, version = card["sha256"], card["format"]
        _ = card["domain"]["degree"], card["domain"]["quantile"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            "this card cannot be read",
            got=f"{folder / CARD}: {error!r}",
            expected="JSON that surrogate.save wrote",
            mend="install or copy the model again",
        ) from error
    if version != FORMAT:
        raise InputError("a card of another format", got=version, expected=FORMAT, mend="update tmsjax, or train again")
    sums = folder / WEIGHTS / checkpoint.SUMS
    if not sums.is_file() or hashlib.sha256(sums.read_bytes()).hexdigest() != recorded:
        raise InputError(
            "these weights are not the ones on their card",
            got=f"{sums}: {'changed' if sums.is_file() else 'missing'}",
            expected=f"the SHA-256 {recorded} of the card",
            mend="install or copy the model again",
        )
    return card


def _domain_arrays(inside: Domain) -> dict[str, Any]:
    return {f.name: v for f in dataclasses.fields(inside) if not isinstance(v := getattr(inside, f.name), int | float)}
