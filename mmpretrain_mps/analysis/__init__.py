"""Things to look at: plots and reports of training runs and grids."""
