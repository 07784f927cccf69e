TITLE Calcium in a thin shell under the membrane

COMMENT
Destexhe et al. (1994); Hay et al. (2011), ModelDB 139653. Of the calcium that enters, a fraction gamma stays free in
a shell of 0.1 um and decays to 1e-4 mM. The linear equation is solved exactly over one step of fixed length.
ENDCOMMENT

NEURON {
    THREADSAFE
    SUFFIX CaDynamics_E2
    USEION ca READ ica WRITE cai
    RANGE gamma, decay
}

UNITS {
    (mA) = (milliamp)
    (mM) = (milli/liter)
    (um) = (micron)
}

PARAMETER {
    gamma = 0.05
    decay = 80 (ms)
    depth = 0.1 (um)
    resting = 1e-4 (mM)
    faraday = 96485 (coulomb)
}

STATE { cai (mM) }

ASSIGNED {
    dt (ms)
    ica (mA/cm2)
}

BREAKPOINT {
    SOLVE relax
}

PROCEDURE relax() {
    LOCAL settled
    UNITSOFF
    settled = resting - decay * 1e4 * ica * gamma/(2*faraday*depth)
    cai = cai + (1 - exp(-dt/decay)) * (settled - cai)
    UNITSON
}
