"""Backbones of mmpretrain_mps."""
