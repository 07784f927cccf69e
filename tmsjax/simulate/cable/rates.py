"""Rates of the channels at 37 C: for a potential (mV), where each gate goes and how fast (1/ms).

The formulas of the `.mod` files of ``tmsjax.cells`` (Markram et al. 2015, Cell 163:456, and the sources named there),
written once for NumPy, JAX and numba (see ops.py). A gate obeys ``x' = rate(V) (end(V) - x)``; over a step ``dt`` the
solver goes the share ``1 - exp(-dt rate)`` of the way, at the new potential.
"""

from __future__ import annotations

from tmsjax.simulate.cable.ops import clip, exp, linoid, log, where
from tmsjax.simulate.cable.simd import inlined

Q10 = 2.3 ** ((37.0 - 21.0) / 10.0)
"""Speed at 37 C of what was recorded at 21 C."""
LOWEST_MV, HIGHEST_MV = -300.0, 300.0
"""Rates are those at these potentials beyond them, as in NEURON's tables."""
NERNST_MV = 8.314462618 * 310.15 / (2.0 * 96485.33212) * 1e3
"""RT / 2F at 37 C."""
CA_OUT_MM = 2.0
CA_REST_MM = 1e-4
SHELL_UM = 0.1
FARADAY = 96485.0


@inlined
def within(v):
    """The potential, kept between the ends of NEURON's tables."""
    return clip(v, LOWEST_MV, HIGHEST_MV)


@inlined
def _sodium(v, shift):
    """NaTa_t (shift 0) and NaTs2_t (shift 6 mV): end and rate of m, then of h."""
    up, down = linoid((v + (38.0 - shift)) * (1.0 / 6.0))
    a, b = (0.182 * 6.0) * up, (0.124 * 6.0) * down
    opening = a + b
    back, forth = linoid((v + (66.0 - shift)) * (1.0 / 6.0))
    c, d = (0.015 * 6.0) * forth, (0.015 * 6.0) * back
    closing = c + d
    return a / opening, Q10 * opening, c / closing, Q10 * closing


@inlined
def nata(v):
    """NaTa_t, m^3 h: Colbert & Pan 2002."""
    return _sodium(v, 0.0)


@inlined
def nats2(v):
    """NaTs2_t, m^3 h: NaTa_t shifted by 6 mV."""
    return _sodium(v, 6.0)


@inlined
def nap(v):
    """Nap_Et2, m^3 h: Magistretti & Alonso 1999."""
    up, down = linoid((v + 38.0) * (1.0 / 6.0))
    opening = (0.182 * 6.0) * up + (0.124 * 6.0) * down
    _, forth = linoid((v + 17.0) * (1.0 / 4.63))
    back, _ = linoid((v + 64.4) * (1.0 / 2.63))
    closing = (2.88e-6 * 4.63) * forth + (6.94e-6 * 2.63) * back
    m = 1.0 / (1.0 + exp((v + 52.6) * (-1.0 / 4.6)))
    h = 1.0 / (1.0 + exp((v + 48.8) * 0.1))
    return m, (Q10 / 6.0) * opening, h, Q10 * closing


@inlined
def k_tst(v):
    """K_Tst, m^4 h: Korngreen & Sakmann 2000."""
    u = v + 10.0
    bell, tail = (u + 71.0) * (1.0 / 59.0), (u + 73.0) * (1.0 / 23.0)
    m = 1.0 / (1.0 + exp(u * (-1.0 / 19.0)))
    h = 1.0 / (1.0 + exp((u + 66.0) * 0.1))
    return m, Q10 / (0.34 + 0.92 * exp(-bell * bell)), h, Q10 / (8.0 + 49.0 * exp(-tail * tail))


@inlined
def k_pst(v):
    """K_Pst, m^2 h: Korngreen & Sakmann 2000."""
    u = v + 10.0
    slow = u < -50.0
    tau = 1.25 + where(slow, u * 0.0 + 175.03, 13.0) * exp(where(slow, 0.026 * u, -0.026 * u))
    bell = (u + 75.0) * (1.0 / 48.0)
    m = 1.0 / (1.0 + exp((u + 1.0) * (-1.0 / 12.0)))
    h = 1.0 / (1.0 + exp((u + 54.0) * (1.0 / 11.0)))
    return m, Q10 / tau, h, Q10 / (360.0 + (1010.0 + 24.0 * (u + 55.0)) * exp(-bell * bell))


@inlined
def skv3(v):
    """SKv3_1, m: no temperature factor."""
    m = 1.0 / (1.0 + exp((v - 18.7) * (-1.0 / 9.7)))
    return m, 0.25 * (1.0 + exp((v + 46.56) * (-1.0 / 44.14)))


@inlined
def im(v):
    """Im, m: Adams et al. 1982."""
    e = exp(0.1 * (v + 35.0))
    a, b = 3.3e-3 * e, 3.3e-3 / e
    return a / (a + b), Q10 * (a + b)


@inlined
def ih(v):
    """Ih, m: Kole et al. 2006."""
    _, down = linoid((v + 154.9) * (1.0 / 11.9))
    a, b = (0.00643 * 11.9) * down, 0.193 * exp(v * (1.0 / 33.1))
    return a / (a + b), a + b


@inlined
def ca_hva(v):
    """Ca_HVA and Ca, m^2 h: Reuveni et al. 1993; no temperature factor."""
    up, _ = linoid((v + 27.0) * (1.0 / 3.8))
    a, b = (0.055 * 3.8) * up, 0.94 * exp((-75.0 - v) * (1.0 / 17.0))
    c, d = 0.000457 * exp((-13.0 - v) * 0.02), 0.0065 / (exp((-15.0 - v) * (1.0 / 28.0)) + 1.0)
    return a / (a + b), a + b, c / (c + d), c + d


@inlined
def ca_lva(v):
    """Ca_LVAst, m^2 h: Avery & Johnston 1996, Randall & Tsien 1997."""
    u = v + 10.0
    m = 1.0 / (1.0 + exp((u + 30.0) * (-1.0 / 6.0)))
    h = 1.0 / (1.0 + exp((u + 80.0) * (1.0 / 6.4)))
    opening = Q10 / (5.0 + 20.0 / (1.0 + exp((u + 25.0) * 0.2)))
    closing = Q10 / (20.0 + 50.0 / (1.0 + exp((u + 40.0) * (1.0 / 7.0))))
    return m, opening, h, closing


@inlined
def sk(calcium_mm):
    """SK_E2, z: the end of its gate at a calcium concentration (mM); the rate is 1/ms. Kohler et al. 1996."""
    return 1.0 / (1.0 + exp(4.8 * log(4.3e-4 / calcium_mm)))


@inlined
def calcium_reversal(calcium_mm):
    """Nernst potential (mV) of calcium at 37 C."""
    return NERNST_MV * log(CA_OUT_MM / calcium_mm)
