TITLE Persistent potassium current

COMMENT
Korngreen & Sakmann (2000), shifted by -10 mV for the junction potential; Hay et al. (2011).
Kinetics recorded at 21 degC are brought to `celsius` with a Q10 of 2.3.
A gate relaxes exactly over one step of fixed length, x += (1 - exp(-dt/tau)) (inf - x), at the new potential.
ENDCOMMENT

NEURON {
    THREADSAFE
    SUFFIX K_Pst
    USEION k READ ek WRITE ik
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
    ek (mV)
    ik (mA/cm2)
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
    CONDUCTANCE g USEION k
    SOLVE relax
    g = gbar * m*m * h
    ik = g * (v - ek)
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
    minf = 1/(1 + exp(-(u + 1)/12))
    if (u < -50) {
        mtau = (1.25 + 175.03*exp(0.026*u))/q
    } else {
        mtau = (1.25 + 13*exp(-0.026*u))/q
    }
    hinf = 1/(1 + exp((u + 54)/11))
    htau = (360 + (1010 + 24*(u + 55))*exp(-((u + 75)/48)^2))/q
    mstep = 1 - exp(-dt/mtau)
    hstep = 1 - exp(-dt/htau)
    UNITSON
}
