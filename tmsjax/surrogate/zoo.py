"""Saved surrogates: Orbax weights beside a JSON card, bundled with the package or in any folder.

A model's folder is ``<cell>/<pulse>/<family>/`` and holds ``weights/`` (Orbax) and ``card.json``: cell, pulse, spec,
data hash, seeds, held-out scores, domain, licence, versions, date, and the SHA-256 of the spec and of the weights' own
list of checksums.
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
PULSE, FAMILY = "monophasic", "support"
"""What a name alone means."""


def bundled() -> Path:
    """Folder of the weights that come with the package."""
    return Path(str(resources.files("tmsjax"))) / "data" / "weights"


def available(root: str | Path | None = None) -> list[tuple[str, str, str]]:
    """(cell, pulse, family) of every model under ``root`` (default: those that come with the package)."""
    root = bundled() if root is None else Path(root)
    folders = sorted(card.parent.relative_to(root) for card in root.rglob(CARD))
    whole = [folder.parts for folder in folders if len(folder.parts) > 2 and not folder.parts[-2].startswith(".")]
    return [("/".join(parts[:-2]), parts[-2], parts[-1]) for parts in whole]


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
            "spec_sha256": _spec_hash(model.spec.to_json()),
            "sha256": hashlib.sha256((new / WEIGHTS / checkpoint.SUMS).read_bytes()).hexdigest(),
        }
        (new / CARD).write_text(json.dumps(written, indent=1, sort_keys=True) + "\n")
        checkpoint.replace(new, folder)
    return folder


def load(
    name: str | Path, pulse: str | None = None, family: str | None = None, root: str | Path | None = None
) -> Surrogate:
    """A saved surrogate by the name of its cell, e.g. ``"open/L5_PC_1"``, or by the path of its folder.

    By name, ``pulse`` is "monophasic" and ``family`` "support" unless given; with a path, they are only compared.

    Raises
    ------
    InputError
        No such cell, pulse or family (lists what there is); a folder that holds another cell, pulse or family than
        was asked for; weights or a card that are damaged or do not belong together.
    """
    home = bundled() if root is None else Path(root)
    given = {key: str(value) for key, value in (("pulse", pulse), ("family", family)) if value is not None}
    wanted = {"cell": str(name), "pulse": PULSE, "family": FAMILY, **given}
    folder = home.joinpath(*wanted.values())
    if not (folder / CARD).is_file() and (Path(name) / CARD).is_file():
        folder, wanted = Path(name), given
    if not (folder / CARD).is_file():
        there = available(home)
        raise InputError(
            "there is no surrogate for this cell, pulse and family",
            got=", ".join(f"{key} {value!r}" for key, value in wanted.items()),
            expected="one of: " + _listed(there) if there else f"models under {home}: none",
            mend="train one with tmsjax train, or give the path of a folder that surrogate.save wrote",
        )
    card, spec = _read_card(folder)
    held = {"cell": spec.cell, "pulse": spec.pulse, "family": spec.family}
    if any(held[key] != value for key, value in wanted.items()):
        raise InputError(
            "this folder holds another model than was asked for",
            got=f"{folder}: {held}",
            expected=wanted,
            mend="ask for what the card says, or install or copy the models again",
        )
    arrays = checkpoint.load(folder / WEIGHTS)
    inside = Domain(**arrays["domain"], degree=card["domain"]["degree"], quantile=card["domain"]["quantile"])
    variables, inside = jax.tree.map(jnp.asarray, (arrays["variables"], inside))
    model = Surrogate(variables, inside, spec, json.dumps(card, sort_keys=True))
    _check_fit(model, folder)
    return model


def _listed(there: list[tuple[str, str, str]]) -> str:
    return ", ".join(f"{cell} ({pulse}, {family})" for cell, pulse, family in there)


def _check_fit(model: Surrogate, folder: Path) -> None:
    """Raise InputError unless the weights are those of the card's spec: one abstract prediction, nothing compiled."""
    n = model.spec.n
    patches = jax.ShapeDtypeStruct((2, n, n, n, 3), jnp.float32)
    try:
        shapes = [jax.eval_shape(what, model, patches).shape for what in (Surrogate.predict, Surrogate.domain_distance)]
    except (KeyError, TypeError, ValueError, IndexError) as error:
        shapes = error
    count = sum(int(np.size(leaf)) for leaf in jax.tree.leaves(model.variables))
    if shapes != [(2,), (2,)] or count != model.card.get("parameters", count):
        raise InputError(
            "these weights do not fit the spec on their card",
            got=f"{folder}: {count} parameters; {shapes if isinstance(shapes, Exception) else 'a prediction works'}",
            expected=f"{model.card.get('parameters')} parameters of {model.spec.model}",
            mend="install or copy the model again",
        )


def _read_card(folder: Path) -> tuple[dict[str, Any], SurrogateSpec]:
    try:
        card = json.loads((folder / CARD).read_text())
        spec = SurrogateSpec.from_json(card["spec"])
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
    if card.get("spec_sha256", _spec_hash(card["spec"])) != _spec_hash(card["spec"]):
        raise InputError(
            "the spec on this card has been changed",
            got=f"{folder / CARD}: {card['spec']}",
            expected=f"the spec with SHA-256 {card['spec_sha256']} that its weights were trained for",
            mend="install or copy the model again",
        )
    sums = folder / WEIGHTS / checkpoint.SUMS
    if not sums.is_file() or hashlib.sha256(sums.read_bytes()).hexdigest() != recorded:
        raise InputError(
            "these weights are not the ones on their card",
            got=f"{sums}: {'changed' if sums.is_file() else 'missing'}",
            expected=f"the SHA-256 {recorded} of the card",
            mend="install or copy the model again",
        )
    return card, spec


def _spec_hash(spec: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(spec, sort_keys=True).encode()).hexdigest()


def _domain_arrays(inside: Domain) -> dict[str, Any]:
    return {f.name: v for f in dataclasses.fields(inside) if not isinstance(v := getattr(inside, f.name), int | float)}
