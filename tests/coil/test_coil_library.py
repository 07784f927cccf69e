import jax
import jax.numpy as jnp
import numpy as np
import pytest
from dipoles import flux_density

from tmsjax.coil import BUNDLED, CoilPose, from_dipoles, load, primary_field
from tmsjax.core.errors import InputError

AT_ORIGIN = CoilPose.from_matrix(np.eye(4))


def plane(z_mm):
    x = np.linspace(-60, 60, 21)
    return np.stack(np.meshgrid(x, x, [z_mm], indexing="ij"), -1).reshape(-1, 3)


def relative(a, b):
    a, b = np.asarray(a), np.asarray(b)
    return np.linalg.norm(a - b) / np.linalg.norm(b)


@pytest.mark.parametrize("name", sorted(BUNDLED))
def test_bundled_coils_are_figures_of_eight(name):
    coil = load(name)
    moments, positions = np.asarray(coil.moments), np.asarray(coil.positions)
    assert coil.name == name
    assert 800 < len(moments) < 1600
    one, other = (moments[np.sign(moments[:, 2]) == s].sum(0) for s in (1, -1))
    assert one[2] == pytest.approx(-other[2], rel=0.05)
    np.testing.assert_allclose(positions[:, 1].mean(), 0, atol=1e-3)
    assert np.ptp(np.asarray(coil.windings)[:, 0]) > 150


def test_published_centroids_of_the_mc_b70():
    """Thielscher & Kammer 2004: wing centroids at x = +-29 mm; inner and outer diameter 24 and 108 mm."""
    coil = load("MagVenture_MC_B70")
    positions, moments = np.asarray(coil.positions), np.asarray(coil.moments)
    for sign, x in ((1, -29), (-1, 29)):
        wing = np.sign(moments[:, 2]) == sign
        weight = np.linalg.norm(moments[wing], axis=1)
        assert (positions[wing, 0] * weight).sum() / weight.sum() == pytest.approx(x, abs=0.8)
    assert np.ptp(np.asarray(coil.windings)[:, 1]) == pytest.approx(104, abs=0.2)


@pytest.mark.parametrize(("name", "direction"), [("MagVenture_MC_B70", -1), ("Magstim_70mm_Fig8", 1)])
def test_direction_of_the_field_under_the_centre(name, direction):
    e = np.asarray(primary_field(load(name), AT_ORIGIN, [[0.0, 0.0, 20.0]]))[0]
    assert np.sign(e[1]) == direction
    assert abs(e[1]) > 1.0
    assert np.abs(e[[0, 2]]).max() < 1e-3 * abs(e[1])


@pytest.mark.shared
@pytest.mark.parametrize(
    ("name", "b_bar", "e_bar"), [("MagVenture_MC_B70", 0.02, 0.035), ("Magstim_70mm_Fig8", 0.01, 0.005)]
)
def test_generated_coils_against_simnibs_files(shared, name, b_bar, e_bar):
    """-dA/dt and B on planes 15 to 30 mm below the casing. The .ccd cells that cross a fold are not cut there."""
    mine, theirs = load(name), load(shared / "efield" / f"{name}.ccd")
    for z in (15.0, 20.0, 30.0):
        points = plane(z)
        assert relative(*(flux_density(c.positions, c.moments, points) for c in (mine, theirs))) < b_bar
        assert relative(*(primary_field(c, AT_ORIGIN, points) for c in (mine, theirs))) < e_bar


def test_unknown_names():
    with pytest.raises(InputError, match="MagVenture_MC_B70"):
        load("MC-B71")


def test_dipoles_of_your_own_are_checked():
    with pytest.raises(InputError, match="not finite"):
        from_dipoles([[0, 0, np.nan]], [[0, 0, 1]])
    with pytest.raises(InputError, match="shape"):
        from_dipoles([[0, 0]], [[0, 0, 1]])
    with pytest.raises(InputError, match="position and a moment"):
        from_dipoles([[0, 0, 0], [1, 0, 0]], [[0, 0, 1]])


# .ccd files

GOOD = "# Test\n2\n# centers and weighted directions\n-0.01 0 -0.001 1e-6 0 2e-6\n0.01 0 -0.001 -1e-6 0 -2e-6\n"


def write(tmp_path, text):
    path = tmp_path / "my.ccd"
    path.write_text(text)
    return path


def test_ccd(tmp_path):
    coil = load(write(tmp_path, GOOD))
    assert coil.name == "my"
    np.testing.assert_allclose(coil.positions, [[-10, 0, -1], [10, 0, -1]], rtol=1e-6)
    np.testing.assert_allclose(coil.moments, [[1e-6, 0, 2e-6], [-1e-6, 0, -2e-6]], rtol=1e-6)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "empty"),
        ("# only a comment\n", "empty"),
        ("two\n0 0 0 0 0 1\n", "count"),
        ("0\n", "count"),
        ("2\n0 0 0 0 0 1\n", "another number of dipoles"),
        ("1\n0 0 0 0 1\n", "my.ccd:2"),
        ("1\n0 0 0 0 0 x\n", "malformed"),
        ("1\n0 0 0 0 0 nan\n", "malformed"),
    ],
)
def test_malformed_ccd(tmp_path, text, message):
    with pytest.raises(InputError, match=message):
        load(write(tmp_path, text))


def test_missing_and_binary_ccd(tmp_path):
    with pytest.raises(InputError, match="not found"):
        load(tmp_path / "none.ccd")
    (tmp_path / "b.ccd").write_bytes(b"\xff\xfe\x00\x81")
    with pytest.raises(InputError, match="not text"):
        load(tmp_path / "b.ccd")


# Poses


def test_pose_round_trip():
    matrix = np.eye(4)
    matrix[:3, :3] = [[0, -1, 0], [1, 0, 0], [0, 0, 1]]
    matrix[:3, 3] = [10, -20, 30]
    pose = CoilPose.from_matrix(matrix)
    np.testing.assert_array_equal(pose.matrix, matrix)
    np.testing.assert_array_equal(jax.tree.map(lambda a: a + 0, pose).matrix, matrix)


@pytest.mark.parametrize(("column", "factor", "message"), [(0, -1, "reflected"), (2, 2, "scaled")])
def test_bad_pose_matrix(column, factor, message):
    matrix = np.eye(4)
    matrix[:3, column] *= factor
    with pytest.raises(InputError, match=message):
        CoilPose.from_matrix(matrix)
    sheared = np.eye(4)
    sheared[0, 1] = 0.2
    with pytest.raises(InputError, match="sheared"):
        CoilPose.from_matrix(sheared)


def test_pose_is_a_pytree():
    stacked = jax.tree.map(lambda a: jnp.stack([a, 2 * a]), AT_ORIGIN)
    assert jax.vmap(lambda p: p.rotation.sum())(stacked).tolist() == [3.0, 6.0]
