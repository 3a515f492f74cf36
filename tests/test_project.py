"""The frame of the project: pins, environment file, README."""

import ast
import re
import sys
import tomllib
from importlib import metadata
from pathlib import Path

import make_readme
import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.version import Version

from ppmlib.record import records

REPOSITORY = Path(__file__).parents[1]
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
PINS = dict(
    line.lower().replace("_", "-").split("==")
    for line in (REPOSITORY / "constraints.txt").read_text().splitlines()
    if line and not line.startswith("#")
)


def requirements() -> list[Requirement]:
    groups = [PROJECT["dependencies"], *PROJECT["optional-dependencies"].values()]
    return [Requirement(text) for group in groups for text in group]


def test_every_dependency_is_pinned_inside_its_range():
    for requirement in requirements():
        pin = PINS[requirement.name.lower().replace("_", "-")]
        assert requirement.specifier.contains(pin), f"{requirement} but pinned {pin}"


@pytest.mark.parametrize("python", ["3.11.0", "3.11.2", "3.12.0", "3.13.0"])
def test_every_pinned_package_installs_on_every_python_we_admit(python):
    assert python in SpecifierSet(PROJECT["requires-python"])
    refused = [
        f"{package.name} {package.version} needs Python {needs}"
        for package in metadata.distributions()
        if PINS.get(package.name.lower().replace("_", "-")) == package.version
        and python not in SpecifierSet(needs := package.metadata.get("Requires-Python") or "")
    ]
    assert not refused


# A new major version of these has not broken what we use of them, or they number by the calendar.
OPEN_ENDED = {
    *("accelerate", "immutabledict", "ipykernel", "ipywidgets", "jinja2", "jupyterlab"),
    *("langdetect", "latex2mathml", "markupsafe", "nltk", "pillow", "playwright", "psutil"),
    *("pyarrow", "pygments", "pytest", "pytest-timeout", "pytest-xdist", "pyyaml", "ruff"),
    *("safetensors", "statsmodels"),
}
# Versions below 1 that break at the next minor one: lm-eval 0.5 is a new design, seaborn's own
# warnings say what 0.14 takes away.
BREAK_AT_MINOR = {"lm-eval", "seaborn"}


def test_no_dependency_is_admitted_at_its_next_breaking_version():
    for requirement in requirements():
        major, minor = Version(PINS[requirement.name.lower().replace("_", "-")]).release[:2]
        minors = requirement.name in BREAK_AT_MINOR
        following = f"{major}.{minor + 1}" if minors else f"{major + 1}.0"
        admitted = requirement.specifier.contains(following)
        assert admitted == (requirement.name in OPEN_ENDED), f"{requirement}: {following}"


def test_every_package_that_the_code_imports_is_declared():
    """Save those that belong to a declared one: its own parts, which it brings."""
    brought = {"IPython", "cycler", "pynvml", "snakemake_interface_logger_plugins", "tokenizers"}
    brought |= {"tqdm", "traitlets"}
    other = {"PIL": "pillow", "lm_eval": "lm-eval", "yaml": "pyyaml"}
    declared = {requirement.name for requirement in requirements()}
    imported = set()
    for file in (REPOSITORY / "ppmlib").rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                imported |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                imported.add(node.module.partition(".")[0])
    packages = imported - sys.stdlib_module_names - brought - {"ppmlib"}
    assert {other.get(name, name) for name in packages} <= declared


def test_pins_have_no_local_suffix_and_no_hash():
    for name, pin in PINS.items():
        assert Version(pin).local is None and "hash" not in pin, name
    assert PINS["torch"] == "2.13.0"


def test_the_ranges_admit_older_torch_and_python_up_to_3_13():
    (torch,) = [r for r in requirements() if r.name == "torch"]
    assert torch.specifier.contains("2.6.0") and torch.specifier.contains("2.11.0")
    for version in ("3.11.0", "3.12.0", "3.13.0"):
        assert Requirement(f"x{PROJECT['requires-python']}").specifier.contains(version)


def test_the_conda_environment_is_python_pip_and_this_package_with_the_same_pins():
    environment = yaml.safe_load((REPOSITORY / "environment.yml").read_text())
    python, pip, packages = environment["dependencies"]
    assert python == "python=3.11" and pip == "pip"
    assert packages == {"pip": ["-c constraints.txt", "-e .[dev]"]}


def test_the_readme_names_only_files_that_exist():
    text = (REPOSITORY / "README.md").read_text()
    links = re.findall(r"\]\((?!https?://|#)([^)#]+)\)", text)
    assert links
    for link in links:
        assert (REPOSITORY / link).exists(), link
    for name in re.findall(r"^(\w[\w./-]*/?) {2,}", text, flags=re.M):
        assert (REPOSITORY / name).exists() or "<" in name, name


def test_the_readme_shows_the_published_figure_and_the_table_of_the_example():
    text = (REPOSITORY / "README.md").read_text()
    assert make_readme.updated(text, REPOSITORY / "reports") == text


def test_the_committed_example_is_as_it_was_written():
    assert records.verify(REPOSITORY / "reports" / "example-bench") == []


def test_no_comprehension_names_its_variable_like_something_of_its_module():
    """Python 3.12 inlines comprehensions; 3.12.3 then lost the module's own name."""
    shadowed = []
    for file in sorted((REPOSITORY / "ppmlib").rglob("*.py")):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        defined = {
            node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)
        }
        for node in ast.walk(tree):
            if isinstance(node, ast.comprehension):
                names = {each.id for each in ast.walk(node.target) if isinstance(each, ast.Name)}
                shadowed += [f"{file.name}:{node.target.lineno}: {n}" for n in names & defined]
    assert shadowed == []
