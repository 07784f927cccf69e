"""The batched cable solver: NEURON's equations for many fields and amplitudes (lanes) at once.

``rates`` the channels' formulas, ``ops`` and ``simd`` what they are written in; ``tree`` the order of elimination,
``membrane`` the resting state, ``program`` both as flat arrays; ``step`` and ``queue`` the numba kernel, ``engine`` its
threads. ``device`` is the same in JAX, for accelerators and gradients.
"""
