"""Neurons whose inputs to their surrogate are linear in a coil's modes: thresholds of a pose without a field on a grid.

E at every sample of a neuron's patch is a fixed linear map of the modes' amplitudes, and so are the functionals of a
support-function model, which are all that its thresholds depend on. They are worked out once (``neurons``); a pose
costs a matrix product and a smooth maximum, and everything is smooth in the pose. Of other families the samples
themselves are kept, and the whole surrogate follows.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from tmsjax.core.errors import InputError
from tmsjax.core.pytree import pytree
from tmsjax.cortex import Population
from tmsjax.efield.posemodel import PoseModel
from tmsjax.efield.posemodel_train import REACH_MM
from tmsjax.optimize.modes import mode_field
from tmsjax.surrogate import Surrogate, features, support
from tmsjax.surrogate.support import SupportSpec

FAINT = 1e-12
"""V/m per A/us below which a field has no direction."""


class Seen(NamedTuple):
    """One group of neurons at one pose.

    log_didt: (p,) logarithm of the |dI/dt| in A/us at which each fires, +inf where it never does; None if not asked.
    log_e: (p,) logarithm of |E| at its centre, V/m per A/us. weight: (p,). wanted: (p,) desired activity, 0 to 1.
    """

    log_didt: Any
    log_e: Any
    weight: Any
    wanted: Any


@pytree("layer", "role", "family")
class Neurons:
    """p neurons of one layer with a surrogate, seen through r modes.

    inputs: (p, c, r) functionals of the surrogate, or samples. centre: (p, 3, r) V/m at the centre of the patch.
    terms: (p, d, r) coefficients of the patch that say whether the surrogate knows such fields. weight, wanted: (p,).
    site: (p,) which neurons share a place. population: the neurons themselves. model: their surrogate.
    layer, role: "target" or "ring". dropped: () how many were left out because their patch leaves the pose model's
    region. In their place others stand again, with a weight of 0: the same shapes serve every target.
    """

    inputs: Any
    centre: Any
    terms: Any
    weight: Any
    wanted: Any
    site: Any
    population: Population
    model: Surrogate
    layer: str
    role: str
    family: str
    dropped: Any

    def __len__(self) -> int:
        return self.weight.shape[0]

    @property
    def counted(self) -> np.ndarray:
        """(p,) True for the neurons themselves, False for those that stand in for others."""
        return np.asarray(self.weight) > 0

    def __getitem__(self, index) -> Neurons:
        """Some of the neurons."""
        each = {name: getattr(self, name)[index] for name in ("inputs", "centre", "terms", "weight", "wanted", "site")}
        kept = {name: getattr(self, name) for name in ("model", "layer", "role", "family", "dropped")}
        return Neurons(**each, population=self.population[index], **kept)

    def see(self, amplitudes: Float[Array, " r"], polarity: Any = 1.0, thresholds: bool = True) -> Seen:
        """The neurons under amplitudes (r,) per A/us and a current of this sign (+1 or -1)."""
        centre = jnp.einsum("pxr,r->px", self.centre, amplitudes, precision="highest")
        size = jnp.sqrt(jnp.sum(centre**2, axis=1) + FAINT**2)
        log_didt = None
        if thresholds:
            product = jnp.einsum("pcr,r->pc", self.inputs, amplitudes, precision="highest")
            drive = _reciprocal(self.model, product * (polarity / size)[:, None]) * size
            log_didt = jnp.where(drive > 0, -jnp.log(jnp.where(drive > 0, drive, 1.0)), jnp.inf)
        return Seen(log_didt, jnp.log(size), self.weight, self.wanted)


def neurons(
    population: Population,
    model: Surrogate,
    reduced: PoseModel,
    *,
    role: str = "target",
    wanted: Any = None,
) -> Neurons:
    """Work out what each mode of a pose model puts into a population's surrogate.

    Args:
        population: p neurons. model: surrogate of their cell.
        reduced: pose model of a region, of few modes (``coil_modes``).
        role: "target" or "ring". wanted: (p,) desired activity; 1 of a target and 0 of a ring if not given.

    Raises:
        InputError: no neuron's samples lie in the region.
    """
    columns, inside = [], np.ones(len(population), bool)
    for mode in range(reduced.basis.shape[2]):
        *column, whole = _linear(model, model.sample(mode_field(reduced, mode), population))
        inside &= np.asarray(whole)
        columns.append([np.asarray(part) for part in column])
    if not inside.any():
        raise outside(population, reduced)
    keep = np.flatnonzero(inside)
    count, dropped = len(keep), len(population) - len(keep)
    keep = np.resize(keep, len(population))
    weight = np.asarray(population.weight, np.float32)[keep] * (np.arange(len(keep)) < count)
    wanted = np.full(len(population), float(role == "target")) if wanted is None else np.asarray(wanted, float)
    kept = population[keep]
    inputs, centre, terms = (jnp.asarray(np.stack(parts, axis=2)[keep]) for parts in zip(*columns, strict=True))
    return Neurons(
        inputs=inputs,
        centre=centre,
        terms=terms,
        weight=jnp.asarray(weight),
        wanted=jnp.asarray(wanted[keep], jnp.float32),
        site=kept.site,
        population=kept,
        model=model,
        layer=population.layer,
        role=role,
        family=model.spec.family,
        dropped=jnp.asarray(dropped),
    )


def outside(population: Population, model: PoseModel) -> InputError:
    """What to say of a population without a neuron in a pose model's region."""
    away = np.linalg.norm(np.asarray(population.positions) - np.asarray(model.centre_mm), axis=1)
    return InputError(
        "no neuron of the population lies in the pose model's domain",
        got=f"{len(population)} neurons of {population.layer}, {away.min():.0f} mm and more from its centre",
        expected=f"{float(model.reach_mm) - REACH_MM:.0f} mm or less from {np.round(model.centre_mm, 1)} mm",
        mend="a model of the target's own region: posemodel.precompute_region(head, target_mm, radius_mm)",
    )


def in_domain(group: Neurons, amplitudes: Float[Array, " r"]) -> Bool[Array, " p"]:
    """Whether the fields of amplitudes (r,) are like those that the neurons' surrogate was trained on."""
    centre = jnp.einsum("pxr,r->px", group.centre, amplitudes, precision="highest")
    size = jnp.sqrt(jnp.sum(centre**2, axis=1) + FAINT**2)
    terms = jnp.einsum("pcr,r->pc", group.terms, amplitudes, precision="highest") / size[:, None]
    n, degree = group.model.spec.n, group.model.domain.degree

    def known(coefficients: Float[Array, " d"]) -> Bool[Array, ""]:
        # A polynomial's own coefficients are all that the domain asks of a patch.
        return group.model.domain.contains(features.polynomial(coefficients, n, degree))

    return jax.lax.map(known, terms, batch_size=256)


def _members(model: Surrogate) -> tuple[SupportSpec, list[Any]] | None:
    """Spec and members of a support-function model; None of all other models."""
    spec = model.spec.model
    if not isinstance(spec, SupportSpec):
        return None
    return spec, [model.variables[f"member_{n}"] for n in range(len(spec.degrees) + spec.samples)]


@jax.jit
def _linear(model: Surrogate, samples: Float[Array, "p n n n 3"]) -> tuple[Array, Array, Array, Array]:
    """What is linear in the field: inputs (p, c), field at the centre (p, 3), terms of the domain (p, d).

    The last is whether all samples are in the region (p,).
    """
    whole = jnp.isfinite(samples).all(axis=(1, 2, 3, 4))
    samples = jnp.where(whole[:, None, None, None, None], samples, 0.0)
    degree = model.domain.degree
    found = _members(model)

    def one(patch: features.Patch) -> tuple[Array, Array, Array]:
        terms = features.coefficients(patch, degree)
        if found is None:
            return patch.reshape(-1), features.centre_field(patch), terms
        spec, members = found
        sees = [features.coefficients(patch, d) for d in spec.degrees] + [patch.reshape(-1)] * spec.samples
        drives = [jnp.matmul(own["kernel"], seen, precision="highest") for own, seen in zip(members, sees, strict=True)]
        return jnp.concatenate(drives), features.centre_field(patch), terms

    return *jax.lax.map(one, samples, batch_size=256), whole


def _reciprocal(model: Surrogate, inputs: Float[Array, "p c"]) -> Float[Array, " p"]:
    """Reciprocal thresholds (p,), m/V at the centre, of inputs in units of the field at the centre."""
    found = _members(model)
    if found is None:
        n = model.spec.n
        return 1 / model.predict(inputs.reshape(-1, n, n, n, 3))
    spec, members = found
    sharpness = jnp.exp(jnp.stack([own["log_sharpness"] for own in members]))
    drives = inputs.reshape(len(inputs), len(members), -1)

    def one(drive: Float[Array, "m k"]) -> Float[Array, ""]:
        return jnp.median(jax.vmap(lambda d, q: support.smooth_maximum(d, q, spec.form))(drive, sharpness))

    return jax.vmap(one)(drives)
