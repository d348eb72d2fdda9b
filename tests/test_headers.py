"""The scripts of Fiji's menu are those that the settings classes give; SciJava reads them in a window test."""

import ast
import dataclasses
import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from stormseg_ij import headers
from stormseg_ij.commands import COMMANDS

COMMAND = pytest.mark.parametrize("command", headers.commands(), ids=lambda command: command.name)
ANEW = "python -m stormseg_ij.headers fiji_scripts/menu"
PRINTED = st.text(st.characters(exclude_categories=("C",)))


@pytest.fixture
def menu(repository):
    return repository / "fiji_scripts" / "menu"


def test_there_is_a_script_for_each_command_and_no_other(menu):
    names = sorted(path.name for path in menu.iterdir())
    assert names == sorted(headers.file_name(command) for command in COMMANDS if command is not None), ANEW
    assert all("_" in name and " " not in name for name in names)  # Fiji's menu takes no others


@COMMAND
def test_the_committed_script_is_the_one_that_is_made(menu, command):
    assert (menu / headers.file_name(command)).read_text(encoding="utf-8") == headers.script(command), ANEW


@COMMAND
def test_there_is_a_field_for_each_option_and_the_rare_ones_come_last(command):
    options = dataclasses.fields(command.settings)
    keys = [line.split()[-1] for line in headers.fields(command)]
    usual = [option.name for option in options if not option.metadata["rare"]]
    assert keys == [*usual, *(option.name for option in options if option.metadata["rare"])]


@COMMAND
def test_no_line_of_a_script_is_a_field_of_its_own(command):
    """SciJava takes a line that begins so for a field of the menu's script; a macro would be asked for it."""
    lines = headers.script(command).splitlines()
    assert not any(line.startswith("#@") for line in lines)
    assert [line.strip() for line in lines if "#@" in line] == headers.fields(command)


@pytest.mark.parametrize(("name", "asks"), [("Segment Nuclei", "true"), ("Split Nucleus", "false")])
def test_the_menu_asks_where_the_other_menu_does(menu, name, asks):
    text = (menu / f"{name.replace(' ', '_')}.groovy").read_text(encoding="utf-8")
    assert f'.choose("{name}", this, {asks}, ' in text


@given(PRINTED)
@example('"')
@example("\\")
@example("'''")
@example("\\'''")
def test_any_text_survives_both_parsers(text):
    """SciJava's texts are quoted as JSON's, Groovy's as Python's."""
    inside = headers._text(text)
    assert json.loads(inside) == text
    assert ast.literal_eval(f"'''\n{headers._in_groovy(inside)}\n'''") == f"\n{inside}\n"


def test_the_scripts_are_written_in_place_of_old_ones(tmp_path, menu):
    (tmp_path / "Segment_Nuclei.groovy").write_text("old", encoding="utf-8")
    headers.main([str(tmp_path / "new")])
    headers.main([str(tmp_path)])
    for path in menu.iterdir():
        for folder in (tmp_path, tmp_path / "new"):
            assert (folder / path.name).read_bytes() == path.read_bytes()


def test_making_them_needs_neither_java_nor_networks(run_python):
    code = "import sys; from stormseg_ij import headers; [headers.script(c) for c in headers.commands()]; "
    done = run_python(code + "print({'jpype', 'scyjava', 'tensorflow', 'keras'} & set(sys.modules))")
    assert done.stdout.strip() == "set()", done.stderr
