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
# # Sweep a population
#
# What the neurons of the hand knob do at every place, angle and direction of the current of a coil: direction tuning of
# each layer, maps over the scalp, recruitment curves. All thresholds are kept in one labelled array that xarray opens.
#
# Head S1 and the cells are bundled. Five CPU-minutes, of which the pose model takes three; it is the one of
# `place_a_coil`, if that ran here before. `TMSJAX_NOTEBOOK_SHORT=1` runs the same cells so coarsely that the numbers
# mean nothing; the tests do so.

# %%
import os
from pathlib import Path

import numpy as np
import xarray as xr

import tmsjax as tj
from tmsjax.efield import posemodel
from tmsjax.response import Response, SweepGrid, SweepTarget, recruitment, square, stimulators, thresholds
from tmsjax.viz import Picture, recruitment_figure, tuning_figure
from tmsjax.viz.response import places_figure

short = bool(os.environ.get("TMSJAX_NOTEBOOK_SHORT"))
work = Path(os.environ.get("TMSJAX_NOTEBOOK_WORK", "work"))
work.mkdir(exist_ok=True)

# %% [markdown]
# ## The populations
#
# Somata on the layers of the left hand knob, each column at several azimuths; one surrogate a layer.

# %%
head = tj.head.load("S1")
coil = tj.coil.load("MagVenture_MC_B70")
hand_knob = tj.head.landmark(head, "hand_knob_left")
roi = tj.cortex.Roi.ball(hand_knob, 10.0, hemisphere="lh")
cells = {"L5": "open/L5_PC_1"} if short else {"L23": "open/L23_PC_1", "L4": "open/L4_LBC_1", "L5": "open/L5_PC_1"}
models = {layer: tj.surrogate.load(cell, pulse="monophasic") for layer, cell in cells.items()}
sites, azimuths = (10, 2) if short else (100, 6)
placed = {layer: tj.cortex.place(head, layer, sites, roi, azimuths, seed=0) for layer in cells}
{layer: len(population) for layer, population in placed.items()}

# %% [markdown]
# ## The field of every pose
#
# From a pose model of the region: made once from direct solves, for any coil, with its errors beside it.

# %%
voxels, modes, radius_mm = (4, 12, 14.0) if short else (2, 120, 36.0)
folder = work / f"hand_knob_{voxels}mm"
if not (folder / "card.json").is_file():
    region = posemodel.precompute_region(head, hand_knob, radius_mm, rank=modes, coarsen=voxels, held_out=10)
    posemodel.save(region, folder)
region = posemodel.load(folder, head)
print(f"worst of {len(region.certificate['poses'])} held-out poses: {100 * region.certificate['worst_l2']:.2f} %")

# %% [markdown]
# ## The sweep
#
# Places are on a chart of the scalp over the target (u to the right, v forwards, mm), angles count from a handle that
# points backwards along the midline, and the current runs both ways. A sweep that was killed goes on where it was.

# %%
chart = tj.coil.scalp_chart(head, hand_knob, radius_mm=16.0)
gap = 8.0 if short else 2.0  # coarse voxels keep the coil further away
grid = SweepGrid(square(10.0, 10.0 if short else 5.0), np.arange(0, 360, 90 if short else 15), gap_mm=gap)
swept = [SweepTarget(placed[layer], models[layer]) for layer in cells]
store = tj.response.sweep(work / "sweep.zarr", swept, region, coil, chart, grid)
data = xr.open_zarr(store, consolidated=False)
data

# %% [markdown]
# ## Which way the coil points
#
# dI/dt that makes 10 % and 50 % of a layer fire, over the middle of the target, by the angle of the handle. The two
# directions of the current are lines of their own: turning the coil by 180 degrees is nearly, not quite, the same.

# %%
middle = int(np.argmin(np.hypot(data.u_mm.values, data.v_mm.values)))
over = data.didt_for_share.isel(place=middle)
levels = {
    layer: {
        f"{share:.0%}, current {'+' if sign > 0 else '−'}": over.isel(target=t).sel(share=share, current=sign).values
        for share in data.share.values
        for sign in data.current.values
    }
    for t, layer in enumerate(data.layer.values)
}
caption = "dI/dt by handle angle over the hand knob, S1"
Picture(tuning_figure(work / "tuning.png", data.handle_deg.values, levels, caption=caption))

# %% [markdown]
# ## Where it is held
#
# The least dI/dt over angles and directions at each place.

# %%
least = data.didt_for_share.sel(share=0.5).min(("handle_deg", "current"))
Picture(
    places_figure(
        work / "places.png", data.u_mm.values, data.v_mm.values,
        {layer: least.isel(target=t).values for t, layer in enumerate(data.layer.values)},
        caption="least dI/dt for 50 % of each layer",
    )
)  # fmt: skip

# %%
for t, layer in enumerate(data.layer.values):
    every = data.didt_for_share.isel(target=t).sel(share=0.5)
    at = np.unravel_index(np.nanargmin(every.values), every.shape)
    row = every[tuple(int(n) for n in at)]
    print(
        f"{layer}: {float(row):.1f} A/µs at u {float(row.u_mm):+.0f}, v {float(row.v_mm):+.0f} mm, handle at "
        f"{float(row.handle_deg):.0f}°, current {int(row.current):+d}"
    )

# %% [markdown]
# These are minima of a grid over its own neurons: for the pose itself see `place_a_coil`, which goes between the grid's
# poses and judges by other neurons.
#
# ## How many fire
#
# Recruitment at one pose, handle at 45 degrees, in the direction that asks for less, with bands from a bootstrap over
# positions. The second axis is the output of a stimulator with this coil, as its maker states it.

# %%
at = {"handle_deg": 90.0 if short else 45.0, "share": 0.5}
sign = int(over.isel(target=-1).sel(**at).idxmin("current"))
angle = int(np.flatnonzero(data.handle_deg.values == at["handle_deg"])[0])
pose = tj.coil.CoilPose.from_matrix(data.matsimnibs.values[middle, angle])
field = region.field(coil, pose, didt=float(sign))
curves = [
    recruitment(Response(placed[layer], thresholds(models[layer], field, placed[layer]), cells[layer]), name=layer)
    for layer in cells
]
device = next(iter(stimulators(coil.name)), None)
Picture(
    recruitment_figure(
        work / "recruitment.png", curves, max_didt_a_per_us=None if device is None else device.max_didt_a_per_us,
        device="" if device is None else device.name, caption=f"recruitment, handle at {at['handle_deg']:.0f}°, S1",
    )
)  # fmt: skip

# %% [markdown]
# ## Every neuron
#
# Each target's group has the threshold of every neuron at every pose, with its place and azimuth.

# %%
neurons = xr.open_zarr(store, group=swept[-1].name, consolidated=False)
print(dict(neurons.sizes))
spread = neurons.threshold_a_per_us.isel(place=middle, handle_deg=angle).sel(current=sign)
print(f"L5, 5th to 95th percentile: {float(spread.quantile(0.05)):.0f} to {float(spread.quantile(0.95)):.0f} A/µs")

# %% [markdown]
# `tmsjax sweep --help` has all of this as one command, with maps of every orientation and, for cells with models of
# several pulses, strength-duration curves.
