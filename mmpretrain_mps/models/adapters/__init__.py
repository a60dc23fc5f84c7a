"""Small modules that are trained beside a frozen model, or within it."""
