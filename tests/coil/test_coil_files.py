"""Coil files of SimNIBS: read, written, and refused where they are malformed."""

import base64
import json
import zlib

import nibabel
import numpy as np
import pytest

from tmsjax.coil import from_dipoles, from_wires, load, save
from tmsjax.coil.fit import brain_points, dipole_potential
from tmsjax.coil.geometry import circle
from tmsjax.coil.sampled import from_samples, write_sampled
from tmsjax.coil.wires import wire_potential
from tmsjax.core.errors import InputError
from tmsjax.core.units import MU0_OVER_4PI

Q = np.array([[-10.0, 0, -5], [10, 5, -6], [0, -20, -7]])
M = np.array([[1e-5, 0, 2e-4], [0, 3e-5, -2e-4], [0, 0, 1e-4]])


def potential(coil, points):
    return dipole_potential(np.asarray(coil.positions, float), np.asarray(coil.moments, float), points)


def relative(a, b):
    return np.linalg.norm(a - b) / np.linalg.norm(b)


@pytest.mark.parametrize("suffix", [".ccd", ".tcd"])
def test_dipoles_make_the_round_trip(tmp_path, suffix):
    coil = from_dipoles(Q, M, name="my coil")
    coil = type(coil)(
        coil.positions, coil.moments, coil.windings, coil.name, stimulators=(("X100", 162.5), ("R30", 90.0))
    )
    save(coil, tmp_path / f"a{suffix}")
    back = load(tmp_path / f"a{suffix}")
    np.testing.assert_allclose(back.positions, Q, rtol=1e-6)
    np.testing.assert_allclose(back.moments, M, rtol=1e-6)
    assert back.stimulators == coil.stimulators
    assert sorted(p.name for p in tmp_path.iterdir()) == [f"a{suffix}"]  # nothing half-written is left


def test_newer_ccd_headers(tmp_path):
    path = tmp_path / "new.ccd"
    head = (
        "# New version 1.1;dIdtmax=122.2,None,151.9;x=-100,100;resolution=1;stimulator=MagPro R30,X,MagPro X100;brand=B"
    )
    path.write_text(f"{head}\n1\n# centers and weighted directions\n0 0 -0.005 0 0 1e-4\n")
    assert load(path).stimulators == (("MagPro R30", 122.2), ("MagPro X100", 151.9))
    path.write_text("# Old\n1\n0 0 -0.005 0 0 1e-4\n")
    assert load(path).stimulators == ()


@pytest.mark.shared
def test_simnibs_own_header(shared):
    assert load(shared / "efield" / "testcoil.ccd").stimulators == (("unnamed", 100.0),)


def test_places_that_cannot_be_written(tmp_path):
    coil = from_dipoles(Q, M)
    with pytest.raises(InputError, match="not written like this"):
        save(coil, tmp_path / "a.txt")
    with pytest.raises(InputError, match="cannot be written"):
        save(coil, tmp_path / "absent" / "a.ccd")


# .tcd files


def element(**change):
    return {"name": "e", "stimulator": 0, "type": 1, "points": Q.tolist(), "values": M.tolist()} | change


def tcd(tmp_path, content):
    path = tmp_path / "coil.tcd"
    path.write_text(json.dumps(content) if not isinstance(content, str) else content)
    return path


def packed(array):
    return base64.b64encode(zlib.compress(np.asarray(array, np.float64).tobytes())).decode("ascii")


def test_parts_move_to_their_initial_places(tmp_path):
    """Up by 3 mm, then 90 degrees about the line x = 5 mm parallel to y; the other part stays, in binary form."""
    content = {
        "name": "two",
        "coilElementList": [element(deformations=[0, 1]), element(points=packed(Q), values=packed(M))],
        "deformList": [
            {"deformRange": 1, "type": "z"},
            {"deformRange": 0, "type": "rot2p", "point1": [5, 0, 0], "point2": [5, 1, 0]},
        ],
        "deformRangeList": [{"initial": 90, "range": [0, 90]}, {"initial": 3, "range": [-5, 5]}],
        "stimulatorList": [{"name": "S", "maxdIdt": 1.5e8}],
        "coilModels": [{"points": [[0, 0, 0], [1, 0, 0], [0, 1, -1]], "faces": [[0, 1, 2]]}],
        "coilCasing": 0,
    }
    coil = load(tcd(tmp_path, content))
    up = Q + np.array([0, 0, 3])
    moved = np.stack([5 + up[:, 2], up[:, 1], 5 - up[:, 0]], 1)  # (x - 5, z) -> (z, -(x - 5))
    np.testing.assert_allclose(coil.positions, np.concatenate([moved, Q]), atol=1e-5)
    np.testing.assert_allclose(coil.moments[:3], np.stack([M[:, 2], M[:, 1], -M[:, 0]], 1), atol=1e-10)
    np.testing.assert_allclose(coil.moments[3:], M, rtol=1e-6)
    np.testing.assert_array_equal(coil.windings[-3:], [[0, 0, 0], [1, 0, 0], [0, 1, -1]])
    assert coil.name == "two"
    assert coil.stimulators == (("S", 150.0),)


def test_deformations_of_the_first_files(tmp_path):
    content = {
        "coilElementList": [element(deformations=[0])],
        "deformList": [{"type": "x", "initial": 7, "range": [0, 9]}],
    }
    np.testing.assert_allclose(load(tcd(tmp_path, content)).positions, Q + np.array([7, 0, 0]), rtol=1e-6)


@pytest.mark.parametrize("given_by", ["middles", "starts"])
def test_line_elements_are_the_wires_they_join_to(tmp_path, given_by):
    flat = circle((0.0, 0.0), 30.0)
    wire = np.column_stack([flat, np.full(len(flat), -5.0)])
    along = np.roll(wire, -1, axis=0) - wire
    points = wire + along / 2 if given_by == "middles" else wire
    both = [
        np.concatenate([points, points + np.array([0, 0, -4])]),
        np.concatenate([along, along]),
    ]  # two loops in one element
    content = {"coilElementList": [element(type=2, points=both[0].tolist(), values=both[1].tolist())]}
    coil = load(tcd(tmp_path, content))
    closed = np.concatenate([wire, wire[:1]])
    same = from_wires([closed, closed + np.array([0, 0, -4])])
    points = brain_points(200, 2)
    assert relative(potential(coil, points), potential(same, points)) < 1e-5
    assert coil.fit.error < 2e-3


@pytest.mark.parametrize("turn", [0.0, 0.3, 1.1])
def test_a_flat_eight_of_one_wire(tmp_path, turn):
    """Loops of equal area, one each way, however they lie in the plane, against the wire itself."""
    angle = 2 * np.pi * np.arange(120) / 120
    wings = [sign * 30 * np.stack([np.cos(angle) - 1, np.sin(angle)], 1) * [1, sign] for sign in (1, -1)]
    flat = np.concatenate(wings) @ np.array([[np.cos(turn), np.sin(turn)], [-np.sin(turn), np.cos(turn)]])
    wire = np.column_stack([flat, np.full(len(flat), -5.0)])
    wire = np.roll(wire, 40, axis=0)  # begun where it crosses itself, it would be taken for two
    along = np.roll(wire, -1, axis=0) - wire
    content = {"coilElementList": [element(type=2, points=(wire + along / 2).tolist(), values=along.tolist())]}
    coil, points = load(tcd(tmp_path, content)), brain_points(200, 2)
    assert relative(potential(coil, points), 1e-6 * wire_potential(wire, points)) < 2e-3
    assert coil.fit.error < 2e-3


def test_line_elements_in_any_order_are_fitted(tmp_path):
    flat = circle((0.0, 0.0), 30.0)
    wire = np.column_stack([flat, np.full(len(flat), -5.0)])
    along = np.roll(wire, -1, axis=0) - wire
    order = np.random.default_rng(0).permutation(len(wire))
    content = {
        "coilElementList": [element(type=2, points=(wire + along / 2)[order].tolist(), values=along[order].tolist())]
    }
    coil, points = load(tcd(tmp_path, content)), brain_points(200, 2)
    assert relative(potential(coil, points), 1e-6 * wire_potential(wire, points)) < 2e-3
    assert coil.fit.error < 2e-3
    assert coil.fit.of == "line elements of e"


def test_elements_of_sampled_fields(tmp_path):
    axes = [np.arange(-60, 61, 6.0), np.arange(-60, 61, 6.0), np.arange(-20, 101, 6.0)]
    places = np.stack(np.meshgrid(*axes, indexing="ij"), -1)
    field = dipole_potential(Q, M, places.reshape(-1, 3)).reshape(places.shape) * MU0_OVER_4PI * 1e6
    affine = np.diag([6.0, 6, 6, 1])
    affine[:3, 3] = [-60, -60, -20]
    content = {
        "coilElementList": [
            {"stimulator": 0, "type": 3, "data": field.tolist(), "affine": affine.tolist(), "deformations": [0]}
        ],
        "deformList": [{"type": "x", "initial": 8, "range": [0, 9]}],
    }
    coil = load(tcd(tmp_path, content))
    points = brain_points(200, 2)
    assert relative(potential(coil, points), dipole_potential(Q + np.array([8, 0, 0]), M, points)) < 0.01
    assert coil.fit.error < 0.01


def test_several_stimulators_are_told(tmp_path):
    with pytest.warns(UserWarning, match="2 stimulators"):
        coil = load(tcd(tmp_path, {"coilElementList": [element(), element(stimulator=1)]}))
    assert len(coil.moments) == 6


RANGES = {"deformRangeList": [{"initial": 1}]}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "cannot be read"),
        ("[]", "no list of elements"),
        ({"coilElementList": []}, "no list of elements"),
        ({"coilElementList": [element(type=4)]}, "no known type"),
        ({"coilElementList": [3]}, "no known type"),
        ({"coilElementList": [element(points=[[1, 2]])]}, r"points \(1, 2\)"),
        ({"coilElementList": [element(points=[[0, 0, None]] * 3)]}, "points"),
        ({"coilElementList": [element(points="!!")]}, "points"),
        ({"coilElementList": [element(points=packed(Q)[:-8])]}, "points"),
        ({"coilElementList": [element(values=M[:2].tolist())]}, r"values \(2, 3\)"),
        ({"coilElementList": [element(type=2)]}, "line elements whose field"),
        ({"coilElementList": [element(type=3)]}, "affine"),
        ({"coilElementList": [{"type": 3, "data": packed(Q), "affine": np.eye(4).tolist()}]}, "ASCII"),
        ({"coilElementList": [element(deformations=[0])]}, r"refers to deformList\[0\]"),
        ({"coilElementList": [element(deformations=[0])], "deformList": [{"deformRange": 2}]}, "deformRangeList"),
        ({"coilElementList": [element(deformations=[0])], "deformList": [{"type": "x"}]}, "initial"),
        (
            {"coilElementList": [element(deformations=[0])], "deformList": [{"type": "w", "deformRange": 0}], **RANGES},
            "'w'",
        ),
        (
            {
                "coilElementList": [element(deformations=[0])],
                "deformList": [{"type": "rot2p", "deformRange": 0, "point1": [0, 0, 0], "point2": [0, 0, 0]}],
                **RANGES,
            },
            "two points of an axis",
        ),
        ({"coilElementList": [element(elementCasing=3)]}, "coilModels"),
        ({"coilElementList": [element(deformations=-1)]}, "deformations is -1"),
        ({"coilElementList": [element(deformations=True)]}, "deformations is True"),
        ({"coilElementList": [element(deformations=[True])], "deformList": 2 * [{"type": "x"}]}, "refers to True"),
        ({"coilElementList": [element(deformations=[0])], "deformList": [{"initial": 10**400}]}, "initial"),
        ({"coilElementList": [element()], "stimulatorList": -1}, "stimulatorList is -1"),
        ({"coilElementList": [element()], "stimulatorList": True}, "stimulatorList is True"),
        ({"coilElementList": [element()], "stimulatorList": [{"maxdIdt": "fast"}]}, "maxdIdt"),
        ({"coilElementList": [element(stimulator=[])]}, r"stimulator of an element refers to \[\]"),
        ({"coilElementList": [element(stimulator={})]}, r"stimulator of an element refers to \{\}"),
        ({"coilElementList": [element(points=[[10**400, 0, 0]] * 3)]}, "points"),
        ("[" * 10**5, "cannot be read"),
    ],
)
def test_definitions_that_are_refused(tmp_path, content, message):
    with pytest.raises(InputError, match=message):
        load(tcd(tmp_path, content))


def test_lists_that_are_null(tmp_path):
    content = {"coilElementList": [element(deformations=None, stimulator=None)], "stimulatorList": None}
    np.testing.assert_allclose(load(tcd(tmp_path, content)).positions, Q, rtol=1e-6)


# Sampled coils


@pytest.mark.parametrize(("name", "spacing"), [("MagVenture_MC_B70", 4.0), ("Circular_50mm", 2.0)])
def test_a_sampled_coil_is_the_coil(tmp_path, name, spacing):
    coil = load(name)
    if spacing == 2.0:
        save(coil, tmp_path / "a.nii.gz")
    else:
        write_sampled(coil, tmp_path / "a.nii.gz", spacing_mm=spacing)
    back = load(tmp_path / "a.nii.gz")
    points = brain_points(500, 4)
    error = relative(potential(back, points), potential(coil, points))
    assert error < 1e-3
    assert error < 3 * back.fit.error + 1e-6
    # Where the windings are is read off the samples.
    for side in (np.min, np.max):
        np.testing.assert_allclose(
            side(np.asarray(back.windings), 0), side(np.asarray(coil.windings), 0), atol=2.5 * spacing
        )


def small_grid(z=(-12.0, 80.0), spacing=4.0):
    axes = [np.arange(-50, 51, spacing), np.arange(-50, 51, spacing), np.arange(*z, spacing)]
    places = np.stack(np.meshgrid(*axes, indexing="ij"), -1)
    affine = np.diag([spacing, spacing, spacing, 1])
    affine[:3, 3] = places[0, 0, 0]
    return places, affine


def test_a_grid_that_begins_in_front_of_the_windings():
    places, affine = small_grid((4.0, 90.0))
    data = dipole_potential(Q, M, places.reshape(-1, 3)).reshape(places.shape) * MU0_OVER_4PI * 1e6
    coil, points = from_samples(data, affine), brain_points(200, 2)
    assert relative(potential(coil, points), dipole_potential(Q, M, points)) < 0.02


def test_sampled_coils_that_are_refused(tmp_path):
    places, affine = small_grid()
    data = dipole_potential(Q, M, places.reshape(-1, 3)).reshape(places.shape) * MU0_OVER_4PI * 1e6
    (tmp_path / "text.nii").write_text("not an image")
    with pytest.raises(InputError, match="cannot be read"):
        load(tmp_path / "text.nii")
    nibabel.save(nibabel.Nifti1Image(data.astype(np.float32), affine), tmp_path / "whole.nii")
    (tmp_path / "cut.nii").write_bytes((tmp_path / "whole.nii").read_bytes()[:5000])
    with pytest.raises(InputError, match="cannot be read"):
        load(tmp_path / "cut.nii")
    nibabel.save(nibabel.Nifti1Image(data[..., 0].astype(np.float32), affine), tmp_path / "scalar.nii")
    with pytest.raises(InputError, match="wrong shape"):
        load(tmp_path / "scalar.nii")
    with pytest.raises(InputError, match="no finite field"):
        from_samples(np.where(data > data.max() / 2, np.nan, data), affine)
    with pytest.raises(InputError, match="affine"):
        from_samples(data, np.zeros((4, 4)))
    with pytest.raises(InputError, match="nothing in front"):
        from_samples(data, affine - [[0, 0, 0, 0], [0, 0, 0, 0], [0, 0, 0, 200], [0, 0, 0, 0]])
    noise = np.random.default_rng(0).normal(size=data.shape)
    with pytest.raises(InputError, match=r"no coil behind its face|nothing in front"):
        from_samples(noise, affine)
    # A current that flows everywhere in front of the face.
    with pytest.raises(InputError, match="no coil behind its face"):
        from_samples(np.cross([0, 0, 1.0], places) * (places**2).sum(-1, keepdims=True), affine)
