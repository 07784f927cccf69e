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
# # Train a surrogate of your own cell
#
# From a reconstruction of a neuron to a model that predicts its threshold under any coil: simulate a few thousand
# thresholds, train, look at the errors on places that it has not seen, save it with its card, use it.
#
# "Your own cell" is here a bundled one, an L5 pyramidal cell of a rat (CC BY 4.0), read from its file as yours would
# be. Some CPU-minutes. `TMSJAX_NOTEBOOK_SHORT=1` runs the same cells with sixty thresholds, of which little
# can be learned; the tests do so.

# %%
import contextlib
import dataclasses
import os
from importlib.resources import files
from pathlib import Path

import numpy as np

import tmsjax as tj
from tmsjax.nn import metrics
from tmsjax.simulate import open_dataset
from tmsjax.surrogate import SupportSpec, SurrogateSpec, polarisation, polarised, uniform
from tmsjax.surrogate.generate import simulate_recipe
from tmsjax.surrogate.recipe import Recipe
from tmsjax.surrogate.source import Source, examples
from tmsjax.viz import Picture, predictions_figure, training_curves

short = bool(os.environ.get("TMSJAX_NOTEBOOK_SHORT"))
work = Path(os.environ.get("TMSJAX_NOTEBOOK_WORK", "work"))
work.mkdir(exist_ok=True)

# %% [markdown]
# ## The cell
#
# A Neurolucida (.asc) or .swc file in µm, +y towards the pia, and its membrane: a table of ours, or a .toml of your own
# with your own .mod files. It is scaled to adult human size and myelinated as in Aberra et al. (2018, 2020); `scaling`
# says otherwise. Cells that cannot be used are refused, with the section or key that is wrong.

# %%
reconstruction = next(Path(str(files("tmsjax") / "data" / "cells" / "open")).glob("L5_PC_1.asc*"))  # yours: a path
cell = tj.cells.from_file(reconstruction, "L5_TTPC2", name="mine/L5_PC")
print(f"{cell.name}: {len(cell.sections)} sections, {len(tj.cells.cable_model(cell).xyz_um)} compartments")

# %% [markdown]
# ## Which thresholds
#
# A recipe says which neurons of which head, under which coil poses; everything is drawn from its seed, so that the
# dataset keeps thresholds and no fields. `engine = "cable"` is our batched solver, which agrees with NEURON to 0.05 %
# and is many times as fast; `engine = "neuron"` is NEURON itself. The larger a dataset the better: 20,000 thresholds
# make the bundled models.

# %%
recipe = Recipe.from_dict(
    {
        "cell": cell.name, "layer": "L5", "pulse": "monophasic", "head": "S1", "engine": "cable",
        "thresholds": 60 if short else 2000, "poses": 1 if short else 4, "seed": 0,
        "sites": 60 if short else 2000, "tolerance": 0.02 if short else 0.005,
        "membrane": "reduced" if short else "full",
    }
)  # fmt: skip


@contextlib.contextmanager
def stage(name):
    """Where the work stands; a dataset that was interrupted goes on where it was."""
    said = []
    yield said.append
    print(f"{name}: {said[-1] if said else 'done'}")


source = Source(recipe)
dataset = simulate_recipe(
    recipe, cell, work / "mine.zarr", stage=stage, tell=print, source=lambda say: source, workers=2
)
dataset = open_dataset(work / "mine.zarr")
dataset.content_hash()[:16]

# %% [markdown]
# ## Training
#
# The support-function model knows from the cell's own cable equation how the field polarises each end of the axon
# (`polarisation`), and learns only how these polarisations come together: thousands of thresholds suffice where a
# network takes hundreds of thousands. A fifth of the places is held out, whole: azimuths of one place would tell on
# each other.

# %%
spec = SurrogateSpec(cell.name, "monophasic", n=5, side_mm=1.5, model=SupportSpec(degrees=(), samples=1))
data = examples(source, dataset.results(), spec.side_mm, spec.z_shift_mm, spec.n)
print(f"{len(data.rows)} of {len(dataset)} thresholds have a patch within the tissue")
sites = polarisation.of_patches(cell, spec.pulse, spec.n, spec.side_mm, spec.z_shift_mm)
training = dataclasses.replace(polarised.TRAINING, epochs=2) if short else polarised.TRAINING
model, report = tj.surrogate.train(
    data.patches, data.v_per_m, spec, 0, sites=sites, groups=data.site, training=training
)
Picture(
    training_curves(
        work / "training.png", {"member 1": report["histories"][0]}, caption=f"{cell.name}, {len(data.rows)} thresholds"
    )
)  # fmt: skip

# %% [markdown]
# ## How good it is
#
# On the places held out, beside what is commonly done: the threshold in a uniform field of the direction at the soma.

# %%
step = 45.0 if short else 15.0
grid = uniform.directions(step)
table = uniform.from_table(
    grid, tj.simulate.uniform_thresholds(cell, grid, "monophasic", tolerance=0.02, engine="cable").v_per_m, step
)
rows = report["held_out_rows"]
truth, patches = data.v_per_m[rows], data.patches[rows]
centre = patches[:, spec.n // 2, spec.n // 2, spec.n // 2]
predicted = {"support": np.asarray(model.predict(patches)), "uniform": np.asarray(table.predict(centre))}
for name, values in predicted.items():
    score = metrics.summary(values, truth)
    mean, median = score["mape_percent"], score["median_ape_percent"]
    print(f"{name}: mean error {mean:.2f} %, median {median:.2f} %, R² {score['r2']:.3f}")

# %%
Picture(predictions_figure(work / "predictions.png", truth, predicted, f"{cell.name}, places held out"))

# %% [markdown]
# `tmsjax evaluate` makes a whole report of it, on a head that it has not seen: that is the test that counts.
#
# ## Keep it, use it
#
# Weights follow the licence of the reconstruction; the card says what they were made from.

# %%
card = {"licence": "CC-BY-4.0", "data_hash": dataset.content_hash(), "data": {"recipe": recipe.as_dict()}}
folder = tj.surrogate.save(model, work / "weights" / cell.name / "monophasic" / "support", card=card)
mine = tj.surrogate.load(folder)
np.testing.assert_allclose(mine.predict(patches), predicted["support"], rtol=1e-6)
print(f"{mine.spec.cell}: {mine.in_domain(patches).mean():.0%} of the held-out fields are like those of training")

# %% [markdown]
# `mine` goes wherever a bundled surrogate does: `tj.response.thresholds(mine, field, population)`,
# `tmsjax optimize --cells L5=mine/L5_PC --weights work/weights`. The same from the shell, resumable and on a cluster:
#
# ```
# tmsjax simulate recipe.toml --reconstruction cell.asc --biophysics L5_TTPC2 --out mine.zarr
# tmsjax train mine.zarr --out weights/mine/L5_PC/monophasic/support --licence CC-BY-4.0
# ```
