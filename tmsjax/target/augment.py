"""Random views of a volume at training time: turned and moved (section 2.3), and, beyond the paper, scaled and dimmed.

Only the grids of the crops are turned, and the points with them, by the inverse: see ``network.View``.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from tmsjax.target.network import View


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """SDs of what is drawn: degrees about each axis and mm along it; scale, gain and gamma as logarithms.

    The paper turns and moves, by 10 degrees and 10 mm, and does no more.
    """

    rotate_deg: float = 10.0
    move_mm: float = 10.0
    scale: float = 0.0
    gain: float = 0.0
    gamma: float = 0.0


PAPER = Augmentation()
WIDER = Augmentation(scale=0.06, gain=0.08, gamma=0.15)
"""Also sizes and contrasts: few real heads have few of these."""


def draw(spec: Augmentation, key: jax.Array, side: int) -> View:
    """A random view of a volume ``side`` mm long, about its middle."""
    keys = jax.random.split(key, 5)
    turn = rotation(jnp.deg2rad(spec.rotate_deg) * jax.random.normal(keys[0], (3,)))
    matrix = turn * jnp.exp(spec.scale * jax.random.normal(keys[1], (3,)))
    middle = jnp.full(3, (side - 1) / 2)
    offset = middle + spec.move_mm * jax.random.normal(keys[2], (3,)) - matrix @ middle
    gain, gamma = (jnp.exp(sd * jax.random.normal(k)) for sd, k in zip((spec.gain, spec.gamma), keys[3:], strict=True))
    return View(matrix, offset, gain, gamma)


def still() -> View:
    """The view that changes nothing."""
    return View(jnp.eye(3), jnp.zeros(3), jnp.float32(1), jnp.float32(1))


def rotation(vector: Float[Array, 3]) -> Float[Array, "3 3"]:
    """Rotation about ``vector`` by its length in radians (Rodrigues)."""
    x, y, z = vector
    cross = jnp.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    angle2 = (vector**2).sum()
    small = angle2 < 1e-8
    angle = jnp.sqrt(jnp.where(small, 1.0, angle2))
    a = jnp.where(small, 1.0, jnp.sin(angle) / angle)
    b = jnp.where(small, 0.5, (1 - jnp.cos(angle)) / angle**2)
    return jnp.eye(3) + a * cross + b * cross @ cross


def seen(view: View, places: Float[Array, "*p 3"]) -> Float[Array, "*p 3"]:
    """Places of the volume -> where the view shows them."""
    return jnp.linalg.solve(view.matrix, (places - view.offset)[..., None])[..., 0]


def unseen(view: View, places: Float[Array, "*p 3"]) -> Float[Array, "*p 3"]:
    """The way back: places that the network found in a view -> places of the volume."""
    return places @ view.matrix.T + view.offset
