"""Populations of candidates: strategies, fitness shaping, pairing, and the generation step over devices."""
