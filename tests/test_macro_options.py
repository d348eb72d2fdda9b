"""What a macro writes comes back as the settings it was written from, and is what ImageJ itself reads."""

import dataclasses
import typing

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from stormseg_ij import imagej_settings
from stormseg_ij import settings as settings_module
from stormseg_ij.errors import SettingsError
from stormseg_ij.imagej_settings import ScoreSettings, SegmentNucleiSettings
from stormseg_ij.macro_options import parse, quoted, settings_from, text_of, written, written_quoted
from stormseg_ij.settings import PreprocessSettings, Settings

ALL = sorted(
    {
        cls
        for module in (settings_module, imagej_settings)
        for cls in vars(module).values()
        if isinstance(cls, type) and issubclass(cls, Settings) and cls is not Settings
    },
    key=lambda cls: cls.__name__,
)

IN_IMAGEJ = [cls for cls in ALL if cls.__module__ == imagej_settings.__name__]

PATHS = [
    "a b.tif", "C:\\My Models\\storm [1]\\", "it's 5 \"big\".tif", "näher µm 核.zip", "[all] in brackets", "'quoted'",
    " blanks ", "x=1 size=3", "size=9", "true", "auto", "full\u3000width\u3000", "tab\tin\t", "a[b", "]",
]  # fmt: skip

texts = st.one_of(st.sampled_from(PATHS), st.text("ab []'\"\\=µ核\u3000/.", max_size=12), st.text(max_size=12))


def can_be_written(value: str) -> bool:
    """The one rule: brackets pair, as ImageJ counts them, where there must be brackets around the value."""
    depth = 0
    for letter in value:
        depth += (letter == "[") - (letter == "]")
        if depth < 0:
            return False
    return depth == 0


def options_of(settings: Settings) -> str:
    """Return the options as they stand in a macro."""
    return " ".join(f"{key}={value}" for key, value in written_quoted(settings).items())


def values_of(option: dataclasses.Field, hint: object) -> st.SearchStrategy:
    """All values that an option takes."""
    meta = option.metadata
    kinds = typing.get_args(hint) or (hint,)
    low = meta["minimum"] if meta["minimum"] is not None else meta["above"]
    found = [st.sampled_from(words) for words in (meta["words"], meta["choices"]) if words]
    if bool in kinds:
        found.append(st.booleans())
    elif int in kinds:
        found.append(st.integers(low, meta["maximum"]))
    elif float in kinds:
        found.append(st.floats(low, meta["maximum"], exclude_min=meta["above"] is not None, allow_infinity=False))
    elif str in kinds and not meta["choices"]:
        found.append(texts.filter(can_be_written))
    if type(None) in kinds:
        found.append(st.none())
    return st.one_of(found)


@st.composite
def made(draw: st.DrawFn, settings: type[Settings]) -> Settings:
    hints = typing.get_type_hints(settings)
    chosen = {option.name: draw(values_of(option, hints[option.name])) for option in dataclasses.fields(settings)}
    try:
        return settings(**chosen)
    except SettingsError:  # values that are right, but not together: those numbers stay at their defaults
        return settings(**{key: value for key, value in chosen.items() if type(value) is not int})


@pytest.mark.parametrize("settings", ALL, ids=lambda cls: cls.__name__)
@given(data=st.data())
def test_settings_come_back_from_a_macro(settings, data):
    values = data.draw(made(settings))
    line = options_of(values)
    assert settings_from(line, settings) == values
    assert settings_from(f"  {line} ", settings) == values
    assert list(parse(line)) == [option.name for option in dataclasses.fields(settings)]  # all keys, in full


@pytest.mark.parametrize("settings", ALL, ids=lambda cls: cls.__name__)
def test_a_macro_may_leave_out_every_key(settings):
    assert settings_from("", settings) == settings_from("   ", settings) == settings()


@given(value=texts)
@example(value="a]b c[")
@example(value="[")
def test_a_value_is_written_or_refused(value):
    try:
        text = quoted(value)
    except SettingsError:
        assert not can_be_written(value)
    else:
        assert parse(f"before=1 key={text} after=2") == {"before": "1", "key": value, "after": "2"}
        assert parse(f"key={text}") == {"key": value}


@given(value=texts)
@example(value="")
@example(value="a]")
def test_imagej_reads_the_same(ij, value):
    """ImageJ looks for ``key=`` anywhere, also within a value; apart from that it must read what we write."""
    from scyjava import jimport

    assume(can_be_written(value) and "=" not in value)
    options = f"size=12 truth={quoted(value)} rois=append"
    read = jimport("ij.Macro").getValue
    assert {key: str(read(options, key, "none")) for key in ("size", "truth", "rois")} == parse(options)


@given(data=st.data())
def test_imagej_reads_the_same_settings(ij, data):
    from scyjava import jimport

    read = jimport("ij.Macro").getValue
    for settings in IN_IMAGEJ:
        values = data.draw(made(settings))
        if any("=" in text for text in written(values).values()):
            continue
        line = options_of(values)
        assert {key: str(read(line, key, "none")) for key in written(values)} == written(values), line


@pytest.mark.parametrize("settings", IN_IMAGEJ, ids=lambda cls: cls.__name__)
def test_imagej_cannot_take_one_key_for_another(settings):
    """Its Macro.getValue finds "image=" in "label_image=": plugins of others that read our options would be wrong."""
    names = [option.name for option in dataclasses.fields(settings)]
    assert not [(long, short) for long in names for short in names if long.endswith(f"_{short}")]


@pytest.mark.parametrize(
    ("options", "values"),
    [
        ("equalize", {"equalize": "true"}),
        ("equalize size=8", {"equalize": "true", "size": "8"}),
        ("size=8   equalize   blur=2 ", {"size": "8", "equalize": "true", "blur": "2"}),
        ("truth='a b' iou=0.5", {"truth": "a b", "iou": "0.5"}),
        ("truth=[] iou=0.5", {"truth": "", "iou": "0.5"}),
        ("truth= iou=0.5", {"truth": "", "iou": "0.5"}),
        ("truth=[a [b] c]", {"truth": "a [b] c"}),
        ("TRUTH=Abc", {"truth": "Abc"}),
        ("truth=[x=1 size=3] colour", {"truth": "x=1 size=3", "colour": "true"}),
    ],
)
def test_what_people_write(options, values):
    assert parse(options) == values


def refusal(options: str, settings: type[Settings] = SegmentNucleiSettings) -> str:
    with pytest.raises(SettingsError) as caught:
        settings_from(options, settings)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_an_unknown_key_names_the_nearest():
    assert refusal("probabilty=0.5") == "no setting 'probabilty'; did you mean 'probability'?"
    assert refusal("labelimage") == "no setting 'labelimage'; did you mean 'label_image'?"
    assert "choose from blur, equalize, size" in refusal("zzz", PreprocessSettings)


def test_a_key_given_twice_is_refused():
    assert refusal("size=8 blur=1 size=9") == "the setting 'size' is given twice; leave one"
    assert refusal("equalize Equalize=false") == "the setting 'equalize' is given twice; leave one"


@pytest.mark.parametrize("options", ["model=[my model size=8", "truth='my truth", "model=[a [b]"])
def test_what_is_not_closed_is_refused(options):
    with pytest.raises(SettingsError, match="close it"):
        parse(options)


def test_a_wrong_value_is_told_with_its_key_and_range():
    assert refusal("size=3") == "--size '3': give a whole number from 8 to 100000 or 'auto'"
    assert "choose from append, replace, overlay" in refusal("rois=manager")
    assert "contradict" in refusal("plane=2 planes=all")


def test_numbers_are_written_short_and_in_full():
    assert [text_of(value) for value in (2.0, 0.7, 1e-5, 0.1 + 0.2, 512, None, True, "x")] == [
        "2", "0.7", "1e-05", "0.30000000000000004", "512", "auto", "true", "x",
    ]  # fmt: skip


def test_a_file_that_no_macro_can_name_is_refused_where_it_would_be_written():
    for name in ("a ]b[.zip", "[x.tif", "'[x.tif"):
        with pytest.raises(SettingsError, match="rename the file"):
            written_quoted(ScoreSettings(truth=name))
