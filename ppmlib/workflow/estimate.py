"""The estimate of a run, printed before it starts: documents, the model's size, time.

Sizes of tasks come from the study's own finished records, else from the table of the paper's tasks;
time only from finished records.
"""

import csv
import math
from collections.abc import Collection
from importlib import resources
from pathlib import Path
from statistics import fmean
from typing import Any

from ppmlib.model import checkpoint, models
from ppmlib.record import evaluation_records, records
from ppmlib.study_file.params import Study
from ppmlib.workflow import plan as planning
from ppmlib.workflow.progress import clock

BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}


def describe_run(
    study: Study, study_file: Path, plan: dict[str, Any], root: Path, to_run: Collection[str]
) -> list[str]:
    """The estimate of a study, a line each: totals, the model, time; empty if nothing is evaluated.

    `root`: the study's folder, whose finished evaluations (not in `to_run`) give sizes and seconds.
    """
    if not study.tasks:
        return []
    evaluations = {
        key: [task["name"] for task in job["parameters"]["tasks"]]
        for key, job in plan["jobs"].items()
        if job["stage"] == evaluation_records.STAGE
    }
    finished = [key for key in evaluations if key not in to_run]
    sizes, seconds = _read_sizes(study, root, finished)
    runs = {key.rpartition("/")[0] for key in evaluations}
    tasks = [task for names in evaluations.values() for task in names]
    unknown = sorted(set(tasks) - set(sizes))
    draft = f"DRAFT, {study.subset.n} documents per task: " if study.subset else ""
    grid = f"{len(runs)} runs, {len(study.tasks)} tasks, {len(evaluations)} evaluations"
    count = "documents not counted yet"
    if sizes:
        count = f"{sum(sizes.get(task, 0) for task in tasks):,} documents"
        count += f", and {', '.join(unknown)} (size unknown)" if unknown else ""
    lines = [f"{draft}{grid}: {count}"]
    try:
        located = planning.locate(study, study_file, fetch=False)
    except models.NotHere:
        located = None
    if located is not None:
        parameters = sum(math.prod(shape) for shape in checkpoint.shapes(located).values())
        gigabytes = parameters * BYTES[study.model.dtype] / 1e9
        lines.append(
            f"model: {parameters:,} stored parameters, {gigabytes:.2f} GB in {study.model.dtype}, "
            "read once per notebook and sliced in place"
        )
    engine, reason = plan["study"]["engine"], plan.get("engine_reason")
    lines.append(f"engine: {engine}" + (f" ({reason})" if reason else ""))
    left = [task for key, names in evaluations.items() if key not in finished for task in names]
    if finished and left:
        timed = [task for task in left if task in seconds]
        needed = clock(sum(seconds[task] * sizes[task] for task in timed))
        untimed = (
            f", and {len(left) - len(timed)} of unknown time" if len(left) > len(timed) else ""
        )
        lines.append(
            f"left: {len(left)} of {len(tasks)} tasks of runs, about {needed} of evaluation one "
            f"after another{untimed}"
        )
    elif left:
        lines.append("time: not known before a first evaluation is finished")
    return lines


def _read_sizes(study: Study, root: Path, finished: Collection[str]):
    """Documents and seconds per document, by task, from a study's finished evaluations."""
    sizes, spent = {}, {}
    text = resources.files("ppmlib.published").joinpath("documents.csv").read_text(encoding="utf-8")
    names = {task.name for task in study.tasks}
    for row in csv.DictReader(text.splitlines()):
        if row["task"] in names:
            count = int(row["n"])
            sizes[row["task"]] = min(count, study.subset.n) if study.subset else count
    for record in (records.read(root, key) for key in finished):
        measured = record["measured"]
        for task, about in record["results"]["tasks"].items():
            sizes[task] = about["n"]
            if task not in measured["reused_tasks"]:
                spent.setdefault(task, []).append(measured["seconds_per_task"][task] / about["n"])
    return sizes, {task: fmean(found) for task, found in spent.items()}
