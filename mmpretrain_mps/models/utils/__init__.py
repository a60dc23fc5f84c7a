"""Utils of mmpretrain_mps."""
