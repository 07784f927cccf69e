TITLE Fast potassium current (Kv3.1)

COMMENT
Rettig et al. (1992); Hay et al. (2011). No temperature factor.
A gate relaxes exactly over one step of fixed length, x += (1 - exp(-dt/tau)) (inf - x), at the new potential.
ENDCOMMENT

NEURON {
    THREADSAFE
    SUFFIX SKv3_1
    USEION k READ ek WRITE ik
    RANGE gbar, minf, mstep
}

UNITS {
    (mV) = (millivolt)
    (mA) = (milliamp)
    (S) = (siemens)
}

PARAMETER {
    gbar = 0 (S/cm2)
}

STATE { m }

ASSIGNED {
    v (mV)
    dt (ms)
    ek (mV)
    ik (mA/cm2)
    minf
    mstep
}

INITIAL {
    rates(v)
    m = minf
}

BREAKPOINT {
    LOCAL g
    CONDUCTANCE g USEION k
    SOLVE relax
    g = gbar * m
    ik = g * (v - ek)
}

PROCEDURE relax() {
    rates(v)
    m = m + mstep * (minf - m)
}

PROCEDURE rates(v (mV)) {
    LOCAL mtau
    TABLE minf, mstep
    DEPEND dt
    FROM -300 TO 300 WITH 6000
    UNITSOFF
    minf = 1/(1 + exp(-(v - 18.7)/9.7))
    mtau = 4/(1 + exp(-(v + 46.56)/44.14))
    mstep = 1 - exp(-dt/mtau)
    UNITSON
}
