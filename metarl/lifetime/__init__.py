"""Whole RL lives as pure functions."""
