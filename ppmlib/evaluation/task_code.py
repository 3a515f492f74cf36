"""The code that a task runs: which files it is in, which packages and which data these use.

lm-eval's dump of a task holds the source of the functions it names, but not of what these call.
The packaged bench tasks are left out: their code is ppmlib's own, which the stage version covers.
"""

import dis
import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ppmlib import bench
from ppmlib.evaluation.task_data import NLTK_FIND
from ppmlib.record import code_files, records


def files(tasks: Iterable) -> list[Path]:
    """The Python files in the folders of the functions and classes that tasks are defined with."""
    named = {Path(inspect.getsourcefile(code)) for task in tasks for code in _own_code(task)}
    folders = {file.parent for file in named} - {bench.tasks_dir()}
    return sorted(file for folder in folders for file in folder.glob("*.py"))


def described(tasks: Iterable) -> dict[str, Any]:
    """What of the code that tasks run can change their numbers; no key without any.

    Returns:
        {code_sha256: of its files; packages: versions of what these and the metrics import;
        nltk_sha256: of the data that they have nltk look up}
    """
    tasks = list(tasks)
    found = files(tasks)
    hashes = sorted(f"{file.name} {records.sha256_file(file)}" for file in found)
    modules = {module for task in tasks for module in _modules_of_metrics(task)}
    text = "\n".join(file.read_text(encoding="utf-8") for file in found)
    about = {
        "code_sha256": records.fingerprint({"code": hashes}) if hashes else None,
        "packages": code_files.versions_of(modules | code_files.imported(found)),
        "nltk_sha256": _nltk_sha256(sorted(set(NLTK_FIND.findall(text)))),
    }
    return {name: value for name, value in about.items() if value}


def _own_code(task) -> Iterator[Callable]:
    """Functions in a task's configuration, and its class if that is not lm-eval's."""
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


def _modules_of_metrics(task) -> set[str]:
    """The modules that lm-eval's metrics and aggregations of a task are in, import and name."""
    found = set()
    for lists in ("_metric_fn_list", "_aggregation_list"):
        for function in getattr(task, lists, {}).values():
            code = getattr(function, "__code__", None)
            if code is None:
                continue
            found.add(function.__module__)
            found |= {s.argval for s in dis.get_instructions(code) if s.opname == "IMPORT_NAME"}
            named = (function.__globals__.get(name) for name in code.co_names)
            found |= {module.__name__ for module in named if inspect.ismodule(module)}
    return found


def _nltk_sha256(resources: list[str]) -> str | None:
    """Hash of nltk's files of some resources; None if there are none, or none is there."""
    if not resources:
        return None
    import nltk

    hashes = {}
    for resource in resources:
        try:
            place = nltk.data.find(resource)
        except LookupError:
            continue
        path = Path(getattr(place, "path", None) or place.zipfile.filename)
        paths = [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file()]
        hashes |= {
            f"{resource} {p.relative_to(path)}": records.sha256_file(p) for p in sorted(paths)
        }
    return records.fingerprint(hashes) if hashes else None
