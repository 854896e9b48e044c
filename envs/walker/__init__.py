"""A parametric planar biped, and four-legged, on tracks of stumps and hexagons."""
