"""Engine of mmpretrain_mps."""
