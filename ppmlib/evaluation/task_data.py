"""Which data sets lm-eval's tasks read, by their task files. lm-eval is not imported.

sources    the hub's data set repositories and configurations of a task, a group or a tag
resources  what nltk needs to have for it, such as tokenizers/punkt_tab
missing    what of these a data root does not have
"""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ppmlib.data.data_root import HUB_URL, DataRoot, DataRootError
from ppmlib.evaluation.task_files import TaskFiles, UnknownData

NLTK_FIND = re.compile(r"nltk\.data\.find\(\s*[\"']([\w/.-]+)[\"']\s*\)")
# Builders of `datasets` that read files, not repositories.
FILE_BUILDERS = ("arrow", "csv", "json", "pandas", "parquet", "text", "xml")


class Source(NamedTuple):
    """What one task reads: a repository of the hub, one configuration, a revision if it has one."""

    task: str
    repository: str
    config: str | None
    revision: str | None


def find_sources(name: str, folders: Iterable[Path]) -> list[Source]:
    """The repositories a task, or all tasks of a group, read; none for local files.

    A task in one of `folders` that loads its data with custom code is assumed to have them there.

    Raises:
        UnknownData: for another task that does so, or that reads from elsewhere than the hub.
    """
    found = []
    for task, content in TaskFiles.scan(folders).leaves(name).items():
        if "class" in content or "custom_dataset" in content:
            if any(content["folder"].is_relative_to(folder) for folder in folders):
                continue
            raise UnknownData(f"{task} loads its data with custom code")
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
    """Repositories named in a task's data_files; local files are left out."""
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


def find_resources(name: str, folders: Iterable[Path]) -> list[str]:
    """Paths under nltk_data that the code in a task's folder looks up."""
    folders = {content["folder"] for content in TaskFiles.scan(folders).leaves(name).values()}
    code = [file.read_text(encoding="utf-8") for f in sorted(folders) for file in f.glob("*.py")]
    return sorted({found for text in code for found in NLTK_FIND.findall(text)})


def find_missing_data(root: DataRoot, names: Iterable[str], folders: Iterable[Path]) -> list[str]:
    """What tasks need and a data root does not have, a line each; nothing is opened."""
    lines = []
    for name in names:
        try:
            for source in find_sources(name, folders):
                root.find_dataset(source.repository, source.config)
        except DataRootError as error:
            lines.append(f"{name}: {error}")
        except UnknownData as error:
            lines.append(f"{name}: {error}")
            continue
        for path in find_resources(name, folders):
            if not any((root.nltk_data / form).exists() for form in (path, f"{path}.zip")):
                lines.append(
                    f"{name}: nltk's {Path(path).name} is not in the data root: it has no "
                    f"nltk_data/{path}; fetch it with `ppm prefetch`"
                )
    return lines
