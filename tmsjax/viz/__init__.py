"""Figures: the only room that imports plotting packages."""

from tmsjax.viz.demo import demo_figure
from tmsjax.viz.evaluation import (
    ablation_figure,
    cortex_figure,
    distribution_figure,
    predictions_figure,
    scores_figure,
)
from tmsjax.viz.files import Picture
from tmsjax.viz.mep import mapping_figure, models_figure, reconstructions_figure, responses_figure
from tmsjax.viz.placement import placement_figure
from tmsjax.viz.response import (
    recruitment_figure,
    strength_duration_figure,
    threshold_maps_figure,
    tuning_figure,
)
from tmsjax.viz.surface import View, draw_surface
from tmsjax.viz.timing import timing_figure
from tmsjax.viz.training import training_curves
from tmsjax.viz.unseen_fields import directions_figure, domain_figure, error_sources_figure

__all__ = [
    "Picture",
    "View",
    "ablation_figure",
    "cortex_figure",
    "demo_figure",
    "directions_figure",
    "distribution_figure",
    "domain_figure",
    "draw_surface",
    "error_sources_figure",
    "mapping_figure",
    "models_figure",
    "placement_figure",
    "predictions_figure",
    "reconstructions_figure",
    "recruitment_figure",
    "responses_figure",
    "scores_figure",
    "strength_duration_figure",
    "threshold_maps_figure",
    "timing_figure",
    "training_curves",
    "tuning_figure",
]
