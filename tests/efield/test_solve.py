import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from spheres import layered_sphere, pose_over

from tmsjax import efield
from tmsjax import head as heads
from tmsjax.coil import Coil, CoilPose, from_dipoles, primary_field
from tmsjax.core.errors import ConvergenceError, InputError
from tmsjax.core.pytree import pytree
from tmsjax.efield import medium, solve_conductivity
from tmsjax.efield.checks import rate


def relative(a, b):
    a, b = np.asarray(a), np.asarray(b)
    return np.linalg.norm(a - b) / np.linalg.norm(b)


def test_result_says_how_it_was_reached(field, head):
    assert field.status == "converged"
    assert 0 < float(field.residual) <= 1e-4
    assert 0 < int(field.iterations) < 30
    assert field.values.shape == (*head.labels.shape, 3)
    assert field.values.dtype == jnp.float32
    assert (np.asarray(field.mask) == (head.labels > 0)).all()
    assert (np.asarray(field.values)[~np.asarray(field.mask)] == 0).all()


def test_twice_the_didt_is_twice_the_field(head, coil, pose, field):
    twice = efield.solve(head, coil, pose, didt=2.0)
    assert relative(twice.values, 2 * field.values) < 1e-5
    assert (float(twice.didt), float(field.didt)) == (2.0, 1.0)
    assert dataclasses.replace(field, values=field.values).didt == field.didt


def test_reversed_current_reverses_the_field(head, coil, pose, field):
    assert relative(efield.solve(head, coil, pose, didt=-1.0).values, -field.values) < 1e-5


@pytest.mark.parametrize("didt", [1e-25, 1e18])
def test_currents_whose_squares_float32_cannot_hold(head, coil, pose, field, didt):
    """A residual of 0 / 0 would be taken for a solution."""
    found = efield.solve(head, coil, pose, didt=didt)
    assert int(found.iterations) == int(field.iterations)
    assert relative(np.asarray(found.values, float) / didt, field.values) < 1e-5


def test_no_current_no_field(head, coil, pose):
    still = efield.solve(head, coil, pose, didt=0.0)
    assert still.status == "converged"
    assert (np.asarray(still.values) == 0).all()


def test_currents_close(head, coil, pose):
    """No net current through any plane across the whole head; the primary field alone drives a good deal."""
    sigma = np.where(head.labels == 4, 0.01, np.where(head.labels > 0, 0.3, 0)).astype(np.float32)
    field = solve_conductivity(sigma, head.labels > 0, head.affine, coil, pose, tolerance=3e-5)
    voxels = np.argwhere(np.ones(sigma.shape)) @ head.affine[:3, :3].T + head.affine[:3, 3]
    primary = np.asarray(primary_field(coil, pose, voxels)).reshape(field.values.shape)

    def net_over_gross(e):
        current = [np.moveaxis(sigma * np.asarray(e)[..., axis], axis, 0)[2:-2] for axis in range(3)]
        return np.array([np.abs(j.sum((1, 2))) / np.abs(j).sum((1, 2)) for j in current])

    assert net_over_gross(field.values).max() < 1e-3
    assert net_over_gross(primary).max() > 0.1


def test_one_conductivity_scales_out(head, coil, pose, field):
    scaled = dataclasses.replace(head, conductivity={k: 3 * v for k, v in head.conductivity.items()})
    assert relative(efield.solve(scaled, coil, pose).values, field.values) < 5e-4


def test_the_operator_is_that_of_the_present_conductivity(head, coil, pose, field):
    """The trap: a solver that keeps the operator with the preconditioner ignores a changed conductivity."""
    skull = dataclasses.replace(head, conductivity={**head.conductivity, 4: 1.654})
    changed = efield.solve(skull, coil, pose)
    assert relative(changed.values, field.values) > 0.03
    # Every label the same is a homogeneous ball, whose field the labels must not influence.
    same = dataclasses.replace(head, conductivity=dict.fromkeys(head.conductivity, 0.3))
    ball = heads.from_labels(np.where(head.labels > 0, 2, 0), head.affine, {2: 0.3})
    assert relative(efield.solve(same, coil, pose).values, efield.solve(ball, coil, pose).values) < 1e-4


@pytest.fixture(scope="module")
def fine_head():
    return heads.from_labels(*layered_sphere(4.0))


@pytest.fixture(scope="module")
def fine(fine_head, coil, pose):
    """The field at 4 mm."""
    return efield.solve(fine_head, coil, pose)


def test_iterations_do_not_grow_with_resolution(fine, field):
    assert fine.status == "converged"
    assert int(fine.iterations) <= int(field.iterations) + 5


def test_partial_volumes_are_what_makes_it_accurate(fine_head, fine, coil, pose):
    """In the brain of a sphere of 4 mm voxels, against the closed form."""
    binary = efield.solve(fine_head, coil, pose, partial_volume=False)
    brain = np.isin(np.asarray(fine_head.labels), (1, 2))
    points = np.argwhere(brain) @ fine_head.affine[:3, :3].T + fine_head.affine[:3, 3]
    exact = efield.sphere_efield(coil, pose, points, np.zeros(3))
    with_shares, without = (relative(np.asarray(f.values)[brain], exact) for f in (fine, binary))
    assert with_shares < 0.05
    assert 0.1 < without < 0.25


def test_kinds_of_partial_volume(fine_head):
    """Geometric means lie below arithmetic ones; both are the label's own where there is one tissue; air thins both."""
    arithmetic, geometric, none = (
        np.asarray(efield.conductivity(fine_head, partial_volume=kind)[0])
        for kind in ("arithmetic", "geometric", "none")
    )
    assert (geometric <= arithmetic + 1e-6).all()
    assert (geometric < 0.5 * arithmetic).any()
    pure = np.abs(arithmetic - none) < 1e-6
    assert 0.5 < pure.mean() < 1
    labels = np.asarray(fine_head.labels)
    share = {n: medium.tissue_share(fine_head, n) for n in (4, 5)}
    both = (share[4] + share[5] > 0.999) & (share[4] > 0)
    expected = 0.01 ** share[4][both] * 0.25 ** share[5][both]
    np.testing.assert_allclose(geometric[both], expected, rtol=1e-4)
    skin = (labels == 5) & (share[5] < 1) & (share[4] == 0)
    np.testing.assert_allclose(geometric[skin], 0.25 * share[5][skin], rtol=1e-5)
    for kind, same in ((True, arithmetic), (False, none)):
        np.testing.assert_array_equal(efield.conductivity(fine_head, partial_volume=kind)[0], same)
    with pytest.raises(InputError, match="partial_volume"):
        efield.conductivity(fine_head, partial_volume="harmonic")


def test_mapped_over_poses_and_conductivities(head, coil, pose, field):
    """One after the other and by vmap: fields, gradients and one status for all."""

    def solved(mm, skull):
        moved = CoilPose(pose.rotation, pose.centre - mm * pose.rotation[:, 2])
        tissue = dataclasses.replace(head, conductivity={**head.conductivity, 4: skull})
        return efield.solve(tissue, coil, moved)

    def energy(mm, skull):
        found = solved(mm, skull)
        return jnp.sum(found.values**2), found

    mm, skull = jnp.asarray([0.0, 4.0]), jnp.asarray([0.01, 0.05])
    (_, both), slope = jax.vmap(jax.value_and_grad(energy, has_aux=True))(mm, skull)
    assert both.status == "converged"
    assert dataclasses.replace(both, residual=both.residual.at[1].set(jnp.nan)).status.startswith("not converged")
    assert relative(both.values[0], field.values) < 1e-4
    assert relative(both.values[1], solved(4.0, 0.05).values) < 1e-4
    assert float(slope[1]) == pytest.approx(float(energy(5.0, 0.05)[0] - energy(3.0, 0.05)[0]) / 2, rel=1e-2)


def test_other_devices_run_the_same_steps(head, coil, pose, field, monkeypatch):
    """It compiles for a GPU; and what runs there between the steps (no branch, a barrier) gives the same field."""

    def energy(centre):
        return jnp.sum(efield.solve(head, coil, CoilPose(pose.rotation, centre)).values ** 2)

    exported = jax.export.export(jax.jit(jax.grad(energy)), platforms=["cuda"])(pose.centre)
    assert exported.platforms == ("cuda",)
    assert "optimization_barrier" in exported.mlir_module()
    monkeypatch.setattr(jax.lax, "platform_dependent", lambda *a, default, **_: default(*a))
    jax.clear_caches()
    assert relative(efield.solve(head, coil, pose).values, field.values) < 1e-6
    jax.clear_caches()


def test_a_rotated_grid_gives_the_same_field(head, coil, pose, field, brain_points):
    """The voxel axes are not the world's: same anatomy on a grid turned by 90 degrees about z."""
    turn = np.eye(4)
    turn[:3, :3] = [[0, -1, 0], [1, 0, 0], [0, 0, 1]]
    turned = heads.from_labels(np.asarray(head.labels), turn @ np.asarray(head.affine))
    assert relative(efield.solve(turned, coil, pose).at(brain_points), field.at(brain_points)) < 2e-3


def test_coarsened_grid(fine_head, coil, pose, brain_points):
    """4 mm labels solved at 8 mm: exact shares of the finer labels, near the field on 8 mm labels."""
    coarse = efield.solve(fine_head, coil, pose, coarsen=2)
    assert coarse.status == "converged"
    reference = efield.sphere_efield(coil, pose, brain_points, jnp.zeros(3))
    assert relative(coarse.at(brain_points), reference) < 0.12
    np.testing.assert_allclose(np.asarray(coarse.affine)[:3, :3], np.diag([8, 8, 8]))
    # The middle of a coarse voxel is the middle of its eight.
    np.testing.assert_allclose(np.asarray(coarse.affine)[:3, 3], np.asarray(fine_head.affine)[:3, 3] + 2)


# Gradients, in float64 on a 12 mm sphere of 40 mm under a coil of 3 dipoles.


@pytree()
class Case:
    head: heads.HeadModel
    coil: Coil


@pytest.fixture
def case():
    with jax.enable_x64(True):
        labels, affine = layered_sphere(5.0, {5: 40.0, 4: 33.0, 2: 27.0})
        coil = from_dipoles([[0, 0, 0], [12, 0, -3], [-12, 0, -3]], [[0, 0, 1e-3], [3e-4, 0, 1e-3], [0, 2e-4, -1e-3]])
        yield Case(heads.from_labels(labels, affine), jax.tree.map(lambda a: jnp.asarray(a, jnp.float64), coil))


def objective(head, coil, pose):
    field = efield.solve(head, coil, pose, tolerance=1e-11)
    points = jnp.asarray([[5.0, 3, 15], [-4, 8, 10], [2, -9, 18]])
    return jnp.sum(jnp.sin(jnp.arange(9.0)).reshape(3, 3) * field.at(points))


def moved(base, p):
    """The pose moved by p[:3] mm and turned about its z axis by p[3] rad."""
    c, s, o, i = jnp.cos(p[3]), jnp.sin(p[3]), jnp.zeros_like(p[3]), jnp.ones_like(p[3])
    turn = jnp.stack([jnp.stack([c, -s, o]), jnp.stack([s, c, o]), jnp.stack([o, o, i])])
    return CoilPose(jnp.asarray(base.rotation, float) @ turn, jnp.asarray(base.centre, float) + p[:3])


def test_gradients_match_finite_differences(case):
    """Of the pose and of the conductivities; values come with gradients, so that one program is compiled, not two."""
    base = pose_over(distance_mm=55.0)

    def f(p, table):
        return objective(dataclasses.replace(case.head, conductivity=table), case.coil, moved(base, p))

    f = jax.value_and_grad(f, argnums=(0, 1))
    p = jnp.asarray([0.3, -0.5, 0.2, 0.1])
    table = {k: jnp.asarray(v, float) for k, v in case.head.conductivity.items() if k in (2, 4, 5)}
    by_pose, by_tissue = f(p, table)[1]
    step = 1e-3
    numeric = [float(f(p.at[n].add(step), table)[0] - f(p.at[n].add(-step), table)[0]) / (2 * step) for n in range(4)]
    assert relative(by_pose, numeric) < 1e-3
    for label in table:
        step = 1e-3 * float(table[label])
        up, down = ({**table, label: table[label] + s} for s in (step, -step))
        numeric = float(f(p, up)[0] - f(p, down)[0]) / (2 * step)
        assert abs(numeric) > 1e-6
        assert float(by_tissue[label]) == pytest.approx(numeric, rel=1e-2)


def test_float32_pose_gradient(head, coil, pose, brain_points):
    """The precision that users have."""
    points = brain_points[:20]

    def f(x):
        return jnp.sum(
            efield.solve(head, coil, CoilPose(pose.rotation, pose.centre + x), tolerance=3e-5).at(points) ** 2
        )

    f = jax.value_and_grad(f)
    inwards = pose.rotation[:, 2]
    slope = float(f(-1.0 * inwards)[1] @ inwards)
    assert slope > 0
    assert slope == pytest.approx(float(f(-0.5 * inwards)[0] - f(-1.5 * inwards)[0]), rel=1e-2)


def test_refined_pose_gradient(head, coil, pose, brain_points):
    """Float64 inside, though JAX has it not enabled: finite differences see the pose to five digits."""
    points = brain_points[:20]
    inwards = pose.rotation[:, 2]

    def f(mm):
        moved = CoilPose(pose.rotation, pose.centre + mm * inwards)
        return jnp.sum(efield.solve(head, coil, moved, precision="float64", tolerance=1e-9).at(points) ** 2)

    f = jax.value_and_grad(f)
    slope = float(f(-1.0)[1])
    assert slope == pytest.approx(float(f(-0.75)[0] - f(-1.25)[0]) / 0.5, rel=2e-3)


# Bad input.


def test_coil_inside_the_head(head, coil):
    with pytest.raises(InputError, match="coil inside the head"):
        efield.solve(head, coil, pose_over(distance_mm=85.0))


@pytest.mark.parametrize("value", [float("nan"), -0.1, 0.0])
def test_bad_conductivity(head, coil, pose, value):
    with pytest.raises(InputError, match="conductivity of label 3"):
        efield.solve(dataclasses.replace(head, conductivity={**head.conductivity, 3: value}), coil, pose)


def test_label_without_conductivity(head, coil, pose):
    with pytest.raises(InputError, match="no conductivity"):
        efield.solve(dataclasses.replace(head, conductivity={1: 0.1}), coil, pose)


@pytest.mark.parametrize(("value", "message"), [(np.nan, "not finite"), (-1.0, "negative"), (0.0, "zero everywhere")])
def test_bad_conductivity_map(head, coil, pose, value, message):
    mask = np.asarray(head.labels) > 0
    sigma = np.zeros(mask.shape, np.float32)
    sigma[mask] = 0 if value == 0 else 0.3
    sigma[5, 5, 5] = value
    with pytest.raises(InputError, match=message):
        solve_conductivity(jnp.asarray(sigma), mask, head.affine, coil, pose)


@pytest.mark.parametrize(("change", "message"), [("shear", "sheared"), ("reflect", "reflected"), ("nan", "not finite")])
def test_bad_pose(head, coil, pose, change, message):
    matrix = pose.matrix
    if change == "shear":
        matrix[0, 1] += 0.3
    elif change == "reflect":
        matrix[:3, 0] *= -1
    else:
        matrix[1, 3] = np.nan
    bad = CoilPose(jnp.asarray(matrix[:3, :3], jnp.float32), jnp.asarray(matrix[:3, 3], jnp.float32))
    with pytest.raises(InputError, match=message):
        efield.solve(head, coil, bad)


def test_a_conductivity_map_is_asked_as_much(head, coil, pose):
    """A pose that is not rigid, a coil in the conductor, a mask of another shape, nothing that conducts."""
    mask = np.asarray(head.labels) > 0
    sigma = np.where(mask, 0.3, 0).astype(np.float32)

    def solved(mask=mask, coil=coil, pose=pose):
        return solve_conductivity(sigma, mask, head.affine, coil, pose)

    with pytest.raises(InputError, match="reflected"):
        solved(pose=CoilPose(pose.rotation * jnp.asarray([-1.0, 1, 1]), pose.centre))
    with pytest.raises(InputError, match="coil inside the head"):
        solved(pose=pose_over(distance_mm=60.0))
    with pytest.raises(InputError, match="dipole positions are not finite"):
        solved(coil=dataclasses.replace(coil, positions=coil.positions.at[0, 0].set(jnp.inf)))
    for bad in (mask[1:], mask[0], np.where(mask, np.nan, 0)):
        with pytest.raises(InputError, match="mask of the tissue"):
            solved(mask=bad)
    for empty in (np.zeros_like(mask), ~mask):
        with pytest.raises(InputError, match="no tissue"):
            solved(mask=empty)


def test_tissue_that_does_not_conduct_has_no_field(head, coil, pose, field):
    """Where nothing conducts, currents do not say what E is."""
    mask = np.asarray(head.labels) > 0
    air = tuple(np.argwhere(~mask)[0])
    mask[air] = True
    sigma, _, affine = efield.conductivity(head, octants=True)
    found = solve_conductivity(sigma, mask, affine, coil, pose)
    assert not found.mask[air]
    np.testing.assert_array_equal(found.values[air], 0)
    assert relative(found.values, field.values) < 1e-4


def test_voxels_too_large_for_the_head(head, coil, pose):
    with pytest.raises(InputError, match="no tissue"):
        efield.solve(head, coil, pose, coarsen=100)


def test_several_poses_at_once_are_for_vmap(head, coil, pose):
    with pytest.raises(InputError, match="not one pose"):
        efield.solve(head, coil, jax.tree.map(lambda a: jnp.stack([a, a]), pose))


def test_nan_in_the_coil(head, coil, pose):
    broken = dataclasses.replace(coil, moments=coil.moments.at[3, 1].set(jnp.nan))
    with pytest.raises(InputError, match="dipole moments are not finite"):
        efield.solve(head, broken, pose)


@pytest.mark.parametrize("didt", [float("nan"), float("inf")])
def test_bad_didt(head, coil, pose, didt):
    with pytest.raises(InputError, match="didt"):
        efield.solve(head, coil, pose, didt=didt)
    mask = np.asarray(head.labels) > 0
    with pytest.raises(InputError, match="didt"):
        solve_conductivity(jnp.asarray(mask, jnp.float32), mask, head.affine, coil, pose, didt)


def test_didt_is_one_number():
    """Without the tests' type checker, which would speak first."""
    with pytest.raises(InputError, match="didt is not a scalar"):
        rate(jnp.asarray([1.0, 2.0]))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"tolerance": 1e-13}, "tolerance cannot be reached"),
        ({"tolerance": float("nan")}, "tolerance"),
        ({"tolerance": 1.0}, "asks for nothing"),
        ({"tolerance": 1e-7, "precision": "float32"}, "tolerance cannot be reached"),
        ({"precision": "double"}, "unknown precision"),
        ({"on_failure": "ignore"}, "unknown on_failure"),
    ],
)
def test_bad_options(head, coil, pose, options, message):
    with pytest.raises(InputError, match=message):
        efield.solve(head, coil, pose, **options)


def test_a_solver_that_does_not_converge(head, coil, pose, monkeypatch):
    monkeypatch.setattr("tmsjax.efield.system.MAX_ITERATIONS", 2)
    jax.clear_caches()
    with pytest.raises(ConvergenceError, match="did not converge in 2 iterations: not converged: residual"):
        efield.solve(head, coil, pose)
    poor = efield.solve(head, coil, pose, on_failure="return")
    assert poor.status.startswith("not converged")
    assert float(poor.residual) > 1e-4
    traced = jax.jit(lambda c: efield.solve(head, coil, CoilPose(pose.rotation, c)))(pose.centre)
    assert traced.status.startswith("not converged")
    jax.clear_caches()


def test_no_air_around_the_head(coil, pose):
    """Refused; a head cut by sides of the image is not."""
    labels = np.full((16, 16, 16), 2, np.uint8)
    affine = np.diag([8.0, 8, 8, 1])
    affine[:3, 3] = [-60, -60, -140]
    with pytest.raises(InputError, match="no air around the head"):
        efield.solve(heads.from_labels(labels, affine), coil, pose)
    labels[:, :, -1] = 0
    assert efield.solve(heads.from_labels(labels, affine), coil, pose).status == "converged"


def test_no_tissue(coil, pose):
    empty = heads.HeadModel(
        labels=np.zeros((4, 4, 4), np.uint8), affine=np.eye(4), conductivity={}, surfaces=None, mni_to_head=None,
        landmarks={}, name="empty",
    )  # fmt: skip
    with pytest.raises(InputError, match=r"zero everywhere|no tissue"):
        efield.solve(empty, coil, pose)


def test_labels_changed_in_place_are_other_labels(head):
    labels = np.array(head.labels)
    mine = dataclasses.replace(head, labels=labels)
    before = np.asarray(efield.conductivity(mine)[0])
    np.testing.assert_array_equal(before, efield.conductivity(head)[0])
    labels[labels == 4] = 3
    after = np.asarray(efield.conductivity(mine)[0])
    assert np.abs(after - before).max() > 1.0
