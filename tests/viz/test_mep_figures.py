"""Figures of fields found from responses: files of pictures, on a cortex and without one."""

import numpy as np
from made_up_subject import MUSCLES, subject
from meshes import icosphere

from tmsjax.viz import mapping_figure, models_figure, reconstructions_figure, responses_figure


def test_reconstructions_on_a_cortex_and_on_voxels(tmp_path):
    one = subject(4)
    vertices, faces = icosphere(3)
    cortex = (one.voxels_mm.mean(0) + 18.0 * vertices, faces)
    fields = {"true": one.fields[0], "found": one.fields[1]}
    with_cortex = reconstructions_figure(
        tmp_path / "a.png", one.voxels_mm, fields, cortex=cortex, voxel_mm=4.0, responses=(MUSCLES, one.responses[0])
    )
    bare = reconstructions_figure(tmp_path / "b.pdf", one.voxels_mm, fields, caption="long " * 40)
    assert with_cortex.stat().st_size > 20_000
    assert bare.read_bytes()[:4] == b"%PDF"
    reconstructions_figure(tmp_path / "zero.png", one.voxels_mm, {"true": one.fields[0], "none": 0 * one.fields[0]})


def test_tables_responses_and_mappings(tmp_path):
    rng = np.random.default_rng(0)
    columns = {name: rng.random(30) for name in ("mean", "variance", "nrmse")}
    columns |= {"active": rng.integers(1, 5, 30), "intensity_percent": rng.choice([110.0, 140.0], 30)}
    assert responses_figure(tmp_path / "r.png", columns).stat().st_size > 10_000
    row = {"nrmse": {"mean": 0.1, "sem": 0.01}, "cog_mm": {"mean": 1.0, "sem": 0.1}}
    models_figure(tmp_path / "m.png", {"ridge": {**row, "baseline": True}, "direct_variational": row})
    errors = {"hotspot_mm": rng.random((5, 20)), "threshold_percent": rng.random((5, 20))}
    mapping_figure(tmp_path / "h.png", {"information": errors, "random": errors}, caption="synthetic")
    assert len(list(tmp_path.iterdir())) == 3
