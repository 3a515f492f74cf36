"""A run's evaluation: one record, or one per task (`split_evaluation`), read as one."""

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ppmlib.record import records

STAGE = "3_evaluation"
DENSE = "dense/r0.00"
REPEAT = "dense-aa/r0.00"  # the A/A repeat: the dense model again, in other batches
REPEAT_ENGINE = "plain"  # lm-eval's own, whatever the study's: the repeat checks the engine too


def task_slug(task: str) -> str:
    """A task's (or a selection's) name as it is used in file names."""
    return re.sub(r"[^A-Za-z0-9_.-]", "_", task)


def key(run: str, task: str | None = None) -> str:
    """The record key of a run's evaluation, or of one task of it."""
    return f"{run}/{STAGE}" if task is None else f"{run}/{STAGE}-{task_slug(task)}"


def read_all(root: Path) -> dict[str, dict[str, Any]]:
    """A study's verified evaluations, one per run, by run. RecordError as `join_parts`."""
    parts: dict[str, dict[str, Any]] = {}
    for name, record in records.read_stage(root, STAGE).items():
        parts.setdefault(name.rpartition("/")[0], {})[name] = record
    return {run: join_parts(run, found) for run, found in parts.items()}


def read_one(root: Path, run: str) -> dict[str, Any] | None:
    """The verified evaluation of one run, None where there is none. Errors as `read_all`."""
    names = [
        name
        for name in records.present_keys(root)
        if name.rpartition("/")[0] == run and records.stage_of(name) == STAGE
    ]
    return join_parts(run, {name: records.read(root, name) for name in names}) if names else None


def join_parts(run: str, parts: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """One evaluation from its parts by key; its fingerprint is that of their fingerprints.

    RecordError if the parts share a task or differ in an input that is not a task's.
    """
    if len(parts) == 1:
        return dict(next(iter(parts.values())))
    (first_name, first), *others = parts.items()
    for name, part in others:
        for field in sorted({*first["inputs"], *part["inputs"]} - {"tasks"}):
            if first["inputs"].get(field) != part["inputs"].get(field):
                raise records.RecordError(
                    f"{first_name} and {name} differ in {field}: run one of them again"
                )
        shared = set(first["results"]["tasks"]) & set(part["results"]["tasks"])
        if shared:
            raise records.RecordError(f"{first_name} and {name} both hold {', '.join(shared)}")
    results = [part["results"] for part in parts.values()]
    measured = [part["measured"] for part in parts.values()]
    return {
        **first,
        "key": key(run),
        "fingerprint": records.fingerprint({n: part["fingerprint"] for n, part in parts.items()}),
        "inputs": {
            **first["inputs"],
            "tasks": _merge(part["inputs"]["tasks"] for part in parts.values()),
        },
        "results": {
            **first["results"],
            "rows": [row for part in results for row in part["rows"]],
            "tasks": _merge(part["tasks"] for part in results),
            "conclusions": [line for part in results for line in part["conclusions"]],
        },
        "measured": {
            "seconds_per_task": _merge(part["seconds_per_task"] for part in measured),
            "reused_tasks": [name for part in measured for name in part["reused_tasks"]],
            "wall_s": sum(part["wall_s"] for part in measured),
        },
        "files": _merge(part["files"] for part in parts.values()),
    }


def _merge(parts: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    return {name: value for part in parts for name, value in part.items()}
