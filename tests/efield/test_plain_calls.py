"""Input of the wrong kind, as users without a type checker give it: a message and never a raw error.

The other tests run with the annotations checked, which would stop these calls before the library sees them.
"""

import json
import subprocess
import sys

import pytest

CALLS = {
    "read_msh path": "io.read_msh(None)",
    "read_vector path": "io.read_vector(None)",
    "read_scalar path": "io.read_scalar(3)",
    "read_tensor path": "io.read_tensor(None)",
    "write_msh path": "io.write_msh(None, io.Msh(mesh.nodes, mesh.tetrahedra, mesh.tags))",
    "write_vector path": "io.write_vector(None, np.zeros((2, 2, 2, 3)), np.eye(4))",
    "write_surface path": "io.write_surface(None, np.eye(3), [[0, 1, 2]], structure='lh')",
    "write_surface structure": "io.write_surface('a.surf.gii', np.eye(3), [[0, 1, 2]], structure=None)",
    "write_metric values": "io.write_metric('a.func.gii', np.zeros(3), structure='lh')",
    "load_mesh path": "tj.head.load_mesh(None)",
    "head.load path": "tj.head.load(None)",
    "head.load voxels": "tj.head.load('absent.msh', voxel_mm='a')",
    "head.load tissues": "tj.head.load('absent.msh', tissues={3: 'a'})",
    "load_surfaces path": "tj.head.load_surfaces(None)",
    "read_surface path": "tj.head.read_surface(None)",
    "load_field path": "tj.efield.load_field(None)",
    "load_field didt": "tj.efield.load_field(saved, didt='x')",
    "save_field path": "tj.efield.save_field(field, None)",
    "save_field field": "tj.efield.save_field(np.zeros(3), 'a.nii')",
    "mesh": "solve('ball.msh', coil, pose)",
    "mesh_system mesh": "tj.efield.mesh_system(None)",
    "coil by name": "solve(mesh, 'Magstim_70mm_Fig8', pose)",
    "pose as a matrix": "solve(mesh, coil, np.eye(4))",
    "tolerance text": "solve(mesh, coil, pose, tolerance='a')",
    "tolerance None": "solve(mesh, coil, pose, tolerance=None)",
    "iterations": "solve(mesh, coil, pose, max_iterations='a')",
    "didt": "solve(mesh, coil, pose, didt='x')",
    "conductivity text": "solve(mesh, coil, pose, conductivity={5: 'x'})",
    "conductivity None": "solve(mesh, coil, pose, conductivity={5: None})",
    "conductivity all text": "solve(mesh, coil, pose, conductivity='0.3')",
    "grid shape": "field.on_grid(np.eye(4), (-1, 2, 3))",
    "grid shape of two": "field.on_grid(np.eye(4), (2, 3))",
    "grid shape text": "field.on_grid(np.eye(4), 'abc')",
    "points": "field.at('abc')",
    "grid: head": "grid(None, coil, pose)",
    "grid: coil": "grid(head, 'MagVenture_MC_B70', pose)",
    "grid: pose": "grid(head, coil, pose.matrix)",
    "grid: didt": "grid(head, coil, pose, 'x')",
    "grid: didt None": "grid(head, coil, pose, None)",
    "grid: didt complex": "grid(head, coil, pose, 1j)",
    "grid: tolerance": "grid(head, coil, pose, tolerance='a')",
    "grid: coarsen a float": "grid(head, coil, pose, coarsen=2.0)",
    "grid: coarsen text": "grid(head, coil, pose, coarsen='2')",
    "grid: coarsen None": "grid(head, coil, pose, coarsen=None)",
    "grid: partial_volume": "grid(head, coil, pose, partial_volume=None)",
    "grid: conductivity text": "grid(replace(head, conductivity={**head.conductivity, 3: 'x'}), coil, pose)",
    "grid: conductivity complex": "grid(replace(head, conductivity={**head.conductivity, 3: 1j}), coil, pose)",
    "grid: conductivity True": "grid(replace(head, conductivity={**head.conductivity, 3: True}), coil, pose)",
    "grid: no conductivity": "grid(replace(head, conductivity=None), coil, pose)",
    "grid: labels of floats": "grid(replace(head, labels=head.labels * 1.0), coil, pose)",
    "grid: negative labels": "grid(replace(head, labels=-head.labels.astype(int)), coil, pose)",
    "grid: a slice of labels": "grid(replace(head, labels=head.labels[0]), coil, pose)",
    "grid: no labels": "grid(replace(head, labels=head.labels[:0]), coil, pose)",
    "grid: affine": "grid(replace(head, affine=head.affine[:3, :3]), coil, pose)",
    "map: None": "tj.efield.solve_conductivity(None, head.labels > 0, head.affine, coil, pose)",
    "map: complex": "tj.efield.solve_conductivity(1j * head.labels, head.labels > 0, head.affine, coil, pose)",
    "map: a mask": "tj.efield.solve_conductivity(head.labels > 0, head.labels > 0, head.affine, coil, pose)",
    "map: no mask": "tj.efield.solve_conductivity(0.1 * head.labels, None, head.affine, coil, pose)",
    "conductivity: head": "tj.efield.conductivity(None)",
    "anisotropic: tensors": "tj.efield.anisotropic(head, None)",
    "anisotropic: complex": "tj.efield.anisotropic(head, np.zeros((*head.labels.shape, 6), complex))",
    "anisotropic: one label": "tj.efield.anisotropic(head, np.zeros((*head.labels.shape, 6)), labels=1)",
    "anisotropic: no label": "tj.efield.anisotropic(head, np.zeros((*head.labels.shape, 6)), labels=())",
    "induce: system": "tj.efield.induce(None, np.zeros((3, 3)))",
    "induce: field": "tj.efield.induce(system, None)",
    "induce: complex": "tj.efield.induce(system, 1j * np.asarray(system.points_mm))",
    "within_tissue: field": "tj.efield.within_tissue(None, head)",
    "within_tissue: head": "tj.efield.within_tissue(e, None)",
    "within_tissue: text": "tj.efield.within_tissue(e, head, 'grey')",
    "within_tissue: air": "tj.efield.within_tissue(e, head, 0)",
    "at: text": "e.at('abc')",
    "at: None": "e.at(None)",
    "at: ragged": "e.at([[1, 2, 3], [1, 2]])",
    "inside: None": "e.inside(None)",
    "sphere: points": "tj.efield.sphere_efield(coil, pose, None, np.zeros(3))",
    "sphere: ragged": "tj.efield.sphere_efield(coil, pose, [[1, 2, 3], [1, 2]], np.zeros(3))",
    "sphere: complex": "tj.efield.sphere_efield(coil, pose, 1j * np.ones((1, 3)), np.zeros(3))",
    "sphere: centre": "tj.efield.sphere_efield(coil, pose, np.zeros((1, 3)), None)",
    "sphere: coil": "tj.efield.sphere_efield('x', pose, np.zeros((1, 3)), np.zeros(3))",
    "sphere: pose": "tj.efield.sphere_efield(coil, np.eye(4), np.zeros((1, 3)), np.zeros(3))",
    "sphere: didt": "tj.efield.sphere_efield(coil, pose, np.zeros((1, 3)), np.zeros(3), 'x')",
    "primary: None": "tj.coil.primary_field(coil, pose, None)",
    "primary: one point": "tj.coil.primary_field(coil, pose, [1.0, 2, 3])",
    "region: head": "make(None, np.zeros(3), 9.0)",
    "region: centre": "make(head, 'here', 9.0)",
    "region: radius": "make(head, np.zeros(3), 'a')",
    "region: one label": "make(head, np.zeros(3), 9.0, labels=2)",
    "region: air": "make(head, np.zeros(3), 9.0, labels=(0,))",
    "region: rank": "make(head, np.zeros(3), 9.0, rank=3.0)",
    "region: rank text": "make(head, np.zeros(3), 9.0, rank='a')",
    "region: clearance": "make(head, np.zeros(3), 9.0, clearance_mm='a')",
    "region: clearance out of reach": "make(head, np.zeros(3), 9.0, clearance_mm=1000.0)",
    "region: seed": "make(head, np.zeros(3), 9.0, seed=-1)",
    "region: tolerance": "make(head, np.zeros(3), 9.0, tolerance='a')",
    "region: held out None": "make(head, np.zeros(3), 9.0, held_out=None)",
    "region: held out text": "make(head, np.zeros(3), 9.0, held_out='twelve poses')",
    "region: held out a float": "make(head, np.zeros(3), 9.0, held_out=12.0)",
    "region: poses without coils": "make(head, np.zeros(3), 9.0, held_out=[pose] * 12)",
    "region: matrices": "make(head, np.zeros(3), 9.0, held_out=[(coil, pose.matrix)] * 12)",
    "points: text": "tj.efield.posemodel.precompute(head, 'abc', rank=3, held_out=0)",
    "points: complex": "tj.efield.posemodel.precompute(head, 1j * np.ones((1, 3)), rank=3, held_out=0)",
    "points: work": "tj.efield.posemodel.precompute(head, np.zeros((1, 3)), rank=3, held_out=0, work=3)",
    "pose model: load": "tj.efield.posemodel.load(None)",
    "pose model: certify": "tj.efield.posemodel.certify(None, head)",
}

SCRIPT = """
import json, sys, tempfile
from dataclasses import replace
sys.path.insert(0, "tests")
import numpy as np
import tmsjax as tj
from tmsjax import io
from tmsjax.core.errors import InputError
from meshes import sphere_mesh
from spheres import layered_sphere, pose_over
mesh = tj.head.mesh_from_arrays(*sphere_mesh(1, 46.0, {5: 92.0}))
coil, pose, solve = tj.coil.load("Magstim_70mm_Fig8"), pose_over(), tj.efield.solve_mesh
field = solve(mesh, coil, pose)
head = tj.head.from_labels(*layered_sphere(12.0))
grid, make = tj.efield.solve, tj.efield.posemodel.precompute_region
e = grid(head, coil, pose)
system = tj.efield.discretise(*tj.efield.conductivity(head))
with tempfile.TemporaryDirectory() as folder:
    saved = tj.efield.save_field(field.on_grid(np.diag([20.0, 20, 20, 1]), (3, 3, 3)), folder + "/E.nii.gz")
    found = {}
    for name, call in json.load(sys.stdin).items():
        try:
            eval(call)
            found[name] = "nothing was raised"
        except InputError as error:
            found[name] = "refused" if "expected:" in str(error) else str(error)
        except Exception as error:
            found[name] = f"{type(error).__name__}: {error}"
    print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def outcome(pytestconfig):
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT],
        input=json.dumps(CALLS),
        capture_output=True,
        text=True,
        cwd=pytestconfig.rootpath,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.parametrize("name", CALLS)
def test_it_is_refused_with_a_message(outcome, name):
    assert outcome[name] == "refused"
