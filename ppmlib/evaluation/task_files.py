"""What lm-eval's task files say, read as text: names, metrics, filters. lm-eval is not imported.

So a study with a misspelt task is refused in a second, before a kernel starts. What the files do
not say (a metric list of a group, code) is left to the evaluation.
"""

import importlib.util
import re
from collections.abc import Iterable, Mapping
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import Any

import yaml

DEFAULT_OUTPUT_TYPE = "generate_until"  # lm-eval's, where a file names none
# A name is any text of one line, in quotes or not; a list or a mapping declares none.
DECLARES = re.compile(
    r"""^["']?(?:task|group)["']?:[ \t]+"""
    r"""(?:"([^"\n]+)"|'([^'\n]+)'|([^\s"'\[\]{}#&*!|>%@`-][^\n]*?))(?:[ \t]+\#.*)?[ \t]*$""",
    re.MULTILINE,
)


class _Plain(yaml.SafeLoader):
    """YAML in which `!function` and other tags are kept as None."""


_Plain.add_multi_constructor("!", lambda loader, suffix, node: None)


def declared(folder: Path) -> dict[str, Path]:
    """Every task and group name that the YAML files below a folder declare, with its file."""
    found: dict[str, Path] = {}
    for file in sorted(Path(folder).rglob("*.yaml")):
        for forms in DECLARES.findall(file.read_text(encoding="utf-8")):
            found.setdefault("".join(forms), file)
    return found


@cache
def lm_eval_files() -> dict[str, Path]:
    """Task and group names of the installed lm-eval, by a scan of its files' text.

    Two seconds where TaskManager(), which parses all of them, takes eight.
    """
    return declared(lm_eval_folder())


def lm_eval_folder() -> Path:
    """Where the installed lm-eval keeps its task files."""
    (package,) = importlib.util.find_spec("lm_eval").submodule_search_locations
    return Path(package) / "tasks"


def definition(file: Path) -> dict[str, Any]:
    """A task file with the files it includes; its own keys win, as in lm-eval."""
    own = yaml.load(file.read_text(encoding="utf-8"), Loader=_Plain)
    included = own.pop("include", [])
    whole: dict[str, Any] = {}
    for name in [included] if isinstance(included, str) else included:
        whole |= definition(file.parent / name)
    return whole | own


def mistakes(tasks: Iterable[Mapping[str, Any]], folders: Iterable[Path]) -> list[str]:
    """What is wrong with a study's tasks, a line each: name, metric, filter, number of examples.

    Args:
        tasks: {name, num_fewshot, metric, filter} each.
        folders: task folders looked in before lm-eval's own.
    """
    known: dict[str, Path] = {}
    for folder in folders:
        known = declared(folder) | known
    lines = []
    for task in tasks:
        name = task["name"]
        file = known.get(name) or lm_eval_files().get(name)
        if file is None:
            similar = get_close_matches(name, [*known, *lm_eval_files()], n=5) or list(known)
            lines.append(f"tasks: no task {name!r}; similar or known: {', '.join(similar)}")
        else:
            lines += [f"tasks: {name}: {line}" for line in _unfit(task, definition(file))]
    return lines


def output_types(name: str, folders: Iterable[Path]) -> set[str] | None:
    """lm-eval's output types of a task, or of all tasks of a group, as their files say.

    Returns:
        None where the files do not say it (tasks written as Python classes).
    """
    known: dict[str, Path] = {}
    for folder in folders:
        known = declared(folder) | known
    file = known.get(name) or lm_eval_files().get(name)
    return None if file is None else _kinds(file, known)


def new_tokens(name: str, folders: Iterable[Path]) -> int | None:
    """The most tokens a single generation task lets the model write, where its file says it."""
    known: dict[str, Path] = {}
    for folder in folders:
        known = declared(folder) | known
    file = known.get(name) or lm_eval_files().get(name)
    content = definition(file) if file else {}
    asked = content.get("generation_kwargs")
    if content.get("output_type") != "generate_until" or not isinstance(asked, dict):
        return None
    limit = asked.get("max_gen_toks")
    return limit if isinstance(limit, int) else None


def _kinds(file: Path, known: Mapping[str, Path]) -> set[str] | None:
    content = definition(file)
    if "class" in content:
        return None
    members = content.get("task")
    if not isinstance(members, list):
        return {content.get("output_type", DEFAULT_OUTPUT_TYPE)}
    found: set[str] = set()
    for member in members:
        name = member if isinstance(member, str) else str(member.get("task"))
        below = known.get(name) or lm_eval_files().get(name)
        files = [below] if below else _tagged(name, file.parent)
        kinds = [_kinds(inner, known) for inner in files]
        if not kinds or None in kinds:
            return None
        found |= set().union(*kinds)
    return found


def _tagged(tag: str, folder: Path) -> list[Path]:
    """The task files below a folder that carry a tag."""
    carries = re.compile(
        rf"^[\"']?tag[\"']?:[ \t]*[\"']?{re.escape(tag)}[\"']?[ \t]*$", re.MULTILINE
    )
    files = sorted(folder.rglob("*.yaml"))
    return [file for file in files if carries.search(file.read_text(encoding="utf-8"))]


def _unfit(task: Mapping[str, Any], content: Mapping[str, Any]) -> list[str]:
    if "group" in content or isinstance(content.get("task"), list) or "class" in content:
        return []
    lines = []
    metrics = [entry.get("metric") for entry in content.get("metric_list") or []]
    if metrics and None not in metrics and task["metric"] not in metrics:
        lines.append(f"no metric {task['metric']!r}; it has {', '.join(metrics)}")
    filters = [entry.get("name") for entry in content.get("filter_list") or []] or ["none"]
    if None not in filters and task["filter"] not in filters:
        lines.append(f"no filter {task['filter']!r}; it has {', '.join(filters)}")
    if content.get("num_fewshot") == 0 and task["num_fewshot"]:
        lines.append(f"its definition fixes 0 examples, num_fewshot {task['num_fewshot']} is not 0")
    return lines
