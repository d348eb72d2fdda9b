"""StormSeg's commands in ImageJ's window, and a person who uses them."""

import pytest
from person import Person, until


@pytest.fixture(scope="module")
def bench(ij, tmp_path_factory):
    """The commands in ImageJ; nuclei of unsaved images are kept in a folder of the tests."""
    from stormseg_ij import commands

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_DATA_HOME", str(tmp_path_factory.mktemp("data")))
        made = commands.install(ij)
        yield made
        made.close()


@pytest.fixture
def person(ij, bench):
    """Somebody before a tidy desk: no image, no ROI Manager, no remembered values; and so it is left."""
    someone = Person()
    yield someone
    _tidy(someone, bench)


def _tidy(someone, bench):
    """Close what is open."""
    java = someone.java
    dialogs = java("java.awt.Dialog")
    for window in java("java.awt.Window").getWindows():
        if isinstance(window, dialogs) and window.isShowing():
            window.dispose()
    someone.press("ESCAPE")
    until(lambda: not bench.running, "the command ends")
    images = java("ij.WindowManager")
    for number in list(images.getIDList() or ()):
        imp = images.getImage(number)
        imp.changes = False
        imp.close()
    if someone.manager is not None:
        someone.manager.reset()
        someone.manager.close()
    results = images.getWindow("Results")
    if results is not None:
        java("ij.IJ").run("Clear Results")
        results.dispose()
    for title in list(images.getNonImageTitles()):
        window = images.getWindow(title)
        if window is not None:
            window.dispose()
            images.removeWindow(window)
    if java("ij.IJ").getLog() is not None:
        java("ij.IJ").log("\\Close")
    java("ij.gui.Toolbar").getInstance().setTool(0)
    _forget(java)


def _forget(java):
    """Take the values that dialogs remember out of ImageJ's preferences."""
    import dataclasses

    from stormseg_ij.commands import COMMANDS

    for command in COMMANDS:
        if command is not None:
            for option in dataclasses.fields(command.settings):
                java("ij.Prefs").set(f"stormseg.{command.name.lower().replace(' ', '-')}.{option.name}", None)
    java("ij.Prefs").set("stormseg.model-folders", None)
