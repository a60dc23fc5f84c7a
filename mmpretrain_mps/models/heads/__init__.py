"""Heads of mmpretrain_mps."""
