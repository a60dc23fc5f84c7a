"""Weights of CLIP and of networks beside it: what names stand for, where they are, how they are read."""
