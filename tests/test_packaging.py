"""pyproject.toml, requirements.lock, environment.yml, the wheel and the notebooks agree with one another."""

import ast
import json
import re
import sys
import tomllib
import zlib
from importlib.metadata import distribution, packages_distributions

import pytest
import yaml
from conftest import ROOT
from lock import declared, lock
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

from imgprep import __version__
from imgprep.app import parameters

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["project"]
LOCK = [Requirement(line) for line in (ROOT / "requirements.lock").read_text("utf-8").splitlines() if line[0] != "#"]
OWNERS = packages_distributions()
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))


def imported(folder: str) -> set[str]:
    """Top-level names of the modules that the files of a folder import, anywhere in them."""
    names = set()
    for file in (ROOT / folder).rglob("*.py"):
        if "benchmarks" in file.parts:  # which compare with packages of their own
            continue
        for node in ast.walk(ast.parse(file.read_text("utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and not node.level:
                names.add(node.module.partition(".")[0])
    return names - set(sys.stdlib_module_names)


def test_every_dependency_is_pinned_within_its_range():
    pins = {canonicalize_name(r.name): next(iter(r.specifier)) for r in LOCK}
    for requirement in declared():
        pin = pins[canonicalize_name(requirement.name)]
        assert pin.operator == "==" and requirement.specifier.contains(pin.version), requirement


def test_the_lock_is_what_the_dependencies_need():
    # make installs nothing but the lock: a name too few is a missing module, one too many is an unexplained download
    assert {canonicalize_name(r.name) for r in LOCK} == {
        canonicalize_name(Requirement(line).name) for line in lock().splitlines() if line[0] != "#"
    }


def test_the_lock_holds_names_and_versions_only():
    for line in (ROOT / "requirements.lock").read_text("utf-8").splitlines()[1:]:
        assert re.fullmatch(r'[a-z0-9-]+==[0-9a-z.+]+( ; python_version < "3\.\d+")?', line), line


def test_the_oldest_python_that_is_promised_takes_every_package():
    """Debian 12 has 3.11.2, and a package of the lock wanted 3.11.5."""
    promised = Version(PROJECT["requires-python"].removeprefix(">=") + ".0")
    wanted = {r.name: distribution(r.name).metadata["Requires-Python"] for r in LOCK}
    assert [n for n, pythons in wanted.items() if pythons and promised not in SpecifierSet(pythons)] == []


def test_two_builds_of_opencv_never_meet():
    names = {canonicalize_name(r.name) for r in LOCK}
    assert {n for n in names if n.startswith("opencv")} == {"opencv-python-headless"}


def test_conda_gets_the_same():
    environment = yaml.safe_load((ROOT / "environment.yml").read_text("utf-8"))
    python, pip, packages = environment["dependencies"]
    assert environment["name"] == PROJECT["name"] and pip == "pip"
    assert python.startswith("python" + PROJECT["requires-python"])
    assert packages == {"pip": ["-r requirements.lock", "-e .[test]"]}


def test_everything_imported_is_declared():
    extras = [r for name, more in PROJECT["optional-dependencies"].items() if name != "test" for r in more]
    known = {canonicalize_name(Requirement(r).name) for r in PROJECT["dependencies"] + extras}
    tests = known | {canonicalize_name(r.name) for r in declared()}
    here = {p.stem for p in (ROOT / "tests").rglob("*.py")} | {"imgprep"}
    for folder, allowed in (("imgprep", known), ("tests", tests)):
        for module in imported(folder) - here:
            owners = {canonicalize_name(n) for n in OWNERS.get(module, [module])}
            assert owners & allowed, f"{folder}/ imports {module}, which pyproject.toml does not ask for"


def test_every_dependency_is_used():
    # Not imported by us: papermill's kernel, the widgets of tqdm's bars, `imgprep lab`.
    silent = {"ipykernel", "ipywidgets", "jupyterlab"}
    used = {canonicalize_name(n) for m in imported("imgprep") for n in OWNERS.get(m, [])}
    assert {canonicalize_name(Requirement(r).name) for r in PROJECT["dependencies"]} - used == silent


def test_one_version():
    assert PROJECT["version"] == __version__


def test_the_wheel_carries_the_notebooks_and_the_pipelines(unpacked_wheel):
    for folder, pattern in (("notebooks", "*.ipynb"), ("pipelines", "*.yaml")):
        carried = {p.name: p.read_bytes() for p in (unpacked_wheel / "imgprep" / "_assets" / folder).glob(pattern)}
        assert carried == {p.name: p.read_bytes() for p in (ROOT / folder).glob(pattern)} != {}
    files = [p for p in unpacked_wheel.rglob("*") if p.is_file()]
    assert not [p for p in files if p.suffix in (".pyc", ".csv", ".png") or p.name.startswith("test_")]
    # Weights, pictures and bundles would show here; code may grow with what it does.
    assert sum(p.stat().st_size for p in files if p.suffix != ".py") < 512 << 10
    assert sum(len(zlib.compress(p.read_bytes())) for p in files) < 1 << 20


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda p: p.name)
class TestNotebook:
    """The form that every notebook has, so that papermill, nbval, JupyterLab and a reader find what they look for."""

    def test_it_is_stored_without_results(self, path):
        text = path.read_text("utf-8")
        notebook = json.loads(text)
        assert "injected-parameters" not in text and "papermill" not in notebook["metadata"]
        for cell in notebook["cells"]:
            if cell["cell_type"] == "code":
                assert cell["outputs"] == [] and cell["execution_count"] is None, "".join(cell["source"])
        assert "widgets" not in notebook["metadata"]

    def test_it_opens_with_a_title_and_one_cell_of_typed_literals(self, path):
        notebook = json.loads(path.read_text("utf-8"))
        assert "".join(notebook["cells"][0]["source"]).startswith("# ")
        cell = parameters.cell_of(notebook, path.name)
        found = parameters.declared(cell, path.name)
        assert found and all(p.help for p in found.values()), "each parameter has a comment that says what it is"
        first_code = next(c for c in notebook["cells"] if c["cell_type"] == "code")
        assert "".join(first_code["source"]) == cell

    def test_papermill_recognises_every_parameter(self, path):
        import papermill

        cell = parameters.cell_of(json.loads(path.read_text("utf-8")), path.name)
        found = papermill.inspect_notebook(str(path))
        wanted = parameters.declared(cell, path.name)
        read = {name: one["help"] for name, one in found.items()}
        assert read == {name: parameter.help for name, parameter in wanted.items()}

    def test_it_ends_its_session(self, path):
        code = [c for c in json.loads(path.read_text("utf-8"))["cells"] if c["cell_type"] == "code"]
        # Otherwise Ray is cut down with the kernel, which prints a trace of forty lines.
        assert "".join(code[-1]["source"]).rstrip().endswith("imgprep.close()")

    def test_its_cells_are_short_and_leave_the_work_to_the_package(self, path):
        for cell in json.loads(path.read_text("utf-8"))["cells"]:
            source = "".join(cell["source"])
            if cell["cell_type"] == "code" and "parameters" not in cell["metadata"].get("tags", []):
                assert len(source.splitlines()) <= 8, source
                assert not re.search(r"^\s*(try|while|def|for image)\b|ray\.init", source, re.M), source


@pytest.mark.parametrize("path", sorted((ROOT / "pipelines").glob("*.yaml")), ids=lambda p: p.stem)
def test_every_pipeline_ends_with_publishing_which_is_off(path):
    pipeline = yaml.safe_load(path.read_text("utf-8"))
    last = pipeline["steps"][-1]
    assert last["notebook"] == "notebooks/05_publish.ipynb" and last["when"] == "${repo_id}"
    assert pipeline["parameters"]["repo_id"] == ""


def test_no_notebook_writes_where_the_demo_does():
    """Run All after `make demo`, with a notebook's own limit, leaves the demo's rows alone."""
    products = (ROOT / "pipelines/products.yaml").read_text()
    (demo,) = re.findall(r"^  out: (\S+)$", products, re.M)
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        for out in re.findall(r'"out: str = \\"(\S+?)\\"', path.read_text()):
            assert not f"{out}/".startswith(f"{demo}/") and not f"{demo}/".startswith(f"{out}/"), path.name
