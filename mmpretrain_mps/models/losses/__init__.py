"""Losses of mmpretrain_mps."""
