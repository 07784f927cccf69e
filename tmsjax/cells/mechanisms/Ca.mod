TITLE High-voltage-activated calcium current of interneurons

COMMENT
Reuveni et al. (1993); Hay et al. (2011). No temperature factor.
A gate relaxes exactly over one step of fixed length, x += (1 - exp(-dt/tau)) (inf - x), at the new potential.
ENDCOMMENT

NEURON {
    THREADSAFE
    SUFFIX Ca
    USEION ca READ eca WRITE ica
    RANGE gbar, minf, mstep, hinf, hstep
}

UNITS {
    (mV) = (millivolt)
    (mA) = (milliamp)
    (S) = (siemens)
}

PARAMETER {
    gbar = 0 (S/cm2)
}

STATE { m h }

ASSIGNED {
    v (mV)
    dt (ms)
    eca (mV)
    ica (mA/cm2)
    minf
    mstep
    hinf
    hstep
}

INITIAL {
    rates(v)
    m = minf
    h = hinf
}

BREAKPOINT {
    LOCAL g
    CONDUCTANCE g USEION ca
    SOLVE relax
    g = gbar * m*m * h
    ica = g * (v - eca)
}

PROCEDURE relax() {
    rates(v)
    m = m + mstep * (minf - m)
    h = h + hstep * (hinf - h)
}

PROCEDURE rates(v (mV)) {
    LOCAL a, b, mtau, htau
    TABLE minf, mstep, hinf, hstep
    DEPEND dt
    FROM -300 TO 300 WITH 6000
    UNITSOFF
    a = linoid(0.055, v + 27, 3.8)
    b = 0.94*exp((-75 - v)/17)
    minf = a/(a + b)
    mtau = 1/(a + b)
    a = 0.000457*exp((-13 - v)/50)
    b = 0.0065/(exp((-15 - v)/28) + 1)
    hinf = a/(a + b)
    htau = 1/(a + b)
    mstep = 1 - exp(-dt/mtau)
    hstep = 1 - exp(-dt/htau)
    UNITSON
}

INCLUDE "linoid.inc"
