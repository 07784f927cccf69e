TITLE Small-conductance calcium-activated potassium current

COMMENT
Kohler et al. (1996); Hay et al. (2011), ModelDB 139653. The gate follows calcium with a time constant of 1 ms.
A gate relaxes exactly over one step of fixed length, x += (1 - exp(-dt/tau)) (inf - x).
ENDCOMMENT

NEURON {
    THREADSAFE
    SUFFIX SK_E2
    USEION k READ ek WRITE ik
    USEION ca READ cai
    RANGE gbar, zinf
}

UNITS {
    (mV) = (millivolt)
    (mA) = (milliamp)
    (mM) = (milli/liter)
    (S) = (siemens)
}

PARAMETER {
    gbar = 0 (S/cm2)
    ztau = 1 (ms)
}

STATE { z }

ASSIGNED {
    v (mV)
    dt (ms)
    cai (mM)
    ek (mV)
    ik (mA/cm2)
    zinf
}

INITIAL {
    z = opening(cai)
}

BREAKPOINT {
    LOCAL g
    CONDUCTANCE g USEION k
    SOLVE relax
    g = gbar * z
    ik = g * (v - ek)
}

PROCEDURE relax() {
    zinf = opening(cai)
    z = z + (1 - exp(-dt/ztau)) * (zinf - z)
}

FUNCTION opening(c (mM)) {
    if (c < 1e-7) {
        opening = 0
    } else {
        opening = 1/(1 + (4.3e-4 (mM)/c)^4.8)
    }
}
