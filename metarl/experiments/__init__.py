"""Experiments: the four systems as `Experiment(init, step, export)`, and the configurations that describe them."""
