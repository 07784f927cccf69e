"""Placing coils by the thresholds of neurons: targets, objectives, search, baselines.

best = place_coil(head, coil, targets.ball(head, target_mm), model)     # pose, value, history, status
"""

from tmsjax.optimize import baselines, targets
from tmsjax.optimize.groups import Target
from tmsjax.optimize.objectives import activation_map, lowest_didt, mean_field, percentile_field, selectivity
from tmsjax.optimize.place import Placement, place, place_coil
from tmsjax.optimize.problem import Problem, prepare
from tmsjax.optimize.search import SearchPlan, search
from tmsjax.optimize.variables import Variables

__all__ = [
    "Placement",
    "Problem",
    "SearchPlan",
    "Target",
    "Variables",
    "activation_map",
    "baselines",
    "lowest_didt",
    "mean_field",
    "percentile_field",
    "place",
    "place_coil",
    "prepare",
    "search",
    "selectivity",
    "targets",
]
