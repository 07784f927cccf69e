TITLE Persistent sodium current

COMMENT
Magistretti & Alonso (1999), activation six times slower than the transient current; Hay et al. (2011).
Kinetics recorded at 21 degC are brought to `celsius` with a Q10 of 2.3.
A gate relaxes exactly over one step of fixed length, x += (1 - exp(-dt/tau)) (inf - x), at the new potential.
ENDCOMMENT

NEURON {
    THREADSAFE
    SUFFIX Nap_Et2
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
    minf = 1/(1 + exp(-(v + 52.6)/4.6))
    mtau = 6/(a + b)/q
    a = linoid(2.88e-6, -v - 17, 4.63)
    b = linoid(6.94e-6, v + 64.4, 2.63)
    hinf = 1/(1 + exp((v + 48.8)/10))
    htau = 1/(a + b)/q
    mstep = 1 - exp(-dt/mtau)
    hstep = 1 - exp(-dt/htau)
    UNITSON
}

INCLUDE "linoid.inc"
