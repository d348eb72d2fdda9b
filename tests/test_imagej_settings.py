"""Settings of the commands in ImageJ: those of the command line, and what only ImageJ asks."""

import dataclasses

import pytest

from stormseg_ij.commands import COMMANDS
from stormseg_ij.errors import SettingsError
from stormseg_ij.imagej_settings import ScoreSettings, SegmentNucleiSettings
from stormseg_ij.settings import EvaluateSettings, SegmentSettings

BY_NAME = {command.name: command for command in COMMANDS if command is not None}

KEYS = {
    "Preprocess STORM Image": "size blur equalize",
    "Segment Nuclei": "model size blur equalize probability nms min_area_fraction refine overlap_rules route tile "
    "overlap seed plane rois label_image planes",
    "Measure Nuclei": "nuclei",
    "Score Against Truth": "truth iou colour",
    "Next Nucleus to Review": "zoom start_over",
    "Split Nucleus": "by",
    "Smooth Nuclei": "sigma",
    "Labels to ROIs": "rois image",
}
"""The macro API: once released, keys are only added."""


@pytest.mark.parametrize("name", BY_NAME)
def test_the_keys_of_each_command_stay(name):
    keys = [option.name for option in dataclasses.fields(BY_NAME[name].settings)]
    assert keys == KEYS.get(name, "").split()


@pytest.mark.parametrize("name", BY_NAME)
def test_every_option_has_a_sentence(name):
    for option in dataclasses.fields(BY_NAME[name].settings):
        assert option.metadata["help"].strip()


def test_what_belongs_to_one_image_is_not_remembered():
    options = {option.name: option for command in BY_NAME.values() for option in dataclasses.fields(command.settings)}
    assert {name for name, option in options.items() if not option.metadata["remembered"]} == {
        "plane", "truth", "image",
    }  # fmt: skip


def test_what_imagej_shares_with_the_command_line_has_the_same_defaults():
    for ours, shared in ((SegmentNucleiSettings, SegmentSettings), (ScoreSettings, EvaluateSettings)):
        made = ours().as_dict()
        assert {key: made[key] for key in shared().as_dict()} == shared().as_dict()


def test_one_plane_and_all_planes_contradict_each_other():
    assert SegmentNucleiSettings(plane=2).planes == "shown"
    assert SegmentNucleiSettings(planes="all").plane is None
    with pytest.raises(SettingsError, match="plane=2 and planes=all contradict each other"):
        SegmentNucleiSettings(plane=2, planes="all")


@pytest.mark.parametrize("values", [{"rois": "manager"}, {"planes": "every"}, {"label_image": "maybe"}, {"tile": 9}])
def test_wrong_values_are_refused(values):
    with pytest.raises(SettingsError):
        SegmentNucleiSettings(**values)
