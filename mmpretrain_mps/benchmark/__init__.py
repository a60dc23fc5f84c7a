"""Grids of few-shot runs: data sets x shots x seeds x recipes, their tables and curves."""
