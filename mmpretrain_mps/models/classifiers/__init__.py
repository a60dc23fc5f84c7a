"""Classifiers of mmpretrain_mps."""
