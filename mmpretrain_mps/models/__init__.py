"""Models of mmpretrain_mps."""
