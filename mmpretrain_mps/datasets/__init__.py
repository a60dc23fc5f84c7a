"""Datasets of mmpretrain_mps."""
