TITLE Hyperpolarisation-activated cation current

COMMENT
Kole et al. (2006); Hay et al. (2011). No temperature factor.
A gate relaxes exactly over one step of fixed length, x += (1 - exp(-dt/tau)) (inf - x), at the new potential.
ENDCOMMENT

NEURON {
    THREADSAFE
    SUFFIX Ih
    NONSPECIFIC_CURRENT i
    RANGE e
    RANGE gbar, minf, mstep
}

UNITS {
    (mV) = (millivolt)
    (mA) = (milliamp)
    (S) = (siemens)
}

PARAMETER {
    gbar = 0 (S/cm2)
    e = -45 (mV)
}

STATE { m }

ASSIGNED {
    v (mV)
    dt (ms)
    i (mA/cm2)
    minf
    mstep
}

INITIAL {
    rates(v)
    m = minf
}

BREAKPOINT {
    LOCAL g
    CONDUCTANCE g
    SOLVE relax
    g = gbar * m
    i = g * (v - e)
}

PROCEDURE relax() {
    rates(v)
    m = m + mstep * (minf - m)
}

PROCEDURE rates(v (mV)) {
    LOCAL a, b, mtau
    TABLE minf, mstep
    DEPEND dt
    FROM -300 TO 300 WITH 6000
    UNITSOFF
    a = linoid(0.00643, -v - 154.9, 11.9)
    b = 0.193*exp(v/33.1)
    minf = a/(a + b)
    mtau = 1/(a + b)
    mstep = 1 - exp(-dt/mtau)
    UNITSON
}

INCLUDE "linoid.inc"
