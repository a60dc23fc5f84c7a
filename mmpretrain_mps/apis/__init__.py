"""Apis of mmpretrain_mps."""
