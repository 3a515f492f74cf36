"""A run's evaluation: one record, or one per task (`split_evaluation`), read as one.

key    `<run>/3_evaluation`, or `<run>/3_evaluation-<task>` for one task of it
find   the evaluations of all runs under a study's folder
one    the evaluation of one run
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ppmlib.record import records

STAGE = "3_evaluation"
DENSE = "dense/r0.00"
REPEAT = "dense-aa/r0.00"  # the dense model once more, in other batches
REPEAT_ENGINE = "plain"  # lm-eval's own whatever the study's is: the noise is a check of it


def task_slug(task: str) -> str:
    """A task's name (or a selection's) as it is used in file names."""
    return re.sub(r"[^A-Za-z0-9_.-]", "_", task)


def key(run: str, task: str | None = None) -> str:
    """The record key of a run's evaluation, or of one task of it."""
    return f"{run}/{STAGE}" if task is None else f"{run}/{STAGE}-{task_slug(task)}"


def find(root: Path) -> dict[str, dict[str, Any]]:
    """The verified evaluation of every run under a study's folder, by run.

    Raises:
        RecordError: for a damaged record, or parts of a run that were not made alike.
    """
    parts: dict[str, dict[str, Any]] = {}
    for name, record in records.find(root, STAGE).items():
        parts.setdefault(name.rpartition("/")[0], {})[name] = record
    return {run: together(run, found) for run, found in parts.items()}


def one(root: Path, run: str) -> dict[str, Any] | None:
    """The verified evaluation of one run, None where there is none. Errors as `find`."""
    names = [
        name
        for name in records.present_keys(root)
        if name.rpartition("/")[0] == run and records.stage_of(name) == STAGE
    ]
    return together(run, {name: records.read(root, name) for name in names}) if names else None


def together(run: str, parts: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """One evaluation from its parts by key: their rows, tasks, files and measured seconds.

    A single part is returned as it is. The fingerprint of several is that of their fingerprints.

    Raises:
        RecordError: if the parts differ in an input that is not a task's, or share a task.
    """
    if len(parts) == 1:
        return dict(next(iter(parts.values())))
    (first_name, first), *others = parts.items()
    for name, part in others:
        for field in sorted({*first["inputs"], *part["inputs"]} - {"tasks"}):
            if first["inputs"].get(field) != part["inputs"].get(field):
                raise records.RecordError(
                    f"{first_name} and {name} were not made alike ({field} differs): run one again"
                )
        shared = set(first["results"]["tasks"]) & set(part["results"]["tasks"])
        if shared:
            raise records.RecordError(f"{first_name} and {name} both hold {', '.join(shared)}")
    whole = list(parts.values())
    return {
        **first,
        "key": key(run),
        "fingerprint": records.fingerprint({n: part["fingerprint"] for n, part in parts.items()}),
        "inputs": {**first["inputs"], "tasks": _joined(part["inputs"]["tasks"] for part in whole)},
        "results": {
            **first["results"],
            "rows": [row for part in whole for row in part["results"]["rows"]],
            "tasks": _joined(part["results"]["tasks"] for part in whole),
            "conclusions": [line for part in whole for line in part["results"]["conclusions"]],
        },
        "measured": {
            "seconds_per_task": _joined(part["measured"]["seconds_per_task"] for part in whole),
            "reused_tasks": [name for part in whole for name in part["measured"]["reused_tasks"]],
            "wall_s": sum(part["measured"]["wall_s"] for part in whole),
        },
        "files": _joined(part["files"] for part in whole),
    }


def _joined(parts) -> dict[str, Any]:
    return {name: value for part in parts for name, value in part.items()}
