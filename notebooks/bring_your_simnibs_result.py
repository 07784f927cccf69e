# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Bring your SimNIBS result
#
# You have a simulation of SimNIBS and want to know which neurons it makes fire. Two files are enough: the field as a
# NIfTI (`map_to_vol`, the folder `subject_volumes`) or as the mesh itself (`..._scalar.msh`), and the cortex of the
# same head.
#
# SimNIBS's example head may not be shipped, so this notebook first makes files of the same form, from head S1 and this
# library's own field. They are **not SimNIBS's numbers**: put your own files in their place, and the rest stays as it
# is. `TMSJAX_NOTEBOOK_SHORT=1` runs the same cells with one layer and fewer neurons; the tests do so.

# %%
import os
from pathlib import Path

import jax.numpy as jnp
import numpy as np

import tmsjax as tj
from tmsjax.cli.populations import map_of
from tmsjax.cortex import layer_surface
from tmsjax.head import load_mesh, rasterise
from tmsjax.io import Msh, read_msh, write_msh, write_vector
from tmsjax.response import Response, equivalent_outputs, intensity_for, recruitment, stimulators
from tmsjax.viz import Picture, recruitment_figure, threshold_maps_figure

short = bool(os.environ.get("TMSJAX_NOTEBOOK_SHORT"))
work = Path(os.environ.get("TMSJAX_NOTEBOOK_WORK", "work"))
work.mkdir(exist_ok=True)
head = tj.head.load("S1")  # yours: tj.head.load("m2m_subject")
coil = tj.coil.load("MagVenture_MC_B70")  # yours: the .ccd or .nii.gz of your simulation
hand_knob = np.asarray(tj.head.landmark(head, "hand_knob_left"), float)  # yours: RAS+ mm of the place that you look at

# %% [markdown]
# ## Stand-ins for your files
#
# A field of S1 for 1 A/µs, which is SimNIBS's default of 1e6 A/s, in both forms: a NIfTI of (x, y, z, 3) V/m, and a
# mesh with E on its tetrahedra (here voxels near the target, each cut into six).

# %%
pose = tj.coil.pose_on_scalp(head, hand_knob, handle_deg=45.0, gap_mm=2.0)
made = tj.efield.solve(head, coil, pose)
nifti = write_vector(work / "subject_TMS_1-0001_E.nii.gz", np.asarray(made.values), np.asarray(made.affine))

reach_mm, step_mm = 14.0, 2.0
n = int(2 * reach_mm / step_mm)
corners = np.stack(np.meshgrid(*3 * [np.arange(n + 1)], indexing="ij"), -1).reshape(-1, 3)
nodes = hand_knob - reach_mm + step_mm * corners
cube = np.stack(np.meshgrid(*3 * [np.arange(n)], indexing="ij"), -1).reshape(-1, 3)
round_a_diagonal = ((1, 2), (2, 4), (4, 1), (2, 1), (4, 2), (1, 4))
along = np.array([[0, a, a + b, 7] for a, b in round_a_diagonal])
offset = np.array([[i >> 2 & 1, i >> 1 & 1, i & 1] for i in range(8)])
index = np.ravel_multi_index(tuple((cube[:, None] + offset).reshape(-1, 3).T), 3 * (n + 1,)).reshape(-1, 8)
tetrahedra = index[:, along].reshape(-1, 4)
inverted = np.linalg.det(nodes[tetrahedra[:, 1:]] - nodes[tetrahedra[:, :1]]) < 0
tetrahedra[inverted] = tetrahedra[inverted][:, [0, 1, 3, 2]]
centres = nodes[tetrahedra].mean(axis=1)
e = np.asarray(made.at(centres, outside="nan"), float)
brain = np.isfinite(e).all(axis=1)
mesh = write_msh(
    work / "subject_TMS_1-0001_scalar.msh",
    Msh(nodes, tetrahedra[brain], np.full(brain.sum(), 2),
        element_data={"E": e[brain], "magnE": np.linalg.norm(e[brain], axis=1)}),
)  # fmt: skip
print(nifti.name, mesh.name)

# %% [markdown]
# ## Read it
#
# A NIfTI of SimNIBS does not say which dI/dt it belongs to: you do. 1.0 A/µs is its default; thresholds in A/µs follow
# from it, and a wrong number here scales all of them.

# %%
field = tj.efield.load_field(nifti, didt=1.0)
print(f"{field.values.shape[:3]} voxels, largest |E| {float(jnp.linalg.norm(field.values, axis=-1).max()):.2f} V/m")
print(f"residual {float(field.residual)}: a file of another program does not tell ({field.status})")

# %% [markdown]
# A mesh is put on voxels first, each with the E of the tetrahedron that its centre lies in.

# %%
elements, tissue = read_msh(mesh), load_mesh(mesh)
low = nodes.min(axis=0)
affine = np.diag([1.0, 1.0, 1.0, 1.0])
affine[:3, 3] = low + 0.5
inside = rasterise(tissue, affine, tuple(int(side) for side in nodes.max(axis=0) - low))
values = elements.on_tetrahedra("E")
from_mesh = tj.efield.EField(
    jnp.asarray(np.where((inside >= 0)[..., None], values[inside], 0), jnp.float32), jnp.asarray(inside >= 0),
    jnp.asarray(affine), jnp.asarray(jnp.nan), jnp.asarray(0), 0.0, jnp.asarray(1.0),
)  # fmt: skip

# %% [markdown]
# ## Neurons in it
#
# Populations of three layers within 10 mm of the hand knob, and their thresholds for a monophasic pulse. The direction
# of the current matters: with this coil's convention a positive dI/dt may be the reverse of your experiment's.

# %%
cells = {"L5": "open/L5_PC_1"} if short else {"L23": "open/L23_PC_1", "L4": "open/L4_LBC_1", "L5": "open/L5_PC_1"}
roi = tj.cortex.Roi.ball(hand_knob, 10.0, hemisphere="lh")
sites, azimuths = (20, 2) if short else (200, 6)
responses, of_mesh = {}, {}
for layer, cell in cells.items():
    model = tj.surrogate.load(cell, pulse="monophasic")
    population = tj.cortex.place(head, layer, sites, roi, azimuths, seed=0)
    responses[layer] = Response(population, tj.response.thresholds(model, field, population), cell)
    of_mesh[layer] = tj.response.thresholds(model, from_mesh, population)
for layer, response in responses.items():
    found = response.thresholds
    print(
        f"{layer}: half fire at {intensity_for(found.a_per_us, 0.5):.1f} A/µs; {found.ok.mean():.0%} have a threshold, "
        f"{response.in_domain.mean():.0%} under fields like those of training"
    )

# %% [markdown]
# Neurons whose sampling grid leaves the file's tissue have no threshold, and say so; they count as silent. "Fields like
# those of training" is the surrogate's own warning: a mesh of another resolution, or smoothing, would show here.
#
# What the two files differ by, on the median neuron: the mesh has one value in every tetrahedron of 2 mm.

# %%
for layer, response in responses.items():
    both = response.thresholds.ok & of_mesh[layer].ok
    ratio = of_mesh[layer].a_per_us[both] / response.thresholds.a_per_us[both]
    print(f"{layer}: mesh over NIfTI {np.median(ratio):.3f}, 5 to 95 % {np.round(np.quantile(ratio, [0.05, 0.95]), 2)}")

# %% [markdown]
# ## What a stimulator has to give
#
# Median thresholds on the dial of the stimulators that drive this coil, as their maker states them.

# %%
devices = stimulators(coil.name)
for layer, response in responses.items():
    for row in equivalent_outputs(intensity_for(response.thresholds.a_per_us, 0.5), devices):
        print(layer, row)

# %%
curves = [recruitment(response, name=layer) for layer, response in responses.items()]
device = next(iter(devices), None)
Picture(
    recruitment_figure(
        work / "simnibs_recruitment.png", curves,
        max_didt_a_per_us=None if device is None else device.max_didt_a_per_us,
        device="" if device is None else device.name, caption="recruitment in the imported field, head S1",
    )
)  # fmt: skip

# %% [markdown]
# ## Where they fire first
#
# Median thresholds over azimuths, on the layers of the hand knob, seen from outside.

# %%
meshes, maps = {}, {}
for layer, response in responses.items():
    surface = layer_surface(head, response.population.depth)
    meshes[layer], medians = map_of(surface, roi, [response])
    maps[layer] = {"imported": medians}
Picture(
    threshold_maps_figure(
        work / "simnibs_maps.png", meshes, maps, -np.asarray(pose.rotation)[:, 2],
        caption="median thresholds in the imported field, head S1",
    )
)  # fmt: skip

# %% [markdown]
# On from here: `tj.response.save_responses` keeps every neuron (zarr, CSV, GIFTI), and with the coil of your simulation
# `place_a_coil` finds a better place for it; `tj.coil.CoilPose.from_matrix(matsimnibs)` is its own.
