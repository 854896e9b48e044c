"""Meta-Bayesian optimisation: a transformer neural process that chooses what to evaluate next."""
