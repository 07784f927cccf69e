TITLE Transient sodium current of the axon

COMMENT
Colbert & Pan (2002); Hay et al. (2011), ModelDB 139653.
Kinetics recorded at 21 degC are brought to `celsius` with a Q10 of 2.3.
A gate relaxes exactly over one step of fixed length, x += (1 - exp(-dt/tau)) (inf - x), at the new potential.
ENDCOMMENT

NEURON {
    THREADSAFE
    SUFFIX NaTa_t
    USEION na READ ena WRITE ina
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
    celsius (degC)
    ena (mV)
    ina (mA/cm2)
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
    CONDUCTANCE g USEION na
    SOLVE relax
    g = gbar * m*m*m * h
    ina = g * (v - ena)
}

PROCEDURE relax() {
    rates(v)
    m = m + mstep * (minf - m)
    h = h + hstep * (hinf - h)
}

PROCEDURE rates(v (mV)) {
    LOCAL q, a, b, mtau, htau
    TABLE minf, mstep, hinf, hstep
    DEPEND dt, celsius
    FROM -300 TO 300 WITH 6000
    UNITSOFF
    q = 2.3^((celsius - 21)/10)
    a = linoid(0.182, v + 38, 6)
    b = linoid(0.124, -v - 38, 6)
    minf = a/(a + b)
    mtau = 1/(a + b)/q
    a = linoid(0.015, -v - 66, 6)
    b = linoid(0.015, v + 66, 6)
    hinf = a/(a + b)
    htau = 1/(a + b)/q
    mstep = 1 - exp(-dt/mtau)
    hstep = 1 - exp(-dt/htau)
    UNITSON
}

INCLUDE "linoid.inc"
