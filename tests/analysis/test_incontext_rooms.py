"""Who is shown in rooms: models of Dark Rooms, in each that they were trained on."""

import numpy as np

from analysis.incontext_rooms import room_pictures, rooms_section
from metarl.incontext.export import load_model
from tests.analysis.test_incontext import BANDIT, ROOM, write_model


def test_models_of_no_room_are_shown_in_none(tmp_path):
    write_model(tmp_path, BANDIT)
    assert room_pictures(load_model(tmp_path / "export")) == [] and rooms_section([]) == ""


def test_every_room_of_training_has_pictures_of_its_size(tmp_path):
    write_model(tmp_path, ROOM, "darkroom@size=4,horizon=4")
    pictures = {picture.name: picture for picture in room_pictures(load_model(tmp_path / "export"))}
    for size in (3, 4):
        assert np.shape(pictures[f"policy_darkroom-size-{size}-horizon-4"].numbers["visited"])[1:] == (size, size)
        assert f"attention_darkroom-size-{size}-horizon-4" in pictures
    assert len(pictures) == 4
