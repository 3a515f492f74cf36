"""The code that a task runs: which files it is in, and which packages these import.

lm-eval's dump of a task holds the source of the functions it names, but not of what these call.
The packaged bench tasks are left out: their code is ppmlib's own, which the stage version covers.
"""

import inspect
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from ppmlib import bench, records

IMPORTED = re.compile(r"^[ \t]*(?:import|from)[ \t]+([A-Za-z_]\w*)", re.MULTILINE)
# Of these the version is in every fingerprint, or what they give is hashed (documents).
KNOWN = {*records.PACKAGES, "ppmlib", "datasets"}


def files(tasks: Iterable) -> list[Path]:
    """The Python files beside the functions and classes that tasks are defined with."""
    named = {Path(inspect.getsourcefile(code)) for task in tasks for code in _own_code(task)}
    folders = {file.parent for file in named} - {bench.tasks_dir()}
    return sorted(file for folder in folders for file in folder.glob("*.py"))


def described(tasks: Iterable) -> dict[str, Any]:
    """A hash of the code that tasks run, and the versions of what it imports; nothing without any.

    Versions that are in every fingerprint are left out.
    """
    found = files(tasks)
    if not found:
        return {}
    hashes = sorted(f"{file.name} {records.sha256_file(file)}" for file in found)
    names = {name for file in found for name in IMPORTED.findall(file.read_text(encoding="utf-8"))}
    owners = {owner for name in names for owner in _distributions().get(name, ())} - KNOWN
    versions = records.package_versions(sorted(owners))
    return {"code_sha256": records.fingerprint({"code": hashes}), "packages": versions}


@cache
def _distributions() -> Mapping[str, list[str]]:
    return metadata.packages_distributions()


def _own_code(task) -> Iterator[Callable]:
    """Functions in a task's configuration, and its class if it is one of its own."""
    yield from _functions(task.config.to_dict(keep_callable=True))
    if not type(task).__module__.startswith("lm_eval.api."):
        yield type(task)


def _functions(value: Any) -> Iterator[Callable]:
    if isinstance(value, Mapping):
        value = value.values()
    elif not isinstance(value, (list, tuple)):
        if inspect.isfunction(value):
            yield value
        return
    for item in value:
        yield from _functions(item)
