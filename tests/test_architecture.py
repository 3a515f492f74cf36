"""ARCHITECTURE.md says which room of ppmlib imports which; the imports of the code agree."""

import ast
import re
from collections import defaultdict
from pathlib import Path

import grimp
import pytest

REPOSITORY = Path(__file__).parents[1]
PACKAGES = sorted(
    path.parent
    for path in (REPOSITORY / "ppmlib").rglob("__init__.py")
    if path.parent.name not in ("ppmlib", "tasks")
)
OPEN = {"cli"}  # may import every room


@pytest.fixture(scope="module")
def allowed():
    """The table of rooms: each room's own list of rooms, in the order of the table."""
    text = (REPOSITORY / "ARCHITECTURE.md").read_text()
    text = text.partition("## Rooms")[2].partition("## ")[0]
    rows = re.findall(r"^\| `(\w+)` \|[^|]+\| ?([\w, ]*)\|$", text, re.MULTILINE)
    return {room: {name for name in re.split(r"[, ]+", imports) if name} for room, imports in rows}


@pytest.fixture(scope="module")
def graph():
    return grimp.build_graph("ppmlib", cache_dir=None)


@pytest.fixture(scope="module")
def imported(graph):
    """Room to room: the imports, those inside functions too."""
    found = defaultdict(lambda: defaultdict(list))
    for source in graph.modules - {"ppmlib"}:
        for target in graph.find_modules_directly_imported_by(source) - {"ppmlib"}:
            rooms = source.split(".")[1], target.split(".")[1]
            if rooms[0] != rooms[1]:
                found[rooms[0]][rooms[1]].append(f"{source} -> {target}")
    return found


def test_every_folder_is_a_room_of_the_table_and_no_module_lies_loose_but_cli(allowed):
    package = REPOSITORY / "ppmlib"
    folders = {path.parent.name for path in package.glob("*/__init__.py")}
    assert folders == set(allowed)
    assert {path.name for path in package.glob("*.py")} == {"__init__.py", "cli.py"}


def test_the_table_of_rooms_runs_downward(allowed):
    order = list(allowed)
    for number, room in enumerate(order):
        assert allowed[room] <= set(order[:number]), room


def test_the_rooms_import_what_the_table_says_and_nothing_else(allowed, imported):
    found = {(room, other) for room, others in imported.items() for other in others}
    listed = {(room, other) for room, others in allowed.items() for other in others}
    found = {arrow for arrow in found if arrow[0] not in OPEN}
    assert found - listed == set(), imported
    assert listed - found == set(), "the table lists imports that the code no longer has"


def test_no_modules_import_each_other_in_a_circle(graph):
    broken = {arrow[:2] for arrow in map(_rooms, graph.nominate_cycle_breakers("ppmlib"))}
    assert broken == set()


def _rooms(arrow):
    return tuple(name.split(".")[1] for name in arrow)


def test_the_map_in_the_package_s_docstring_names_the_same_rooms(allowed):
    import ppmlib

    assert re.findall(r"^(\w+)/ ", ppmlib.__doc__, re.MULTILINE) == list(allowed)


@pytest.mark.parametrize("package", PACKAGES)
def test_a_room_s_first_lines_name_every_module_in_it(package):
    text = ast.get_docstring(ast.parse((package / "__init__.py").read_text(encoding="utf-8")))
    modules = {path.stem for path in package.glob("*.py")} - {"__init__"}
    named = set(re.findall(r"[a-z_0-9]+", text or ""))
    assert modules <= named, f"{package.name}/__init__.py does not say what these hold"
