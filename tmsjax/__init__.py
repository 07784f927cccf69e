"""From a TMS coil over a head to which neurons fire: differentiable end to end, in JAX.

Rooms load on first use, so that NEURON's worker processes never import JAX.
"""

import lazy_loader

__version__ = "0.1.0"

__getattr__, __dir__, _ = lazy_loader.attach(
    __name__,
    submodules=[
        "cells",
        "coil",
        "core",
        "cortex",
        "efield",
        "head",
        "io",
        "mep",
        "nn",
        "optimize",
        "response",
        "simulate",
        "surrogate",
        "target",
        "viz",
    ],
)
