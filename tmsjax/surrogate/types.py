"""A surrogate: trained variables with the static description of what they predict."""

from __future__ import annotations

import dataclasses
import json
from functools import cached_property, partial
from typing import Any, NamedTuple

import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from jaxtyping import Bool, Float

from tmsjax import cortex
from tmsjax.core.errors import InputError
from tmsjax.core.pytree import pytree
from tmsjax.cortex import Population, Voxels
from tmsjax.efield import EField, MeshField
from tmsjax.nn import in_chunks
from tmsjax.surrogate import cnn, features, median, support, uniform, weise
from tmsjax.surrogate.cnn import CnnSpec
from tmsjax.surrogate.domain import Domain
from tmsjax.surrogate.median import MedianSpec
from tmsjax.surrogate.support import SupportSpec
from tmsjax.surrogate.uniform import UniformSpec
from tmsjax.surrogate.weise import WeiseSpec

SAME_MM = 1e-4
"""Within this, the side or the shift of a grid is the same."""

CHUNK = {"cpu": 512, "gpu": 65536, "tpu": 65536}
"""Patches that one compiled call takes: millions stream through bounded memory, and 512 stay in a CPU's cache."""

FAMILIES = {
    "support": (SupportSpec, support.thresholds),
    "fast": (SupportSpec, support.thresholds),
    "cnn": (CnnSpec, cnn.thresholds),
    "uniform": (UniformSpec, uniform.thresholds),
    "weise": (WeiseSpec, weise.thresholds),
    "median": (MedianSpec, median.thresholds),
}
"""Family -> (its spec, ``thresholds(spec, variables, patches (b, n, n, n, 3)) -> (b,)``, V/m at the centre).

``fast`` is a support function of 64 samples, for whole gyri."""


PREPARED: dict[str, Any] = {"cnn": cnn.prepared}
"""Family -> ``prepared(spec, variables, n)``: variables that a CPU predicts faster with."""


class Responses(NamedTuple):
    """What a surrogate has to say of patches (b,): ``Surrogate.respond``."""

    threshold: Float[Any, " b"]
    """V/m at the centre, NaN where not ``ok``; not finite where the field drives nothing."""
    magnitude: Float[Any, " b"]
    """|E| at the centre, in the patch's unit; NaN where not ``ok``."""
    in_domain: Bool[Any, " b"]
    ok: Bool[Any, " b"]
    """Every sample is finite, and there is a field at the centre."""


@dataclasses.dataclass(frozen=True)
class SurrogateSpec:
    """What a surrogate predicts and from what: hashable, written to its card.

    The patch has ``n`` samples a side on ``linspace(-side_mm/2, side_mm/2, n)`` along each axis of the cell frame,
    its centre ``z_shift_mm`` above the soma.
    """

    cell: str
    pulse: str = "monophasic"
    n: int = 9
    side_mm: float = 1.5
    z_shift_mm: float = 0.0
    model: SupportSpec | CnnSpec | UniformSpec | WeiseSpec = dataclasses.field(default_factory=SupportSpec)
    family: str = "support"

    def check(self) -> SurrogateSpec:
        """Return self, or raise InputError."""
        if self.family not in FAMILIES:
            raise InputError("no such family of surrogates", got=self.family, expected=" or ".join(FAMILIES))
        if self.n < 2 or self.side_mm <= 0:
            raise InputError("no such grid", got=(self.n, self.side_mm), expected="n >= 2 samples a side, side_mm > 0")
        kind = FAMILIES[self.family][0]
        if not isinstance(self.model, kind):
            raise InputError(f"this is no model of the family {self.family}", got=self.model, expected=kind.__name__)
        self.model.check(self.n)
        return self

    def check_grid(self, side_mm: float | None = None, z_shift_mm: float | None = None) -> None:
        """Raise InputError where patches were sampled with another side or shift than this model's."""
        for what, got, own in (("side", side_mm, self.side_mm), ("shift along z", z_shift_mm, self.z_shift_mm)):
            if got is not None and not abs(got - own) <= SAME_MM:
                raise InputError(
                    f"patches of another {what} than the model's",
                    got=f"{got:g} mm",
                    expected=f"{own:g} mm, {self.n} samples a side",
                    mend="model.sample(field, population)",
                )

    def to_json(self) -> dict[str, Any]:
        """Plain dict of every field."""
        return dataclasses.asdict(self)

    @staticmethod
    def from_json(d: dict[str, Any]) -> SurrogateSpec:
        """Inverse of ``to_json``, also after a round trip through JSON text."""
        kind = FAMILIES[d["family"]][0] if d.get("family") in FAMILIES else SupportSpec
        model: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in d["model"].items()}
        return SurrogateSpec(**{**d, "model": kind(**model)}).check()


@pytree("spec", "card_json")
class Surrogate:
    """A trained threshold model of one cell and pulse. Pure: predictions depend on the patch alone, not its scale."""

    variables: Any
    domain: Domain
    spec: SurrogateSpec
    card_json: str = "{}"

    @property
    def card(self) -> dict[str, Any]:
        """What the model was trained on and how it scored (see ``tmsjax.surrogate.zoo``)."""
        return json.loads(self.card_json)

    @cached_property
    def ready(self) -> Any:
        """The variables to predict with: on a CPU, a network's kernels are transformed once for all calls (18 MB)."""
        prepare, leaves = PREPARED.get(self.spec.family), jax.tree.leaves(self.variables)
        if prepare is None or jax.default_backend() != "cpu" or any(isinstance(x, jax.core.Tracer) for x in leaves):
            return self.variables
        with jax.ensure_compile_time_eval():
            return prepare(self.spec.model, self.variables, self.spec.n)

    def respond(self, patches: Float[Any, "b n n n 3"]) -> Responses:
        """Threshold, magnitude and domain at once, for compiled functions; NaN where ``predict`` raises."""
        return respond(self.spec, self.ready, self.domain, patches)

    def sample(self, field: EField | MeshField | Voxels, population: Population) -> Float[Any, "p n n n 3"]:
        """The field round every neuron on this model's own grid: patches that fit ``predict``, NaN off the tissue."""
        spec = self.spec
        return _sample(field, population, spec.side_mm, spec.z_shift_mm, spec.n)

    def predict(
        self, patches: Any, chunk: int | None = None, *, side_mm: float | None = None, z_shift_mm: float | None = None
    ) -> Float[Any, " b"]:
        """Thresholds (b,), V/m at the centre of patches (b, n, n, n, 3), float32.

        Differentiable in ``patches`` and free of their scale. Outside a jax transformation, patches may be a numpy
        array or memory map of any length: ``chunk`` patches at a time (default: CHUNK of the device) go through one
        compiled call. ``side_mm`` and ``z_shift_mm`` say how patches were sampled that come from elsewhere than
        ``sample``: those of another grid are refused.

        Raises
        ------
        InputError
            Wrong shape, side or shift; or, outside a jax transformation, samples that are not finite or no field at
            the centre (inside one, those thresholds are NaN).
        """
        self.spec.check_grid(side_mm, z_shift_mm)
        return self._run("field", patches, chunk)

    def scale(self, patches: Any, chunk: int | None = None) -> Float[Any, " b"]:
        """Factor by which to multiply the field to reach threshold: A/us where the patch is in V/m per A/us.

        ``predict / |field at the centre|``, so ``scale(c * patch) = scale(patch) / c``. Raises as ``predict``.
        """
        return self._run("scale", patches, chunk)

    def in_domain(self, patches: Any, chunk: int | None = None) -> Bool[Any, " b"]:
        """Whether each patch is like those of the training set (see ``tmsjax.surrogate.domain``)."""
        return self._run("in_domain", patches, chunk)

    def domain_distance(self, patches: Any, chunk: int | None = None) -> Float[Any, " b"]:
        """How unlike the training set each patch is: about 1 for a typical one of it, ``domain.limit`` at its edge.

        Infinite where a patch cannot be normalised. ``in_domain`` is where this is not above ``domain.limit``.
        """
        return self._run("distance", patches, chunk)

    def _run(self, what: str, patches: Any, chunk: int | None) -> Any:
        _check_shape(patches, self.spec.n)
        chunk = chunk or CHUNK[jax.default_backend()]
        if isinstance(patches, jax.core.Tracer) or any(isinstance(x, jax.core.Tracer) for x in jax.tree.leaves(self)):
            part = partial(_part, self.spec, what, self.ready, self.domain)
            return in_chunks(part, jnp.asarray(patches, jnp.float32), chunk)
        return _stream(self, what, patches, chunk)


def _part(spec: SurrogateSpec, what: str, variables: Any, domain: Domain, patches: jax.Array) -> jax.Array:
    unit = jax.vmap(features.normalise)(patches)
    if what == "in_domain":
        return unit.ok & jax.vmap(domain.contains)(unit.patch)
    if what == "distance":
        distance = jax.vmap(domain.distance)(unit.patch)  # NaN too where XLA's maximum has lost a NaN of the patch
        return jnp.where(unit.ok & ~jnp.isnan(distance), distance, jnp.inf)
    threshold = FAMILIES[spec.family][1](spec.model, variables, unit.patch)
    return threshold / unit.magnitude if what == "scale" else threshold


def respond(spec: SurrogateSpec, variables: Any, domain: Domain, patches: Float[Any, "b n n n 3"]) -> Responses:
    """``Surrogate.respond`` as a plain function; of variables that are ``ready``."""
    unit = jax.vmap(features.normalise)(patches)
    threshold = FAMILIES[spec.family][1](spec.model, variables, unit.patch)
    return Responses(threshold, unit.magnitude, unit.ok & jax.vmap(domain.contains)(unit.patch), unit.ok)


_sample: Any = jax.jit(cortex.patches, static_argnames=("side_mm", "z_shift_mm", "n"))

_block = jax.jit(_part, static_argnums=(0, 1))


def _stream(model: Surrogate, what: str, patches: Any, chunk: int) -> Any:
    parts = []
    for start in range(0, patches.shape[0], chunk):
        block = patches if patches.shape[0] <= chunk else patches[start : start + chunk]
        block = block.astype(np.float32) if isinstance(block, np.ndarray) else jnp.asarray(block, jnp.float32)
        rows = block.shape[0]
        padded = min(chunk, 1 << (rows - 1).bit_length())
        if padded > rows:  # Few sizes are ever compiled.
            xp = np if isinstance(block, np.ndarray) else jnp
            block = xp.concatenate([block, xp.ones((padded - rows, *block.shape[1:]), np.float32)])
        result = _block(model.spec, what, model.ready, model.domain, block)
        result = result[:rows] if padded > rows else result
        if what in ("field", "scale"):
            _check_result(result, patches, start)
        parts.append(result)
    empty = np.zeros(0, bool if what == "in_domain" else np.float32)
    if len(parts) == 1:
        return parts[0]
    return jnp.concatenate(parts) if parts else jnp.asarray(empty)


def _check_result(result: jax.Array, patches: Any, start: int) -> None:
    bad = np.flatnonzero(np.isnan(np.asarray(result)))
    if not bad.size:
        return
    patch = np.asarray(patches[start + int(bad[0])])
    finite = np.isfinite(patch)
    if not finite.all():
        raise InputError(
            "field samples are not finite",
            got=f"{(~finite).sum()} of {finite.size} in patch {start + bad[0]} ({bad.size} such patches in its block)",
            expected="finite field samples",
            mend="leave out neurons whose patch leaves the head; see Population and EField.inside",
        )
    raise InputError(
        "there is no field at the centre of a patch, so it has no direction and no scale",
        got=f"patch {start + bad[0]}: {np.asarray(features.centre_field(jnp.asarray(patch))).tolist()} V/m",
        expected="a field at the soma that is not zero",
        mend="leave out neurons outside the conductor, or give the field in any unit in which it is not zero",
    )


def _check_shape(patches: Any, n: int) -> None:
    shape = getattr(patches, "shape", None)
    if shape is None or len(shape) != 5 or tuple(shape[1:]) != (n, n, n, 3):
        raise InputError(
            "patches have the wrong shape",
            got=shape if shape is not None else type(patches).__name__,
            expected=f"(b, {n}, {n}, {n}, 3): the axes x, y, z of the cell frame, then the components",
            mend="model.sample(field, population)",
        )
