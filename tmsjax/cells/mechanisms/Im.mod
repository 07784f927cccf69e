TITLE Muscarinic potassium current

COMMENT
Adams et al. (1982); Hay et al. (2011).
Kinetics recorded at 21 degC are brought to `celsius` with a Q10 of 2.3.
A gate relaxes exactly over one step of fixed length, x += (1 - exp(-dt/tau)) (inf - x), at the new potential.
ENDCOMMENT

NEURON {
    THREADSAFE
    SUFFIX Im
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
    celsius (degC)
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
    LOCAL q, a, b, mtau
    TABLE minf, mstep
    DEPEND dt, celsius
    FROM -300 TO 300 WITH 6000
    UNITSOFF
    q = 2.3^((celsius - 21)/10)
    a = 3.3e-3*exp(0.1*(v + 35))
    b = 3.3e-3*exp(-0.1*(v + 35))
    minf = a/(a + b)
    mtau = 1/(a + b)/q
    mstep = 1 - exp(-dt/mtau)
    UNITSON
}
