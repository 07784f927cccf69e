COMMENT
The extracellular drive of a neuron as axial-current injection, and the detection of its action potentials.

A segment receives the current density scale * wave(t) * amp (mA/cm2). With amp from the quasipotentials
(I = sum_j (es_j - es_i) / R_ij over area) this is exactly the drive of a potential outside the membrane, at a fifth of the cost of
NEURON's extracellular mechanism.

Every step adds the segments whose voltage has just crossed 0 mV upward to "count" (set it to 0 before a run), and a segment keeps
the time of its first crossing (set "first" below 0 before).
ENDCOMMENT

NEURON {
    SUFFIX QuasiInjection
    NONSPECIFIC_CURRENT i
    RANGE amp, first
    GLOBAL wave, scale, count
}

UNITS {
    (mV) = (millivolt)
    (mA) = (milliamp)
}

PARAMETER {
    amp = 0 (mA/cm2)
    scale = 1 (1)
}

ASSIGNED {
    v (mV)
    i (mA/cm2)
    wave (1)
    count (1)
    before (mV)
    first (ms)
}

INITIAL {
    before = v
    first = -1
    count = 0
}

BREAKPOINT {
    SOLVE crossing
    before = v
    i = -scale * wave * amp
}

PROCEDURE crossing() {
    if (v >= 0 && before < 0) {
        count = count + 1
        if (first < 0) {
            first = t
        }
    }
}
