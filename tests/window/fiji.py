"""What a Fiji has and ImageJ alone does not: Groovy, SciJava, Appose, and a folder with our scripts in it."""

import shutil
import zipfile
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace

import pytest
from driver import Driver

from stormseg_ij import install_fiji, installation
from stormseg_ij.bridge.desktop import Desktop

REPOSITORY = Path(__file__).parents[2]
MENU = "Plugins > StormSeg > "
NAME = "My Fiji für alle.app"
"""With blanks and letters beyond ASCII, as people's folders have them."""

_PATIENCE_SECONDS = 120.0  # Python starts, and loads TensorFlow
_GROOVY = "org.apache.groovy"
_JARS = (
    ("org.apposed", "appose", "0.9.0", "b09ce4ff9d7a29518bba7ec7903c63d0504159637376506d9b2a3a70ed37b1bc"),
    (_GROOVY, "groovy", "4.0.33", "5240a9151289115e4d447d6b6d4cb9ac8a9fc6374e079714dfeeffda42323be8"),
    (_GROOVY, "groovy-json", "4.0.33", "8ce2d5074e930ca16ca2e0af96eff87e406cc9d1a0fe3107f0193ed4e7a69582"),
    (_GROOVY, "groovy-jsr223", "4.0.32", "73b24efc770f471d11fb33afde0105765467b21f62db89336259b593c79de745"),
    ("net.java.dev.jna", "jna", "5.19.1", "4fb141dd8ef6b0585ffceea4bc49602fbc6312fa977e2c488794ea3e6aafecae"),
    ("net.java.dev.jna", "jna-platform", "5.19.1", "3b3864f5b449e9c3c24b16861524b622b086563f44e0cd8384c8efc5a6052f82"),
    ("org.scijava", "scijava-common", "2.100.1", "af53bb31087dd46bfe15645c8b7cc69fe837795516816c60f5be78b9ff0ce6a3"),
    ("org.scijava", "parsington", "3.1.0", "7943c91a1e62918ea47d0a08f6b5989a8b388e019216441002236528f769c72a"),
)
"""Group, artifact, version and SHA-256. groovy-jsr223 4.0.33 is not on Maven Central; 4.0.32 is the nearest."""

_OF_FIJI = ("ij-1.54p.jar", "imagej-2.17.0.jar", "imagej-legacy-2.0.3.jar")
"""Empty here: the ImageJ that runs has its own."""


def fiji_jars():
    """Return the jars of Fiji that our scripts need, in the Maven cache; what is not there is downloaded."""
    return [installation.cached_jar(installation.Jar(*jar)) for jar in _JARS]


def put_on_class_path():
    """Give them to Java, which may run already."""
    import jpype

    for jar in fiji_jars():
        jpype.addClassPath(str(jar))


def make_fiji_folder(folder):
    """Make a Fiji in a folder, with our scripts laid out as the installer does; its path has blanks and an umlaut.

    Parameters
    ----------
    folder : Path

    Returns
    -------
    Path
        Fiji's own folder.
    """
    home = folder / NAME
    (home / "plugins").mkdir(parents=True)
    (home / "jars").mkdir()
    for name in _OF_FIJI:
        zipfile.ZipFile(home / "jars" / name, "w").close()
    for jar in fiji_jars():
        shutil.copy(jar, home / "jars")
    install_fiji.install(home)
    return home


@contextmanager
def home_of(java, folder):
    """Let ImageJ think that this folder is its own.

    Parameters
    ----------
    java : callable
        scyjava's jimport.
    folder : Path
    """
    menus, system = java("ij.Menus").class_, java("java.lang.System")
    places = {"ImageJPath": "", "pluginsPath": "plugins/", "macrosPath": "macros/"}
    fields = {name: menus.getDeclaredField(name) for name in places}
    before = {}
    for name, field in fields.items():
        field.setAccessible(True)
        before[name] = field.get(None)
        field.set(None, f"{folder}/{places[name]}")
    properties = {key: system.getProperty(key) for key in ("imagej.dir", "plugins.dir")}
    for key in properties:
        system.setProperty(key, str(folder))
    try:
        yield
    finally:
        for name, field in fields.items():
            field.set(None, before[name])
        for key, value in properties.items():
            if value is None:
                system.clearProperty(key)
            else:
                system.setProperty(key, value)


class Fiji:
    """A Fiji without its own window: ImageJ's, SciJava, and our scripts in its folder."""

    def __init__(self, ij, home, remembered):
        from scyjava import jimport

        self.java, self.home = jimport, home
        self.driver = Driver(SimpleNamespace(desk=Desktop(ij), running=""))
        loader = jimport("groovy.lang.GroovyClassLoader")(jimport("groovy.lang.GroovyShell").class_.getClassLoader())
        source = (REPOSITORY / "tests" / "window" / "scijava.groovy").read_text(encoding="utf-8")
        loader.parseClass(source, "scijava.groovy")
        made, file = loader.loadClass("SciJava").getConstructors()[0], jimport("java.io.File")
        self.scijava = made.newInstance(file(str(home / "scripts")), file(str(remembered)))

    def menu(self, name, answers=(), *, cancel=False):
        """Choose a script in the menu; a person fills these fields and presses OK, or cancels."""
        values = None if cancel else {key: _for_java(value) for key, value in dict(answers).items()}
        return self._seen(lambda: self.scijava.menu(MENU + name, values))

    def macro(self, name, options=""):
        """Run a script as ``run(name, options)`` of a macro does."""
        return self._seen(lambda: self.scijava.macro(MENU + name, options))

    def dialogs(self):
        """Return the dialogs of SciJava that the last script opened: title and fields."""
        return [
            (str(dialog["title"]), [{str(key): field[key] for key in field} for field in dialog["fields"]])
            for dialog in self.scijava.dialogs()
        ]

    def _seen(self, work):
        given = []
        outcome = self.driver.seen(lambda: given.append(work()))
        assert given == [None]  # Fiji would show what a script gives back
        assert list(self.scijava.logged()) == []
        return outcome

    def close(self):
        """End SciJava, and Python."""
        self.scijava.close()
        kept = self.java("java.lang.System").getProperties().remove("stormseg.door")
        if kept is not None:
            kept[1].close()


@contextmanager
def running(ij, folder):
    """Make a Fiji with our scripts out of the ImageJ that runs; what it keeps of unsaved images is in the folder too.

    Parameters
    ----------
    ij : ImageJ
    folder : Path
    """
    from scyjava import jimport

    put_on_class_path()
    home = make_fiji_folder(folder)
    with pytest.MonkeyPatch.context() as patch, home_of(jimport, home):
        patch.setenv("XDG_DATA_HOME", str(folder / "data"))
        patch.setattr("driver.PATIENCE_SECONDS", _PATIENCE_SECONDS)
        made = Fiji(ij, home, folder / "prefs")
        made.driver.tidy()
        try:
            yield made
        finally:
            made.driver.tidy()
            made.close()


def _for_java(value):
    """Give Java's own objects on, all else as text."""
    from jpype import JObject

    return value if isinstance(value, JObject) else str(value)
