"""Learning rules as values."""
