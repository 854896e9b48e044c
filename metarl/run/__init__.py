"""The host side of a run: directory, metrics, checkpoints and the one loop."""
