"""Target points in a T1 by the multi-resolution network of Baxter et al. (2021, doi 10.1007/s11548-021-02386-1)."""
