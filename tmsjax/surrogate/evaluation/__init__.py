"""Evaluation: tables of how surrogates do against simulated thresholds; ``tmsjax.viz`` draws them."""

from tmsjax.surrogate.evaluation.ablation import Case, Data, ablation, coordinate_cases, sample_cases, side_cases
from tmsjax.surrogate.evaluation.gradient import directional_gradients, jacobian_norm
from tmsjax.surrogate.evaluation.initiation import initiation_errors, interpolated
from tmsjax.surrogate.evaluation.judge import error_sources, judge
from tmsjax.surrogate.evaluation.maps import CortexMap, cortex_map
from tmsjax.surrogate.evaluation.point_source import (
    area_under_curve,
    electrodes,
    flagged,
    point_source_field,
    point_source_patches,
    point_source_test,
    simulate_point_sources,
)
from tmsjax.surrogate.evaluation.regression import Regression, regress
from tmsjax.surrogate.evaluation.scores import (
    Judged,
    Rows,
    binned,
    error_percentiles,
    joined,
    place_medians,
    score_table,
)
from tmsjax.surrogate.evaluation.timing import Method, time_by_count
from tmsjax.surrogate.evaluation.uniform_field import uniform_field_test, uniform_patches

__all__ = [
    "Case",
    "CortexMap",
    "Data",
    "Judged",
    "Method",
    "Regression",
    "Rows",
    "ablation",
    "area_under_curve",
    "binned",
    "coordinate_cases",
    "cortex_map",
    "directional_gradients",
    "electrodes",
    "error_percentiles",
    "error_sources",
    "flagged",
    "initiation_errors",
    "interpolated",
    "jacobian_norm",
    "joined",
    "judge",
    "place_medians",
    "point_source_field",
    "point_source_patches",
    "point_source_test",
    "regress",
    "sample_cases",
    "score_table",
    "side_cases",
    "simulate_point_sources",
    "time_by_count",
    "uniform_field_test",
    "uniform_patches",
]
