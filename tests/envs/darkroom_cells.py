"""Cells of the dark room of size 10 that several tests speak of."""

import itertools

import numpy as np

TEST_GOALS = [
    *[(2, 5), (3, 7), (8, 1), (4, 6), (3, 9), (6, 5), (5, 8), (1, 2), (8, 8), (7, 0)],
    *[(8, 7), (3, 6), (2, 1), (8, 3), (0, 9), (9, 6), (6, 7), (6, 4), (4, 7), (4, 4)],
]
"""Goals that nobody trains on, in the order of the public code."""
ALL_CELLS = np.array(list(itertools.product(range(10), range(10))), np.int32)
