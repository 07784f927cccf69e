"""Cases of an ablation, and that each is trained and judged on its own grid."""

import dataclasses

import numpy as np
import pytest

from tmsjax.core.errors import InputError
from tmsjax.nn import metrics
from tmsjax.surrogate import SupportSpec, SurrogateSpec, UniformSpec, WeiseSpec, train_weise
from tmsjax.surrogate.cnn import CnnSpec
from tmsjax.surrogate.evaluation import Case, Data, ablation, coordinate_cases, sample_cases, side_cases


def test_the_papers_cases_of_a_cnn():
    spec = SurrogateSpec("synthetic", family="cnn", model=CnnSpec(unit_v_per_m=100.0))
    cases = sample_cases(spec)
    assert [(case.value, case.variant) for case in cases[:2]] == [(3, "variable size"), (3, "constant size")]
    assert len(cases) == 8
    kernels = {
        (c.value, c.variant): (c.spec.model.kernel, c.spec.model.conv_layers, c.spec.model.upsample) for c in cases
    }
    assert kernels[3, "variable size"] == (2, 2, 0)
    assert kernels[7, "variable size"] == (2, 4, 0)
    assert kernels[5, "constant size"] == (3, 4, 9)
    assert kernels[9, "constant size"] == (3, 4, 0)
    assert {c.spec.model.unit_v_per_m for c in cases} == {100.0}
    assert [c.spec.side_mm for c in side_cases(spec)] == [1.0, 1.5, 2.0, 2.5, 3.0]
    assert [c.spec.model.coordinates for c in coordinate_cases(spec)] == ["cartesian", "spherical"]


def test_a_support_function_keeps_the_degrees_that_fit():
    spec = SurrogateSpec("synthetic", model=SupportSpec((2, 3, 4)))
    assert [case.spec.model.degrees for case in sample_cases(spec)] == [(2,), (2, 3, 4), (2, 3, 4), (2, 3, 4)]
    for wrong in (
        coordinate_cases,
        lambda s: sample_cases(dataclasses.replace(s, family="uniform", model=UniformSpec())),
    ):
        with pytest.raises(InputError):
            wrong(spec)


def bent_fields(n, side_mm, seed, count=400):
    """Fields along z that grow by a random share per mm: a larger cube sees more of it."""
    rng = np.random.default_rng(seed)
    polar, gradient = np.arccos(rng.uniform(-1, 1, count)), rng.uniform(-0.3, 0.3, count)
    tick = np.linspace(-side_mm / 2, side_mm / 2, n)
    along = 1 + gradient[:, None] * tick + 0.3 * np.sin(2 * np.pi * tick / 1.5)
    direction = np.stack([np.sin(polar), 0 * polar, np.cos(polar)], -1)
    patches = np.broadcast_to(along[:, None, None, :, None] * direction[:, None, None, None], (count, n, n, n, 3))
    return patches.astype(np.float32), 200 * (1 + gradient) + 40 * np.cos(polar)


def test_every_case_is_trained_on_its_grid_and_scored():
    spec = SurrogateSpec("synthetic", family="weise", model=WeiseSpec(gradients=5))
    cases = [*side_cases(spec, (1.5, 3.0)), Case("n", 3, "coarse", dataclasses.replace(spec, n=3, side_mm=1.0))]
    said = []
    data = lambda seed: lambda spec: Data(*bent_fields(spec.n, spec.side_mm, seed))  # noqa: E731
    rows = ablation(
        cases, lambda some, spec: train_weise(some.patches, some.v_per_m, spec), data(0), data(1), said.append
    )
    assert [(row["varied"], row["value"], row["variant"]) for row in rows] == [
        ("side_mm", 1.5, "weise"),
        ("side_mm", 3.0, "weise"),
        ("n", 3, "coarse"),
    ]
    for case, row in zip(cases, rows, strict=True):
        model = train_weise(*bent_fields(case.spec.n, case.spec.side_mm, 0), case.spec)
        patches, truth = bent_fields(case.spec.n, case.spec.side_mm, 1)
        assert row["mape_percent"] == pytest.approx(metrics.mape(np.asarray(model.predict(patches)), truth), rel=1e-4)
        assert row["mape_percent"] < 2
    assert len({row["mape_percent"] for row in rows}) == len(said) == 3


def test_cases_must_be_judged_on_the_same_neurons():
    cases = side_cases(SurrogateSpec("synthetic", family="weise", model=WeiseSpec()), (1.5, 3.0))
    data = lambda spec: Data(*bent_fields(spec.n, spec.side_mm, 0, 60 + int(spec.side_mm)))  # noqa: E731
    with pytest.raises(InputError, match="other neurons"):
        ablation(cases, lambda some, spec: train_weise(some.patches, some.v_per_m, spec), data, data)
