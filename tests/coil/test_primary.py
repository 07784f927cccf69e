import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads
from scipy.spatial.transform import Rotation

from tmsjax.coil import CoilPose, from_dipoles, primary_field
from tmsjax.coil import primary as module
from tmsjax.coil.primary import vector_potential
from tmsjax.core.units import DIPOLE_A

RNG = np.random.default_rng(0)
Q = RNG.uniform([-70, -50, -10], [70, 50, 10], (40, 3))
M = RNG.normal(size=(40, 3)) * 1e-4


def direct(q, m, r):
    d = r[:, None] - q
    return (np.cross(m, d) / np.linalg.norm(d, axis=2, keepdims=True) ** 3).sum(1)


@pytest.mark.parametrize("n", [1, 5, module.CHUNK, module.CHUNK + 1, 3 * module.CHUNK + 7])
def test_matches_the_sum_over_dipoles(n):
    r = RNG.uniform([-60, -60, 15], [60, 60, 80], (n, 3))
    expected = direct(Q, M, r)
    single = jax.jit(vector_potential)(*(jnp.asarray(a, jnp.float32) for a in (Q, M, r)))
    assert np.abs(single - expected).max() < 3e-5 * np.abs(expected).max()


def test_in_the_world():
    """Turned and moved far from the origin: -dA/dt of the moved dipoles, linear in dI/dt."""
    rotation, centre = Rotation.from_rotvec([0.3, -1.2, 0.7]).as_matrix(), np.array([150.0, -90, 200])
    pose = CoilPose(jnp.asarray(rotation, jnp.float32), jnp.asarray(centre, jnp.float32))
    r = RNG.uniform([-60, -60, 15], [60, 60, 80], (50, 3)) @ rotation.T + centre
    expected = -DIPOLE_A * 3.0 * direct(Q @ rotation.T + centre, M @ rotation.T, r)
    found = np.asarray(primary_field(from_dipoles(Q, M), pose, r, didt=3.0))
    assert np.abs(found - expected).max() < 2e-5 * np.abs(expected).max()


def test_a_dipole_on_its_axis_has_no_potential():
    coil = from_dipoles([[0, 0, 0]], [[0, 0, 1e-3]])
    field = primary_field(coil, CoilPose.from_matrix(np.eye(4)), [[0, 0, 20.0], [10.0, 0, 0]])
    # A = mu0/4pi m x r / r^3: 1e5 * 1e-3 * 10 / 1000 = 1 V/m per A/us, along -(z x x) = -y.
    np.testing.assert_allclose(field, [[0, 0, 0], [0, -1, 0]], atol=1e-6)


@pytest.mark.parametrize("chunk", [8, 1024])
def test_reverse_mode(chunk, monkeypatch):
    monkeypatch.setattr(module, "CHUNK", chunk)
    with jax.enable_x64(True):
        r = RNG.uniform([-60, -60, 15], [60, 60, 80], (21, 3))
        check_grads(
            lambda *a: vector_potential(*map(jnp.asarray, a)),
            (Q[:9], M[:9] * 1e4, r),
            order=1,
            modes=["rev"],
            rtol=1e-5,
        )


def test_reverse_mode_of_many_points():
    """Against forward differences of plain JAX, float32, in batches that jaxlib 0.10.2 miscompiled (jax#39103)."""
    r = jnp.asarray(RNG.uniform([-60, -60, 15], [60, 60, 80], (2500, 3)), jnp.float32)
    g = jnp.asarray(RNG.normal(size=(2500, 3)), jnp.float32)
    q, m = jnp.asarray(Q, jnp.float32), jnp.asarray(M, jnp.float32)
    ours = jax.jit(jax.grad(lambda *a: jnp.vdot(g, vector_potential(*a)), argnums=(0, 1, 2)))(q, m, r)
    with jax.enable_x64(True):
        wide = [jnp.asarray(np.asarray(a), jnp.float64) for a in (q, m, r, g)]

        def plain(q, m, r):
            d = r[:, None] - q
            return jnp.vdot(wide[3], (jnp.cross(m, d) / jnp.sum(d * d, 2, keepdims=True) ** 1.5).sum(1))

        theirs = [np.asarray(a) for a in jax.grad(plain, argnums=(0, 1, 2))(*wide[:3])]
    for a, b in zip(ours, theirs, strict=True):
        assert np.linalg.norm(np.asarray(a) - b) < 1e-4 * np.linalg.norm(b)
