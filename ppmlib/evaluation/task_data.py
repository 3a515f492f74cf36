"""Which data sets lm-eval's tasks read, told from their files. lm-eval is not imported.

sources    the hub's data set repositories and configurations of a task, a group or a tag
resources  what nltk needs to have for it, such as tokenizers/punkt_tab
missing    what of these a data root does not have
"""

import re
from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from ppmlib.data.data_root import HUB_URL, DataRoot, DataRootError
from ppmlib.evaluation import task_files

NLTK_FIND = re.compile(r"nltk\.data\.find\(\s*[\"']([\w/.-]+)[\"']\s*\)")
# Builders of the package `datasets` that read files and are no repositories.
FILE_BUILDERS = ("arrow", "csv", "json", "pandas", "parquet", "text", "xml")


class UnknownData(Exception):
    """What a task reads cannot be told from its file; the message says why."""


class Source(NamedTuple):
    """What one task reads: a repository of the hub, one configuration, a revision if it has one."""

    task: str
    repository: str
    config: str | None
    revision: str | None


def leaves(name: str, folders: Iterable[Path]) -> dict[str, dict[str, Any]]:
    """The single tasks below a task, group or tag, each with its whole definition.

    Args:
        folders: task folders looked in before lm-eval's own.
    Raises:
        UnknownData: for a name that no task file declares.
    """
    known: dict[str, Path] = {}
    for folder in folders:
        known = task_files.declared(folder) | known
    return _leaves(name, known, near=None)


def _leaves(name: str, known: Mapping[str, Path], near: Path | None) -> dict[str, dict[str, Any]]:
    file = known.get(name) or task_files.lm_eval_files().get(name)
    if file is None:
        tagged = _tagged(name, near)
        if not tagged:
            raise UnknownData(f"no task, group or tag {name!r}")
        return tagged
    content = task_files.definition(file)
    if isinstance(content.get("task"), list):
        return _members(content, known, file.parent)
    return {name: content | {"folder": file.parent}}


def _members(content: Mapping[str, Any], known, near: Path) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for member in content["task"]:
        own = {"task": member} if isinstance(member, str) else member
        if isinstance(own.get("task"), list):
            found |= _members(own, known, near)
            continue
        below = _leaves(own.get("task") or own.get("group"), known, near)
        changes = {key: value for key, value in own.items() if key not in ("task", "group")}
        found |= {leaf: definition | changes for leaf, definition in below.items()}
    return found


def _tagged(tag: str, near: Path | None) -> dict[str, dict[str, Any]]:
    """Tasks that carry a tag, looked for in the folder of the group that names it, or anywhere."""
    found = {}
    for file in _files(near or task_files.lm_eval_folder()):
        if tag not in file.read_text(encoding="utf-8"):
            continue
        content = task_files.definition(file)
        tags = content.get("tag") or []
        if tag in ([tags] if isinstance(tags, str) else tags) and isinstance(content["task"], str):
            found[content["task"]] = content | {"folder": file.parent}
    return found


@cache
def _files(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*.yaml"))


def sources(name: str, folders: Iterable[Path]) -> list[Source]:
    """The repositories a task, or all tasks of a group, read; none for local files.

    A task in one of `folders` that loads its data by code of its own is taken to have them beside
    it.

    Raises:
        UnknownData: for another task that does so, or that reads from elsewhere than the hub.
    """
    found = []
    for task, content in leaves(name, folders).items():
        if "class" in content or "custom_dataset" in content:
            if any(content["folder"].is_relative_to(folder) for folder in folders):
                continue
            raise UnknownData(f"{task} loads its data by code of its own")
        kwargs = content.get("dataset_kwargs") or {}
        path = content.get("dataset_path")
        if not path:
            raise UnknownData(f"{task} names no data set")
        if path in FILE_BUILDERS:
            found += [Source(task, *place) for place in _hub_files(task, kwargs)]
        else:
            found.append(Source(task, path, content.get("dataset_name"), kwargs.get("revision")))
    return found


def _hub_files(task: str, kwargs: Mapping[str, Any]) -> list[tuple[str, None, str | None]]:
    """Repositories named in a task's data_files; local files are no repositories."""
    places = []
    for text in _strings(kwargs.get("data_files")):
        matched = HUB_URL.fullmatch(text)
        if matched:
            places.append((matched["repository"], None, matched["revision"]))
        elif "://" in text:
            raise UnknownData(f"{task} reads {text}, which is not on the hub")
    return list(dict.fromkeys(places))


def _strings(value: Any) -> list[str]:
    if isinstance(value, str):
        return [value]
    if isinstance(value, Mapping):
        value = value.values()
    return [text for item in value or () for text in _strings(item)]


def resources(name: str, folders: Iterable[Path]) -> list[str]:
    """Paths under nltk_data that the code beside a task's file looks up."""
    beside = {content["folder"] for content in leaves(name, folders).values()}
    code = [file.read_text(encoding="utf-8") for f in sorted(beside) for file in f.glob("*.py")]
    return sorted({found for text in code for found in NLTK_FIND.findall(text)})


def missing(root: DataRoot, names: Iterable[str], folders: Iterable[Path]) -> list[str]:
    """What tasks need and a data root does not have, a line each; nothing is opened."""
    lines = []
    for name in names:
        try:
            for source in sources(name, folders):
                root.found_dataset(source.repository, source.config)
        except (UnknownData, DataRootError) as error:
            lines.append(f"{name}: {error}")
        for path in resources(name, folders):
            if not any((root.nltk_data / form).exists() for form in (path, f"{path}.zip")):
                lines.append(
                    f"{name}: nltk's {Path(path).name} is not in the data root: it has no "
                    f"nltk_data/{path}; fetch it with `ppm prefetch`"
                )
    return lines
