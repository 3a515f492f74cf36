"""How lm-eval's files of the paper's tasks changed since the version that the paper used.

    pip download lm_eval==0.4.9.1 --no-deps -d old && unzip -d old/unpacked old/lm_eval-*.whl
    python benchmarks/task_changes.py old/unpacked/lm_eval/tasks ppmlib/published/TASK_CHANGES.md

Definitions are compared key by key, with what they include; helper code as Python writes it
itself, without docstrings, so that a reformatted file is not a change. The tasks are those of the
study files.
"""

import argparse
import ast
import difflib
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

import yaml

from ppmlib.evaluation import task_files
from ppmlib.record import records
from ppmlib.study_file.params import Study

PAPER_VERSION = "0.4.9.1"
PARAMS = Path(__file__).parents[1] / "params"
IGNORED = {"task", "group", "task_alias", "group_alias", "description", "tag"}
SHOWN = 160  # characters of a value


class _Tagged(yaml.SafeLoader):
    """YAML in which `!function utils.f` is the text that was written."""


_Tagged.add_multi_constructor("!", lambda loader, suffix, node: f"!{suffix} {node.value}")


def definition(file: Path) -> dict:
    """A task file with what it includes; its own keys win."""
    own = yaml.load(file.read_text(encoding="utf-8"), Loader=_Tagged)
    included = own.pop("include", [])
    whole: dict = {}
    for name in [included] if isinstance(included, str) else included:
        whole |= definition(file.parent / name)
    return whole | own


def leaves(name: str, files: dict[str, Path]) -> list[str]:
    """The names of a task or group and of everything in it."""
    listed = definition(files[name]).get("task")
    names = [
        item if isinstance(item, str) else item["task"]
        for item in (listed if isinstance(listed, list) else [])
    ]
    tagged = [n for n in names if n not in files]
    same_folder = {n: file for n, file in files.items() if file.parent == files[name].parent}
    names += [n for tag in tagged for n, file in same_folder.items() if _has_tag(file, tag)]
    return [name, *(leaf for n in names if n in files for leaf in leaves(n, files))]


def _has_tag(file: Path, tag: str) -> bool:
    tags = definition(file).get("tag", [])
    return tag in ([tags] if isinstance(tags, str) else tags)


def differences(old: dict, new: dict) -> list[tuple[str, str, str]]:
    """Keys whose values differ, with both values as short text."""
    keys = sorted({*old, *new} - IGNORED)
    return [(key, _text(old, key), _text(new, key)) for key in keys if old.get(key) != new.get(key)]


def _text(content: dict, key: str) -> str:
    if key not in content:
        return "not set"
    text = " ".join(str(content[key]).split()).replace("|", "\\|").replace("`", "'")
    return f"`{text[:SHOWN]}{'...' if len(text) > SHOWN else ''}`"


def code_changes(old: Path, new: Path) -> list[str]:
    """Unified diffs of the Python files next to two task files whose syntax trees differ."""
    lines = []
    for name in sorted({p.name for folder in (old, new) for p in folder.glob("*.py")}):
        before, after = (folder / name for folder in (old, new))
        texts = [p.read_text(encoding="utf-8") if p.exists() else "" for p in (before, after)]
        normal = [_normal(text) for text in texts]
        if normal[0] != normal[1]:
            lines += list(difflib.unified_diff(*normal, f"old/{name}", f"new/{name}", lineterm=""))
    return lines


def _normal(text: str) -> list[str]:
    """Python as `ast.unparse` writes it, without docstrings: what is left can have a meaning."""
    tree = ast.parse(text)
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list) and body and isinstance(body[0], ast.Expr):
            if isinstance(body[0].value, ast.Constant) and isinstance(body[0].value.value, str):
                body[0].value.value = ""
    return ast.unparse(tree).splitlines()


def section(name: str, old_files: dict[str, Path], new_files: dict[str, Path]) -> list[str]:
    """The Markdown of one task of the studies."""
    old_names, new_names = leaves(name, old_files), leaves(name, new_files)
    lines = [f"## {name}", ""]
    only = sorted(set(old_names) ^ set(new_names))
    if only:
        lines += [f"In one version only: {', '.join(only)}.", ""]
    both = [n for n in new_names if n in old_names]
    groups: dict[tuple, list[str]] = {}
    for member in both:
        found = differences(definition(old_files[member]), definition(new_files[member]))
        groups.setdefault(tuple(found), []).append(member)
    changed = {found: members for found, members in groups.items() if found}
    for found, members in changed.items():
        shown = members[0] if len(members) == 1 else f"{len(members)} files, such as {members[0]}"
        if len(both) > 1:
            lines += [f"{shown}:", ""]
        lines += ["| key | 0.4.9.1 | now |", "|---|---|---|"]
        lines += [f"| {key} | {before} | {after} |" for key, before, after in found]
        lines.append("")
    version = definition(new_files[name]).get("metadata", {}).get("version", "none")
    folders = dict.fromkeys((old_files[n].parent, new_files[n].parent) for n in both)
    diff = [line for old, new in folders for line in code_changes(old, new)]
    if not changed and not only:
        many = f", {len(both)} files" if len(both) > 1 else ""
        lines += [f"The definition is the same (version {version}{many}).", ""]
    if diff:
        count = sum(line[0] in "+-" and line[:3] not in ("+++", "---") for line in diff)
        lines += [f"Helper code: {count} lines differ.", "", "```diff", *diff, "```", ""]
    else:
        lines += ["Helper code: none, or the same.", ""]
    return lines


def document(old_tasks: Path) -> str:
    """The whole page."""
    (package,) = find_spec("lm_eval").submodule_search_locations
    old_files, new_files = (task_files.find_names(p) for p in (old_tasks, Path(package) / "tasks"))
    tasks = [task.name for task in Study.load(PARAMS / "llama-3.2-1b.yaml").tasks]
    now = metadata.version("lm_eval")
    lines = [
        f"# lm-eval's task files: {PAPER_VERSION} (the paper) and {now} (pinned here)",
        "",
        "Made by `benchmarks/task_changes.py` from the two packages; not written by hand. Keys are",
        "compared with what a file includes, helper code without comments and layout. What changed",
        "outside the task files (the default of BOS, the backend) is not shown here.",
        "",
    ]
    for name in tasks:
        lines += section(name, old_files, new_files)
    return "\n".join(lines).rstrip() + "\n"


def main() -> None:
    """Write the page."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("old_tasks", type=Path, help="the folder lm_eval/tasks of the old package")
    parser.add_argument("out", type=Path, help="the Markdown file to write")
    arguments = parser.parse_args()
    records.write_text(arguments.out, document(arguments.old_tasks))


if __name__ == "__main__":
    main()
