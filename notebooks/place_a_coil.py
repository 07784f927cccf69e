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
# # Place a coil
#
# Where to hold a figure-of-eight coil, and which way round, so that half of the L5 pyramidal cells of one bank of the
# hand knob fire at the lowest output of the stimulator. The search goes through the thresholds of the neurons
# themselves, not through the size of the field: |E| cannot tell one bank of a sulcus from the other, nor a pulse from
# its reverse.
#
# Head S1 (MRI of one person) and the cells are bundled. Thresholds are those of the bundled surrogate of a rat's L5
# pyramidal cell scaled to human size, so that differences between poses are worth more than the numbers themselves.
#
# Five CPU-minutes. `TMSJAX_NOTEBOOK_SHORT=1` runs the same cells on voxels so large, and with neurons so few,
# that the numbers mean nothing; the tests do so.

# %%
import os
from pathlib import Path

import numpy as np

import tmsjax as tj
from tmsjax.efield import posemodel
from tmsjax.optimize import SearchPlan, Variables, baselines, lowest_didt, targets
from tmsjax.optimize.problem import values
from tmsjax.viz import Picture, placement_figure

short = bool(os.environ.get("TMSJAX_NOTEBOOK_SHORT"))
work = Path(os.environ.get("TMSJAX_NOTEBOOK_WORK", "work"))
work.mkdir(exist_ok=True)

# %% [markdown]
# ## Head, coil and target
#
# A target is a part of the cortex with neurons drawn in it, twice: the search sees the first draw, and every number
# that it reports is of the second. Judged by the neurons that it was searched with, a pose looks a few per cent better
# than it is.

# %%
head = tj.head.load("S1")
coil = tj.coil.load("MagVenture_MC_B70")
hand_knob = tj.head.landmark(head, "hand_knob_left")
model = tj.surrogate.load("open/L5_PC_1", pulse="monophasic")
neurons = {"sites": 12, "azimuths": 2, "held_out": 15} if short else {}
target = targets.bank(head, hand_knob, 8.0, layers=("L5",), hemisphere="lh", name="bank of the hand knob", **neurons)
{"search": len(target.search[0].population), "held out": len(target.held_out[0].population)}

# %% [markdown]
# ## The field of any pose, in milliseconds
#
# A pose model of the region is made once from direct solves, for any coil, and is kept with its errors at poses that it
# has not seen. Here it reaches 36 mm round the hand knob on voxels of 2 mm, which takes three CPU-minutes; leave
# `coarsen` away for 1 mm and publication.

# %%
voxels, modes, radius_mm = (4, 12, 14.0) if short else (2, 120, 36.0)
folder = work / f"hand_knob_{voxels}mm"
if not (folder / "card.json").is_file():
    region = posemodel.precompute_region(head, hand_knob, radius_mm, rank=modes, coarsen=voxels, held_out=10)
    posemodel.save(region, folder)
region = posemodel.load(folder, head)
print(f"worst of {len(region.certificate['poses'])} held-out poses: {100 * region.certificate['worst_l2']:.2f} %")

# %% [markdown]
# ## The search
#
# A coarse scan of 300 poses, the best distinct ones followed by gradient in both directions of the current, the winner
# polished. `resolve` solves its field anew on the head's own voxels of 1 mm, and `simulate` asks NEURON for the
# thresholds of a few of the neurons in that field.

# %%
plan = SearchPlan(places=4, angles=4, starts=1, adam=2, kept=1, lbfgs=1, finalists=1) if short else None
best = tj.optimize.place_coil(
    head, coil, target, model, lowest_didt(0.5), pose_model=region, variables=Variables(radius_mm=20.0), plan=plan,
    resolve=not short, simulate=0 if short else 4,
)  # fmt: skip
print(f"dI/dt for half of the target: {best.value:.1f} A/µs, standard error {100 * best.sampling_error:.1f} %")
print(f"current: dI/dt {'positive' if best.polarity > 0 else 'negative'} in the coil's own sense")
print(f"status: {best.status}; {best.evaluations} poses asked, {best.gradients} of them for a gradient")
print("SimNIBS's matsimnibs, mm:")
print(np.array2string(np.asarray(best.pose.matrix), precision=3, suppress_small=True))

# %%
for layer, row in best.layers.items():
    print(layer, {f"{float(share):.0%}": f"{didt:.1f} A/µs" for share, didt in row["didt_a_per_us"].items()})
    print(f"  {row['share_in_domain']:.0%} of the neurons are under fields like those the surrogate was trained on")

# %%
if best.direct is not None:
    print(f"field solved anew at 1 mm: {best.direct['value']:.1f} A/µs ({best.direct['status']})")
for row in best.neuron or []:
    print(f"{row['layer']}: NEURON {row['simulated_a_per_us']:.1f}, predicted {row['predicted_a_per_us']:.1f} A/µs")

# %% [markdown]
# ## The landscape round it
#
# Left: the objective over the scalp at the pose's own angle. Middle: over the angle, in both directions of the current.
# Right: the search. All of neurons that were not searched with, but for the line of the search.

# %%
Picture(
    placement_figure(
        work / "placement.png", best.map, best.history, at_mm=best.x[:2], radius_mm=best.problem.variables.radius_mm,
        value=best.value, unit=best.unit, caption=f"dI/dt for half of the L5 cells of the {target.name}, head S1",
    )
)  # fmt: skip

# %% [markdown]
# What holding it less well costs: slips of place and of angle in the worst direction, from a fit over 5 mm and 15
# degrees.

# %%
{name: f"{100 * best.tolerance[name]:.1f} %" for name in ("loss_2mm", "loss_5mm", "loss_5deg", "loss_15deg")}

# %% [markdown]
# ## Against choosing by the size of the field
#
# The pose of the largest mean |E| in the same target, in both polarities, and the two usual ways to find it: a grid, as
# SimNIBS does, and reciprocity, as the auxiliary dipole method does. Each is given the better of its polarities, which
# |E| alone would not tell. Extra output against the pose above, of the same held-out neurons.

# %%
step, fine = ((10.0, 90.0), (10.0, 90.0)) if short else ((5.0, 30.0), (2.0, 10.0))
others = {
    "grid on mean |E| (5 mm, 30°)": baselines.simnibs_like(best.problem, 20.0, *step),
    "reciprocity, mean E vector (2 mm, 10°)": baselines.adm_like(best.problem, *fine),
}
for name, found in others.items():
    both = [values(best.problem, lowest_didt(0.5), found.x[None], sign, held_out=True)[0] for sign in (1, -1)]
    more = 100 * np.expm1(np.sort(both) - np.log(best.value))
    print(f"{name}: {more[0]:+.1f} % in its better polarity, {more[1]:+.1f} % in the other")
of_field = best.field_optimum
for which in ("better", "worse"):
    row = of_field[which]
    print(
        f"optimum of mean |E|, {which} polarity: {100 * row['loss']:+.1f} % (standard error {100 * row['error']:.1f})"
    )

# %% [markdown]
# ## To the laboratory
#
# The pose for neuronavigation and for SimNIBS. Every file holds the same pose.

# %%
named = tj.coil.NamedPose("optimum", best.pose, didt=float(best.polarity))
for form, name in (("matsimnibs", "matsimnibs.txt"), ("brainsight", "brainsight.txt"), ("localite", "localite.xml")):
    tj.coil.save_poses(named, work / name, form)
sorted(path.name for path in work.iterdir() if path.suffix in (".txt", ".xml"))

# %% [markdown]
# Your own head: `tj.head.load("m2m_subject")` reads SimNIBS's segmentation, `tmsjax optimize --help` has all of this as
# one command. Other targets: `targets.ball`, `targets.label` (a surface label), `targets.mask` (a NIfTI). Several
# layers: `layers=("L23", "L5")` with a model of each.
