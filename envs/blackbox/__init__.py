"""Tasks for Bayesian optimisation: a pool of candidates whose values are seen one at a time."""
