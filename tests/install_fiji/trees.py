"""What tests of installing share: names, and a look at folders."""

import zipfile

WHOLE = ("ij-1.54p.jar", "imagej-2.17.0.jar", "imagej-legacy-2.0.3.jar", "scijava-common-2.99.2.jar")
NEEDED = (
    "appose-0.9.0.jar",
    "groovy-4.0.28.jar",
    "groovy-json-4.0.28.jar",
    "jna-5.14.0.jar",
    "jna-platform-5.14.0.jar",
)
MENU = "scripts/Plugins/StormSeg"


def tree(folder, *, but=()):
    """All that is in a folder: path -> content, None for a folder."""
    paths = {path.relative_to(folder).as_posix(): path for path in folder.rglob("*")}
    return {name: None if path.is_dir() else path.read_bytes() for name, path in paths.items() if name not in but}


def stamps(folder):
    return {path: (path.stat().st_mtime_ns, path.stat().st_ino) for path in folder.rglob("*")}


def put_jar(fiji, name):
    (fiji / name).parent.mkdir(parents=True, exist_ok=True)
    zipfile.ZipFile(fiji / name, "w").close()
