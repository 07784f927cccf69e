TITLE Low-voltage-activated calcium current

COMMENT
Avery & Johnston (1996), Randall & Tsien (1997), shifted by -10 mV for the junction potential; Hay et al. (2011).
Kinetics recorded at 21 degC are brought to `celsius` with a Q10 of 2.3.
A gate relaxes exactly over one step of fixed length, x += (1 - exp(-dt/tau)) (inf - x), at the new potential.
ENDCOMMENT

NEURON {
    THREADSAFE
    SUFFIX Ca_LVAst
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
    celsius (degC)
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
    LOCAL q, u, mtau, htau
    TABLE minf, mstep, hinf, hstep
    DEPEND dt, celsius
    FROM -300 TO 300 WITH 6000
    UNITSOFF
    q = 2.3^((celsius - 21)/10)
    u = v + 10
    minf = 1/(1 + exp(-(u + 30)/6))
    mtau = (5 + 20/(1 + exp((u + 25)/5)))/q
    hinf = 1/(1 + exp((u + 80)/6.4))
    htau = (20 + 50/(1 + exp((u + 40)/7)))/q
    mstep = 1 - exp(-dt/mtau)
    hstep = 1 - exp(-dt/htau)
    UNITSON
}
