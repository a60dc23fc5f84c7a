"""Evaluation of mmpretrain_mps."""
