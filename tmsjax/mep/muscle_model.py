"""What each muscle does in a field, learned from stimulations: a likelihood of responses for any field.

A muscle's drive is a weighted mean of |E| over parcels of the motor cortex; its response follows a sigmoid in the
logarithm of the drive, up to a plateau. Noise has a part in the drive that all muscles of a trial share (integrated by
Gauss-Hermite nodes), a private part in the drive and one in the logarithm of the response; responses below 50 uV are
censored, not zeros. Everything is learned from the stimulations at hand, nothing is taken from how they were made.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.stats import norm
from jaxtyping import Array, Float, Int
from scipy.cluster.vq import kmeans2

from tmsjax.core.errors import InputError
from tmsjax.mep.preprocess import ACTIVE_MV
from tmsjax.mep.types import Subject
from tmsjax.nn import TrainSpec, fit

PARCELS, POINTS = 40, 6
"""Parcels of the mask, and voxels of each at which the field is taken."""

NODES, WEIGHTS = np.polynomial.hermite_e.hermegauss(5)
LOG_WEIGHTS = np.log(WEIGHTS / WEIGHTS.sum())

TRAINING = TrainSpec(epochs=120, batch=64, learning_rate=0.03, schedule="cosine", clip=None)

SPREAD = 1e-3
"""Penalty of parcels' weights away from equal ones, a stimulation."""


class Parcels(NamedTuple):
    """Voxels (p, k) of the mask at which each of p parcels takes the field."""

    voxels: Int[np.ndarray, "p k"]

    def of(self, fields: Any) -> Float[Any, "... p"]:
        """Mean |E| (..., p) of parcels from fields at the mask's voxels (..., v)."""
        return fields[..., self.voxels].mean(-1)


class MuscleModel(NamedTuple):
    """A fitted likelihood; ``variables`` as ``_log_mv`` takes them, ``scale`` in V/m, ``names`` of the muscles."""

    variables: dict[str, Any]
    parcels: Parcels
    scale: float
    names: tuple[str, ...]

    def log_likelihood(self, parcel_fields: Float[Any, "b p"], responses_mv: Float[Any, "b m"]) -> Float[Array, " b"]:
        """Log-likelihood (b,) of responses in mV in fields of parcels (b, p) V/m; differentiable in these."""
        return jax.vmap(lambda e, y: _trial(self.variables, e / self.scale, y))(parcel_fields, responses_mv)

    def median_mv(self, parcel_fields: Float[Any, "b p"]) -> Float[Array, "b m"]:
        """Responses (b, m) in mV without noise; what is below 50 uV is not seen."""
        return 10 ** _log_mv(self.variables, jnp.asarray(parcel_fields) / self.scale, 0.0)[0]


def parcels(voxels_mm: Any, count: int = PARCELS, seed: int = 0) -> Parcels:
    """Parcels of compact shape (k-means), each with the ``POINTS`` voxels that are spread best over it.

    Raises InputError for fewer voxels than parcels.
    """
    at = np.asarray(voxels_mm, float)
    if len(at) < count:
        raise InputError("parcels of the mask", got=f"{count} of {len(at)} voxels", expected="at least a voxel each")
    centres, label = kmeans2(at, count, minit="++", seed=seed)  # pyright: ignore[reportCallIssue]
    chosen = []
    for k in np.unique(label):
        rows = np.flatnonzero(label == k)
        order = rows[np.argsort(np.linalg.norm(at[rows] - centres[k], axis=1))]
        chosen.append(np.resize(order[np.linspace(0, len(order) - 1, min(POINTS, len(order))).astype(int)], POINTS))
    return Parcels(np.stack(chosen))


def fit_muscles(subject: Subject, seed: int = 0, training: TrainSpec = TRAINING) -> MuscleModel:
    """Fit the likelihood to a subject's stimulations by its maximum; responses of 0 are below 50 uV."""
    found = parcels(subject.voxels_mm, min(PARCELS, int(subject.mask.sum())), seed)
    fields = np.asarray(found.of(subject.fields), np.float32)
    scale = float(np.median(fields.max(1)))
    m = len(subject.muscles)
    top = np.log10(np.maximum(subject.responses.max(0), 2 * ACTIVE_MV))
    start = {
        "weights": jnp.zeros((fields.shape[1], m)),
        "threshold": jnp.full(m, float(np.log(np.median(fields.mean(1)) / scale))),
        "plateau": jnp.asarray(top, jnp.float32),
        "slope": jnp.full(m, np.log(4.0).astype(np.float32)),
        "log_noise": jnp.asarray(np.log([0.1, 0.06, 0.04]), jnp.float32),
    }
    examples = fields / np.float32(scale), subject.responses.astype(np.float32)

    def loss(variables: dict[str, Any], example: tuple[Array, Array]) -> Array:
        spread = ((variables["weights"] - variables["weights"].mean(0)) ** 2).sum()
        return SPREAD * spread - _trial(variables, *example)

    done = fit(loss, start, examples, examples, training, jax.random.key(seed))
    return MuscleModel(done.variables, found, scale, subject.muscles)


FLOOR = -2.0
"""log10 of the mV that no drive at all evokes (10 uV, the recording's noise)."""


def _log_mv(v: dict[str, Any], fields: Float[Array, "... p"], shift: Any) -> tuple[Array, Array]:
    """log10 of the median response in mV (..., m) at a shift of the log of the drive, and its slope in that."""
    drive = jnp.log(jnp.maximum(fields @ jax.nn.softmax(v["weights"], axis=0), 1e-9)) + shift
    steep, height = jnp.exp(v["slope"]), v["plateau"] - FLOOR
    part = jax.nn.sigmoid(steep * (drive - v["threshold"]))
    return FLOOR + height * part, height * part * (1 - part) * steep


def _trial(v: dict[str, Any], fields: Float[Array, " p"], y: Float[Array, " m"]) -> Float[Array, ""]:
    """Log-likelihood of one trial: a mixture over the nodes of the shared noise."""
    response, private, shared = jnp.exp(v["log_noise"])
    log_v, slope = _log_mv(v, fields, shared * jnp.asarray(NODES, jnp.float32)[:, None])
    each = censored(log_v, jnp.sqrt(response**2 + (private * slope) ** 2), y)
    return jax.scipy.special.logsumexp(each.sum(1) + jnp.asarray(LOG_WEIGHTS, jnp.float32))


def censored(log_mv: Float[Array, "*n m"], deviation: Float[Array, "*n m"], y: Float[Array, " m"]) -> Array:
    """Log-density of log10 of responses y in mV, or, where y is 0, of being below 50 uV."""
    seen = norm.logpdf(jnp.log10(jnp.maximum(y, ACTIVE_MV)), log_mv, deviation)
    return jnp.where(y > 0, seen, norm.logcdf((np.log10(ACTIVE_MV) - log_mv) / deviation))


def of_subject(model: MuscleModel, subject: Subject) -> Float[np.ndarray, " n"]:
    """Log-likelihood of each of a subject's stimulations in its own field."""
    fields = jnp.asarray(model.parcels.of(subject.fields))
    run = jax.jit(lambda e, y: model.log_likelihood(e, y))
    return np.asarray(run(fields, jnp.asarray(subject.responses, jnp.float32)))
