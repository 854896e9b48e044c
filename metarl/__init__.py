"""metarl: learn reinforcement-learning algorithms."""

__version__ = "0.1.0"
