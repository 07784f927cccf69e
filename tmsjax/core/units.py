"""Units of the library and the constants that tie them: mm, ms, V/m, A/us, S/m, mV."""

MU0_OVER_4PI = 1e-7
"""Vacuum permeability over 4 pi, in T.m/A (SI)."""

DIPOLE_A = 1e5
"""dA/dt of a dipole: ``DIPOLE_A * didt_a_per_us * moment x d / |d|^3`` in V/m, moment in A.m2 per A, d in mm.

mu0/4pi [1e-7] x dI/dt [1e6 A/s per A/us] x 1/mm2 [1e6 per m2].
"""
