"""Settings classes are checked when they are made, and give flags, dialogs and macro keys alike."""

import argparse
import dataclasses
import json

import pytest

from stormseg_ij import settings as settings_module
from stormseg_ij.errors import SettingsError
from stormseg_ij.settings import (
    PreprocessSettings,
    SegmentSettings,
    Settings,
    add_arguments,
    flag,
    from_mapping,
    nearest,
    option,
)

ALL = [
    cls
    for cls in vars(settings_module).values()
    if isinstance(cls, type) and issubclass(cls, Settings) and cls is not Settings
]


@dataclasses.dataclass(frozen=True)
class Sample(Settings):
    """One option of every sort."""

    count: int = option(3, "how many", minimum=1, maximum=9)
    share: float = option(0.5, "part of all", above=0.0)
    size: int | str = option("auto", "in pixels", minimum=8, words=("auto",))
    sigma: float | None = option(None, "in pixels", minimum=0.0)
    kind: str = option("cell", "what it shows", choices=("cell", "tissue"))
    name: str = option("", "any text", hint="NAME")
    fast: bool = option(False, "100 % quicker")
    neat: bool | None = option(None, "tidier")


def refusal(settings=Sample, **values) -> str:
    with pytest.raises(SettingsError) as caught:
        from_mapping(settings, values)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def parsed(*arguments: str) -> Sample:
    parser = argparse.ArgumentParser()
    add_arguments(parser, Sample)
    return from_mapping(Sample, vars(parser.parse_args(arguments)))


@pytest.mark.parametrize("settings", ALL, ids=lambda cls: cls.__name__)
def test_every_settings_class_makes_its_defaults(settings):
    made = settings()
    assert from_mapping(settings, made.as_dict()) == made
    json.dumps(made.as_dict())
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(made, dataclasses.fields(made)[0].name, 1)
    for field in dataclasses.fields(settings):
        assert field.metadata["help"], field.name


def test_the_papers_numbers_are_the_defaults():
    made = SegmentSettings()
    assert (made.min_area_fraction, made.size, made.probability, made.nms) == (0.25, "auto", None, None)
    assert PreprocessSettings() == PreprocessSettings(size=None, blur=0.0, equalize=False)


def test_texts_become_numbers_and_truths():
    made = from_mapping(Sample, {"count": "4", "share": "0.25", "size": "512", "sigma": "2", "fast": "yes"})
    assert made == Sample(count=4, share=0.25, size=512, sigma=2.0, fast=True)
    assert type(made.size) is int
    assert type(made.sigma) is float
    assert from_mapping(Sample, {"size": "auto", "fast": ""}) == Sample(fast=True)


@pytest.mark.parametrize("text", ["true", "True", "yes", "1", ""])
def test_words_for_true(text):
    assert Sample(fast=text).fast is True


@pytest.mark.parametrize("text", ["false", "FALSE", "no", "0"])
def test_words_for_false(text):
    assert Sample(fast=text).fast is False


@pytest.mark.parametrize("value", [0, 10, "ten", "1.5", 1.5, "", None, float("nan"), float("inf"), "1e400"])
def test_wrong_whole_numbers(value):
    assert refusal(count=value) == f"--count {value!r}: give a whole number from 1 to 9"


@pytest.mark.parametrize("value", [0, -1.0, "nan", "half", None, float("nan")])
def test_wrong_numbers(value):
    assert refusal(share=value) == f"--share {value!r}: give a number above 0"


def test_truths_are_no_numbers():
    assert "--count True" in refusal(count=True)
    assert "--share False" in refusal(share=False)


def test_other_wrong_values():
    assert refusal(size="big") == "--size 'big': give a whole number of at least 8 or 'auto'"
    assert refusal(kind="plant") == "--kind 'plant': choose from cell, tissue"
    assert refusal(name=3) == "--name 3: give a text"
    assert refusal(fast="maybe") == "--fast 'maybe': give true or false"
    assert refusal(SegmentSettings, nms=2) == "--nms 2: give a number from 0 to 0.9"


def test_unknown_keys_name_the_nearest():
    assert refusal(cuont=1) == "no setting 'cuont'; did you mean 'count'?"
    assert "choose from count, fast, kind, name, neat, share, sigma, size" in refusal(zzz=1)
    assert nearest("segmnt", ["segment", "measure"]) == "did you mean 'segment'?"


def test_flags():
    made = parsed("--count", "4", "--size", "64", "--kind", "tissue", "--no-fast", "--name", "x")
    assert made == Sample(count=4, size=64, kind="tissue", fast=False, name="x")
    assert parsed("--fast").fast is True
    assert parsed() == Sample()
    assert flag("min_area_fraction") == "--min-area-fraction"


def test_a_truth_may_be_left_open():
    assert Sample().neat is None
    assert from_mapping(Sample, {"neat": None}).neat is None
    assert [parsed(flag).neat for flag in ("--neat", "--no-neat")] == [True, False]
    assert [from_mapping(Sample, {"neat": text}).neat for text in ("true", "", "no", True)] == [True, True, False, True]
    assert refusal(neat="maybe") == "--neat 'maybe': give true or false"


def test_absent_flags_are_absent():
    parser = argparse.ArgumentParser()
    add_arguments(parser, Sample)
    assert vars(parser.parse_args([])) == {}


def test_help_tells_range_default_and_choices():
    parser = argparse.ArgumentParser(prog="x", formatter_class=lambda prog: argparse.HelpFormatter(prog, width=200))
    add_arguments(parser, Sample)
    text = parser.format_help()
    for words in (
        "--count N", "how many (from 1 to 9; default: 3)", "part of all (above 0; default: 0.5)", "--size N|auto",
        "in pixels (of at least 8; default: auto)", "--kind cell|tissue", "--name NAME", "--fast, --no-fast",
        "100 % quicker (default: off)",
    ):  # fmt: skip
        assert words in text
    assert "(default: None)" not in text
    assert "(default: )" not in text
