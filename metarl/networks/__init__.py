"""Agent networks."""
