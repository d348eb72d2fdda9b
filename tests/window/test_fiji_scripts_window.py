"""Fiji's menu: SciJava finds our scripts, reads their fields and runs them; the commands do what they do elsewhere."""

import dataclasses

import pytest
from fiji import MENU, REPOSITORY, put_on_class_path, running

from stormseg_ij import headers, macro_options
from stormseg_ij.imagej_settings import in_keys, label_of
from stormseg_ij.settings import help_text

pytestmark = pytest.mark.window

COMMANDS = {command.name: command for command in headers.commands()}
WITH_FIELDS = [name for name, command in COMMANDS.items() if headers.fields(command)]
EXAMPLES = sorted((REPOSITORY / "fiji_scripts" / "examples").glob("*.groovy"))
TYPES = {
    "model": "String", "size": "String", "blur": "String", "equalize": "Boolean", "probability": "String",
    "nms": "String", "min_area_fraction": "Double", "refine": "String", "overlap_rules": "String", "rois": "String",
    "label_image": "Boolean", "planes": "String", "route": "String", "tile": "Integer", "overlap": "Integer",
    "seed": "Integer", "plane": "String",
}  # fmt: skip
"""Of Segment Nuclei, in the order of its dialog."""


@pytest.fixture(scope="session", autouse=True)
def _jars():
    """Before ImageJ starts, if it does not run already: as in Fiji."""
    put_on_class_path()


@pytest.fixture(scope="module")
def fiji(ij, tmp_path_factory):
    with running(ij, tmp_path_factory.mktemp("fiji")) as made:
        yield made


@pytest.fixture
def echo(fiji, monkeypatch):
    """Put a library in place of ours that keeps what it is asked for."""
    library, system = fiji.home / "stormseg" / "StormSeg.groovy", fiji.java("java.lang.System")
    real = library.read_bytes()
    library.write_text(
        "class StormSeg { static boolean run(String name, Map values) { "
        'System.properties["stormseg.echo"] = [name, values, ij.Macro.options]; true } }',
        encoding="utf-8",
    )

    def heard():
        """Return name, values and a macro's options of the last call; None where there was none."""
        found = system.getProperties().remove("stormseg.echo")
        if found is None:
            return None
        options = None if found[2] is None else str(found[2])
        return str(found[0]), {str(key): str(found[1][key]) for key in found[1]}, options

    heard()
    yield heard
    library.write_bytes(real)


# What SciJava makes of the scripts


def test_scijava_finds_each_command_in_its_menu(fiji):
    found = {str(path) for path in fiji.scijava.getFound().keySet()}
    examples = {f"{MENU}Examples > {path.stem.replace('_', ' ')}" for path in EXAMPLES}
    assert found == {MENU + name for name in COMMANDS} | examples
    assert len(examples) == 3


@pytest.mark.parametrize("name", WITH_FIELDS)
def test_the_dialog_has_the_fields_of_the_settings(fiji, echo, name):
    fiji.menu(name, cancel=True) if COMMANDS[name].asks else _with_alt(fiji, name)
    ((title, fields),) = fiji.dialogs()
    assert title == name
    options = {option.name: option for option in dataclasses.fields(COMMANDS[name].settings)}
    assert sorted(options) == sorted(field["name"] for field in fields)
    for field in fields:
        option = options[str(field["name"])]
        meta, kind = option.metadata, str(field["type"])
        assert field["label"] == label_of(option.name)
        assert field["description"] == in_keys(help_text(option))
        assert field["visibility"] == "NORMAL"
        assert bool(field["persisted"]) == meta["remembered"]
        if meta["remembered"]:
            assert field["key"] == f"stormseg.{name.lower().replace(' ', '-')}.{option.name}"
        if kind == "File":
            assert (field["value"], bool(field["required"]), option.default) == ("null", False, "")
            continue
        shown = str(field["value"])
        assert (float(shown) if kind == "Double" else shown) == (
            option.default if kind == "Double" else macro_options.text_of(option.default)
        )
        if kind in ("Integer", "Double"):
            assert (field["minimum"], field["maximum"]) == (meta["minimum"], meta["maximum"])
        choices = [str(choice) for choice in field["choices"]]
        assert choices == (["auto", "yes", "no"] if option.name == "refine" else list(meta["choices"]))
    assert echo() is None  # cancelled


def test_the_types_of_the_fields(fiji, echo):
    fiji.menu("Segment Nuclei", cancel=True)
    assert {str(field["name"]): str(field["type"]) for field in fiji.dialogs()[0][1]} == TYPES
    assert list(TYPES) == [str(field["name"]) for field in fiji.dialogs()[0][1]]
    fiji.menu("Score Against Truth", cancel=True)
    assert [str(field["type"]) for field in fiji.dialogs()[0][1]] == ["File", "Double", "Boolean"]


def test_what_a_person_fills_in_arrives_and_is_remembered(fiji, echo):
    fiji.menu("Smooth Nuclei", {"sigma": 3.5})
    assert echo() == ("Smooth Nuclei", {"sigma": "3.5"}, None)
    fiji.menu("Smooth Nuclei")
    assert echo() == ("Smooth Nuclei", {"sigma": "3.5"}, None)
    fiji.menu("Smooth Nuclei", {"sigma": 2})
    fiji.menu("Segment Nuclei", {"plane": 2, "size": 512})
    assert echo()[1]["plane"] == "2"
    fiji.menu("Segment Nuclei")
    values = echo()[1]
    assert (values["plane"], values["size"], values["model"]) == ("auto", "512", "stardist-storm")
    fiji.menu("Segment Nuclei", {"size": "auto"})
    fiji.menu("Labels to ROIs")
    assert echo() == ("Labels to ROIs", {"rois": "append", "image": ""}, None)


def test_what_the_scripts_share_is_compiled_once_and_again_when_its_file_changes(fiji, echo):
    def shared():
        fiji.menu("Smooth Nuclei")
        assert echo()[0] == "Smooth Nuclei"
        return fiji.java("java.lang.System").getProperties().get("stormseg.menu")

    first, file = shared(), fiji.home / "stormseg" / "Menu.groovy"
    assert shared().equals(first)
    file.write_text(file.read_text(encoding="utf-8") + "\n", encoding="utf-8")
    assert not shared().equals(first)
    assert shared().equals(shared())


def test_a_file_that_is_not_given_is_none(fiji, echo, tmp_path):
    fiji.menu("Score Against Truth")
    assert "truth" not in echo()[1]
    fiji.menu("Score Against Truth", {"truth": tmp_path / "a b.zip"})
    assert echo()[1] == {"truth": str(tmp_path / "a b.zip"), "iou": "0.7", "colour": "true"}


@pytest.mark.parametrize("name", COMMANDS)
def test_a_macro_is_never_asked_and_its_options_arrive_as_they_stand(fiji, echo, name):
    fiji.macro(name, "any=[thing at all] key")
    assert echo() == (name, {}, "any=[thing at all] key ")
    assert fiji.dialogs() == []


def test_in_batch_mode_nobody_is_asked_and_the_last_values_do_not_count(fiji, echo):
    fiji.menu("Smooth Nuclei", {"sigma": 3.5})
    echo()
    batch = fiji.java("ij.macro.Interpreter").class_.getDeclaredField("batchMode")
    batch.setAccessible(True)
    batch.setBoolean(None, True)
    try:
        fiji.menu("Smooth Nuclei")
    finally:
        batch.setBoolean(None, False)
    assert echo() == ("Smooth Nuclei", {}, None)
    assert fiji.dialogs() == []
    fiji.menu("Smooth Nuclei", {"sigma": 2})


def test_a_macro_does_not_get_what_a_person_filled_in(fiji, echo):
    fiji.menu("Smooth Nuclei", {"sigma": 3.5})
    fiji.macro("Smooth Nuclei", "x=1")
    assert echo()[1] == {}
    fiji.menu("Smooth Nuclei", {"sigma": 2})


@pytest.mark.parametrize("name", [name for name, command in COMMANDS.items() if not headers.fields(command)])
def test_a_command_without_settings_asks_nothing(fiji, echo, name):
    fiji.menu(name)
    assert echo() == (name, {}, None)
    assert fiji.dialogs() == []


@pytest.mark.parametrize("name", [name for name, command in COMMANDS.items() if not command.asks])
def test_a_command_for_again_and_again_takes_the_defaults(fiji, echo, name):
    fiji.menu(name)
    assert echo() == (name, {}, None)
    assert fiji.dialogs() == []


def _with_alt(fiji, name):
    """Choose a command with Alt held down."""
    image_j = fiji.java("ij.IJ")
    image_j.setKeyDown(18)
    try:
        return fiji.menu(name, cancel=True)
    finally:
        image_j.setKeyUp(18)
