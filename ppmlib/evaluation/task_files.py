"""lm-eval's task files read as text: names, members of groups, metrics, filters.

lm-eval is not imported, so a study with a misspelt task is refused in a second, before a kernel
starts. What the files do not say (a metric list of a group, code) is left to the evaluation.
"""

import importlib.util
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
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


class UnknownData(Exception):
    """The data of a task cannot be determined from its file; the message says why."""


class _Plain(yaml.SafeLoader):
    """YAML in which `!function` and other tags are kept as None."""


_Plain.add_multi_constructor("!", lambda loader, suffix, node: None)


def find_names(folder: Path) -> dict[str, Path]:
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
    return find_names(lm_eval_folder())


def lm_eval_folder() -> Path:
    """Where the installed lm-eval keeps its task files."""
    (package,) = importlib.util.find_spec("lm_eval").submodule_search_locations
    return Path(package) / "tasks"


def read_definition(file: Path) -> dict[str, Any]:
    """The content of a task file and of the files it includes; its own keys win, as in lm-eval."""
    own = yaml.load(file.read_text(encoding="utf-8"), Loader=_Plain)
    included = own.pop("include", [])
    whole: dict[str, Any] = {}
    for name in [included] if isinstance(included, str) else included:
        whole |= read_definition(file.parent / name)
    return whole | own


@dataclass(frozen=True)
class TaskFiles:
    """The task files of some folders, the first ones first, and then lm-eval's own."""

    own: Mapping[str, Path]

    @classmethod
    def scan(cls, folders: Iterable[Path]) -> "TaskFiles":
        """The names that the folders' files declare; lm-eval's are read when one is missing."""
        own: dict[str, Path] = {}
        for folder in folders:
            own = find_names(folder) | own
        return cls(own)

    def file(self, name: str) -> Path | None:
        """The file that declares a task or group, or None."""
        return self.own.get(name) or lm_eval_files().get(name)

    def similar(self, name: str) -> str:
        """Names like an unknown one, or all of the folders' own, joined by commas."""
        known = [*self.own, *lm_eval_files()]
        return ", ".join(get_close_matches(name, known, n=5) or self.own)

    def leaves(self, name: str, near: Path | None = None) -> dict[str, dict[str, Any]]:
        """The single tasks below a task, group or tag: their definitions and the key `folder`.

        Args:
            near: where a tag's tasks are; None is all of lm-eval.
        Raises:
            UnknownData: for a name that no task file declares.
        """
        file = self.file(name)
        if file is None:
            if tagged := _tagged(name, near or lm_eval_folder()):
                return tagged
            raise UnknownData(f"no task, group or tag {name!r}")
        content = read_definition(file)
        if isinstance(content.get("task"), list):
            return self._members(content, file.parent)
        return {name: content | {"folder": file.parent}}

    def _members(self, content: Mapping[str, Any], near: Path) -> dict[str, dict[str, Any]]:
        found: dict[str, dict[str, Any]] = {}
        for member in content["task"]:
            own = {"task": member} if isinstance(member, str) else member
            if isinstance(own.get("task"), list):
                found |= self._members(own, near)
                continue
            below = self.leaves(own.get("task") or own.get("group"), near)
            changes = {key: value for key, value in own.items() if key not in ("task", "group")}
            found |= {leaf: content | changes for leaf, content in below.items()}
        return found


def _tagged(tag: str, folder: Path) -> dict[str, dict[str, Any]]:
    """The tasks below a folder that carry a tag."""
    found = {}
    for file in _yaml_files(folder):
        if tag not in file.read_text(encoding="utf-8"):
            continue
        content = read_definition(file)
        tags = content.get("tag") or []
        if tag in ([tags] if isinstance(tags, str) else tags) and isinstance(content["task"], str):
            found[content["task"]] = content | {"folder": file.parent}
    return found


@cache
def _yaml_files(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.yaml"))


def find_mistakes(tasks: Iterable[Mapping[str, Any]], folders: Iterable[Path]) -> list[str]:
    """What is wrong with a study's tasks, a line each: name, metric, filter, number of examples.

    Args:
        tasks: {name, num_fewshot, metric, filter} each.
        folders: task folders looked in before lm-eval's own.
    """
    known, lines = TaskFiles.scan(folders), []
    for task in tasks:
        name = task["name"]
        if file := known.file(name):
            lines += [f"tasks: {name}: {line}" for line in _unfit(task, read_definition(file))]
        else:
            lines.append(f"tasks: no task {name!r}; similar or known: {known.similar(name)}")
    return lines


def read_output_types(name: str, folders: Iterable[Path]) -> set[str] | None:
    """lm-eval's output types of a task, or of all tasks of a group, as their files state.

    Returns:
        None where the files do not state it (tasks written as Python classes).
    """
    known = TaskFiles.scan(folders)
    try:
        contents = known.leaves(name).values() if known.file(name) else []
    except UnknownData:
        return None
    if not contents or any("class" in content for content in contents):
        return None
    return {content.get("output_type", DEFAULT_OUTPUT_TYPE) for content in contents}


def read_new_tokens(name: str, folders: Iterable[Path]) -> int | None:
    """The most tokens a single generation task lets the model write, where its file states it."""
    file = TaskFiles.scan(folders).file(name)
    content = read_definition(file) if file else {}
    settings = content.get("generation_kwargs")
    if content.get("output_type") != "generate_until" or not isinstance(settings, dict):
        return None
    limit = settings.get("max_gen_toks")
    return limit if isinstance(limit, int) else None


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
