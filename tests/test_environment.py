"""environment.yml is the conda form of pyproject.toml, and the other files that name a version or command agree."""

import re
import tomllib

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import stormseg_ij


@pytest.fixture(scope="module")
def project(repository):
    return tomllib.loads((repository / "pyproject.toml").read_text(encoding="utf-8"))["project"]


@pytest.fixture(scope="module")
def conda(repository):
    return yaml.safe_load((repository / "environment.yml").read_text(encoding="utf-8"))


def wanted(lines):
    """Name -> version specifier of requirement lines."""
    requirements = [Requirement(line) for line in lines]
    return {canonicalize_name(requirement.name): requirement.specifier for requirement in requirements}


def test_conda_wants_what_pip_wants(project, conda):
    lines = [line for line in conda["dependencies"] if isinstance(line, str)]
    (by_pip,) = [line["pip"] for line in conda["dependencies"] if isinstance(line, dict)]
    assert by_pip[-1] == "--editable ."
    found = wanted([*lines, *by_pip[:-1]])
    assert len(found) == len(lines) + len(by_pip) - 1, "a package is named twice"
    assert found.pop("python") == Requirement(f"python{project['requires-python']}").specifier
    assert found.pop("pip") == ""
    assert found == wanted(project["dependencies"])


def test_every_dependency_has_a_lower_bound(project):
    for name, specifier in wanted(project["dependencies"]).items():
        assert any(bound.operator == ">=" for bound in specifier), name


def test_makefile_takes_the_pythons_of_pyproject(project, repository):
    text = (repository / "Makefile").read_text(encoding="utf-8")
    low, high = re.search(r"\(3, (\d+)\) <= v\[:2\] <= \(3, (\d+)\)", text).groups()
    assert project["requires-python"] == f">=3.{low},<3.{int(high) + 1}"
    for minor in range(int(low), int(high) + 1):
        assert f"Programming Language :: Python :: 3.{minor}" in project["classifiers"]


def test_the_version_is_the_same_everywhere(repository):
    citation = yaml.safe_load((repository / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["version"] == stormseg_ij.__version__
    assert f"## [{stormseg_ij.__version__}]" in (repository / "CHANGELOG.md").read_text(encoding="utf-8")


def test_citation_names_this_software_and_the_paper(repository, project):
    citation = yaml.safe_load((repository / "CITATION.cff").read_text(encoding="utf-8"))
    assert citation["cff-version"] == "1.2.0"
    assert {"message", "title", "authors"} <= set(citation)
    assert (citation["type"], citation["license"]) == ("software", project["license"])
    (paper,) = citation["references"]
    assert [author["family-names"] for author in paper["authors"]] == ["Mela", "Liu"]
    assert (paper["doi"], paper["year"], paper["volume"]) == ("10.1186/s12859-021-04245-x", 2021, 22)


def test_hooks_run_what_make_test_runs(repository):
    config = yaml.safe_load((repository / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    assert [group["repo"] for group in config["repos"]] == ["local"], "hooks need no network"
    entries = [hook["entry"] for group in config["repos"] for hook in group["hooks"]]
    makefile = (repository / "Makefile").read_text(encoding="utf-8")
    for tool in re.findall(r"^\t\$\(BIN\)/(ruff format|ruff|mypy)", makefile, re.MULTILINE):
        assert any(tool in entry for entry in entries), tool
