"""Inverse models (M2M-InvNet): trained on a subject's stimulations, from responses to fields; saved with a card."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float

from tmsjax.core.errors import InputError
from tmsjax.core.files import staged_folder
from tmsjax.mep.losses import init, inverse, loss
from tmsjax.mep.networks import CONVOLUTIONAL, TWO_STAGE, InverseSpec
from tmsjax.mep.preprocess import Scaling, scaling
from tmsjax.mep.tables import Tables, tables
from tmsjax.mep.types import Subject
from tmsjax.nn import Fit, TrainSpec, checkpoint, fit

PAPER_TRAINING = TrainSpec(
    epochs=300, batch=8, learning_rate=1.0, schedule="constant", optimiser="adadelta", clip=None,
    plateau_patience=5, plateau_factor=0.7, patience=20,
)  # fmt: skip
"""Section II-E; batch 16 in the authors' program."""

SHORT_TRAINING = dataclasses.replace(PAPER_TRAINING, epochs=40, batch=16)
"""What two cores finish."""

ALIVE = 0.01
"""Of a batch's output, at least this share is above 0, or training starts again from another seed."""

STARTS = 5
"""Tried at most; ``card["alive"]`` says what share the last one gave."""

CARD, WEIGHTS = "card.json", "weights"


@dataclasses.dataclass(frozen=True, eq=False)
class InverseModel:
    """A trained inverse model: ``predict`` gives fields in V/m at the mask's voxels.

    muscles: of the input, in order. mask, affine: of the output. history: of each stage's training.
    """

    spec: InverseSpec
    variables: dict[str, Any]
    scaling: Scaling
    mask: np.ndarray
    affine: np.ndarray
    muscles: tuple[str, ...]
    card: dict[str, Any]

    @cached_property
    def tables(self) -> Tables:
        """Of its mask."""
        return tables(self.mask, self.spec.last_width)

    @cached_property
    def _run(self) -> Callable[..., Any]:
        return jax.jit(lambda variables, y, key: inverse(self.spec, self.tables, variables, y, key, False).fields)

    def predict(self, responses_mv: Any, *, draws: int = 0, seed: int = 0) -> Float[np.ndarray, "n v"]:
        """Fields (n, v) in V/m for responses (n, m) in mV: of the latent's mean, or the mean of ``draws`` of it.

        The two differ (the decoder is not linear). Raises InputError for responses of another number of muscles.
        """
        if not draws:
            return self._fields(responses_mv, None)
        total = sum((f for f in self.drawn(responses_mv, draws, seed)), start=np.float32(0))
        return np.asarray(total) / np.float32(draws)

    def drawn(self, responses_mv: Any, draws: int, seed: int = 0):
        """Fields (n, v) in V/m of ``draws`` draws of the latent, one after the other; all alike without a latent."""
        for k in jax.random.split(jax.random.key(seed), draws):
            yield self._fields(responses_mv, k)

    def _fields(self, responses_mv: Any, key: Any) -> np.ndarray:
        given = np.asarray(responses_mv, float)
        if given.ndim != 2 or given.shape[1] != len(self.muscles):
            raise InputError(
                "responses of other muscles than the model's", got=f"shape {given.shape}",
                expected=f"(n, {len(self.muscles)}): {', '.join(self.muscles)}",
                mend="subject.of_muscles(model.muscles)",
            )  # fmt: skip
        y = self.scaling.responses(given)
        rows = [y[i : i + CHUNK] for i in range(0, len(y), CHUNK)]
        found = []
        for number, some in enumerate(rows):
            padded = np.concatenate([some, np.zeros((CHUNK - len(some), y.shape[1]), np.float32)])
            own = None if key is None else jax.random.fold_in(key, number)
            found.append(np.asarray(self._run(self.variables, jnp.asarray(padded), own))[: len(some)])
        return np.concatenate(found) * np.float32(self.scaling.field_v_per_m)


CHUNK = 128
"""Responses that go through a network at once."""


def train_inverse(
    subject: Subject,
    spec: InverseSpec,
    training: TrainSpec = SHORT_TRAINING,
    seed: int = 0,
    *,
    scale: Scaling | None = None,
    folder: str | Path | None = None,
    progress: Callable[[str], None] | None = None,
) -> InverseModel:
    """Train an inverse model on all stimulations of a subject (cleaned, in a box: ``clean``, ``in_box``).

    Two-stage models first learn encoder and decoder from the fields alone; the decoder (of the VAEs its first fully
    connected layer too) is then frozen. As in the paper there is no validation split: the best training loss counts.

    Args:
        subject: stimulations to train on.
        spec: the model; its voxel size must be the subject's.
        training: settings of each stage.
        seed: of the start and the order. A start whose output is dead is replaced by the next seed's, and counted.
        scale: the scaling; by default that of these stimulations.
        folder: keeps the stages' runs, to go on after a kill. progress: told of epochs.

    Raises InputError for a subject of other muscles or voxels than the spec's, and what ``tables`` refuses.
    """
    spec.check()
    if len(subject.muscles) != spec.muscles or abs(subject.voxel_mm - spec.voxel_mm) > 1e-3:
        raise InputError(
            "the subject is not what the model is for", got=f"{len(subject.muscles)} muscles, {subject.voxel_mm:g} mm",
            expected=f"{spec.muscles} muscles, voxels of {spec.voxel_mm:g} mm",
        )  # fmt: skip
    cone, scale = tables(subject.mask, spec.last_width), scaling(subject) if scale is None else scale
    examples = scale.fields(subject.fields), scale.responses(subject.responses)
    attempt = 0
    while True:
        key = jax.random.fold_in(jax.random.key(seed), attempt)
        variables, histories = init(spec, cone, key, bias=float(examples[0].mean())), {}
        where = None if folder is None else Path(folder) / f"start_{attempt}"
        for stage in stages(spec):
            out = _fit(spec, cone, stage, variables, examples, training, key, where, progress)
            variables = out.variables
            histories[stage] = {**out.history, "best_epoch": out.best_epoch, "status": out.status}
        alive = _alive(spec, cone, variables, examples[1][:CHUNK])
        if alive > ALIVE or attempt == STARTS - 1:
            break
        attempt += 1
    card = {
        "kind": "tmsjax mep inverse 1", "training": dataclasses.asdict(training), "seed": seed, "dead_starts": attempt,
        "alive": alive, "history": histories, "subject": subject.name, "synthetic": subject.synthetic,
        "stimulations": len(subject),
    }  # fmt: skip
    return InverseModel(spec, variables, scale, subject.mask, subject.affine, subject.muscles, card)


def stages(spec: InverseSpec) -> tuple[str, ...]:
    """Stages of training."""
    return ("forward", "inverse") if spec.model in TWO_STAGE else ("inverse",)


def trainable(spec: InverseSpec, stage: str, variables: dict[str, Any]) -> dict[str, bool]:
    """Which branches a stage trains: the frozen decoder of the paper's two-stage models."""
    if spec.model not in TWO_STAGE:
        free = set(variables)
    elif stage == "forward":
        free = {"encoder", "decoder", "encoder_norms", "decoder_norms"}
        free |= set() if spec.model in CONVOLUTIONAL else {"mean", "log_variance", "expand"}
    else:
        free = {"mapper", "mapper_norms"}
        free |= {"mean", "log_variance"} if spec.model == "vae_sampler_decoder" else set()
    return {name: name in free and name != "averages" for name in variables}


def _fit(spec, cone, stage, variables, examples, training, key, folder, progress) -> Fit:
    where = None if folder is None else Path(folder) / stage
    free = {
        name: jax.tree.map(lambda _, f=f: f, variables[name]) for name, f in trainable(spec, stage, variables).items()
    }
    return fit(
        loss(spec, cone, stage), variables, examples, tuple(part[:VALIDATION] for part in examples), training,
        jax.random.fold_in(key, len(stage)), batched=True, trainable=free, steps_per_call=1, folder=where,
        progress=None if progress is None else lambda text: progress(f"{stage}, {text}"),
    )  # fmt: skip


VALIDATION = 256
"""Training examples whose loss, of the latent's mean, says which epoch was best: there is no other validation."""


def _alive(spec: InverseSpec, cone: Tables, variables: dict[str, Any], y: np.ndarray) -> float:
    return float((inverse(spec, cone, variables, jnp.asarray(y), None, False).fields > 0).mean())


def save_inverse(model: InverseModel, folder: str | Path) -> Path:
    """Write a model and its card to a new or older folder, whole or not at all."""
    folder = Path(folder)
    about = {
        **model.card, "spec": dataclasses.asdict(model.spec), "muscles": list(model.muscles),
        "field_v_per_m": model.scaling.field_v_per_m, "response_mv": np.asarray(model.scaling.response_mv).tolist(),
        "shape": list(model.mask.shape), "affine": model.affine.tolist(),
    }  # fmt: skip
    with staged_folder(folder) as stage:
        mask = np.packbits(model.mask)
        checkpoint.save({"variables": _filled(model.variables), "mask": mask}, stage / WEIGHTS)
        (stage / CARD).write_text(json.dumps(about, indent=1) + "\n")
    return folder


def _filled(variables: dict[str, Any]) -> dict[str, Any]:
    """Without empty branches, which a checkpoint does not keep."""
    return {name: branch for name, branch in variables.items() if branch}


def load_inverse(folder: str | Path) -> InverseModel:
    """Read what ``save_inverse`` wrote; InputError for anything else."""
    folder = Path(folder)
    try:
        card = json.loads((folder / CARD).read_text())
        about = {
            name: card.pop(name) for name in ("spec", "muscles", "field_v_per_m", "response_mv", "shape", "affine")
        }
        spec = InverseSpec(**about["spec"]).check()
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            "this is no inverse model", got=f"{folder}: {error}", expected="a folder of tmsjax mep train"
        ) from error
    kept = checkpoint.load(folder / WEIGHTS)
    mask = np.unpackbits(kept["mask"], count=int(np.prod(about["shape"]))).reshape(about["shape"]).astype(bool)
    scale = Scaling(about["field_v_per_m"], np.asarray(about["response_mv"]))
    variables = {"averages": {}, **kept["variables"]}
    return InverseModel(spec, variables, scale, mask, np.asarray(about["affine"]), tuple(about["muscles"]), card)
