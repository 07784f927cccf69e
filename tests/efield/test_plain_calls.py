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
}

SCRIPT = """
import json, sys, tempfile
sys.path.insert(0, "tests")
import numpy as np
import tmsjax as tj
from tmsjax import io
from tmsjax.core.errors import InputError
from meshes import sphere_mesh
from spheres import pose_over
mesh = tj.head.mesh_from_arrays(*sphere_mesh(1, 46.0, {5: 92.0}))
coil, pose, solve = tj.coil.load("Magstim_70mm_Fig8"), pose_over(), tj.efield.solve_mesh
field = solve(mesh, coil, pose)
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
