"""Boxes that teachers are tested in."""

import pytest

from metarl.teachers.base import task_box


@pytest.fixture
def stumps():
    """The box of stump tracks, with its returns."""
    return task_box([0.0, 0.0], [3.0, 6.0], return_range=(-150.0, 350.0), success_return=230.0)
