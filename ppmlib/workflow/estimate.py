"""What a run of a study is about to do, said before it starts: what is loaded, how much is asked.

Sizes of tasks come from the study's own finished records, else from the table of the paper's tasks;
time only from finished records. What neither knows is said not to be known.
"""

import csv
import math
from collections.abc import Collection
from importlib import resources
from pathlib import Path
from typing import Any

from ppmlib.model import checkpoint, models
from ppmlib.record import evaluation_records, records
from ppmlib.study_file.params import Study
from ppmlib.workflow import plan as planning
from ppmlib.workflow.progress import clock

BYTES = {"float32": 4, "bfloat16": 2, "float16": 2}


def lines(
    study: Study, study_file: Path, plan: dict[str, Any], root: Path, to_run: Collection[str]
) -> list[str]:
    """The estimate of a study, a line each: totals, the model, time; empty if nothing is evaluated.

    Args:
        study_file: where the study was read.
        plan: its plan.
        root: its folder, whose finished evaluations give sizes and seconds.
        to_run: the jobs that are not finished.
    """
    if not study.tasks:
        return []
    said = []
    sizes, seconds, finished = _known(study, plan, root, to_run)
    asked = {
        key: [task["name"] for task in job["parameters"]["tasks"]]
        for key, job in plan["jobs"].items()
        if job["stage"] == evaluation_records.STAGE
    }
    runs = {key.rpartition("/")[0] for key in asked}
    total = sum(sizes.get(task, 0) for tasks in asked.values() for task in tasks)
    unknown = sorted({task for tasks in asked.values() for task in tasks} - set(sizes))
    draft = f"DRAFT, {study.subset.n} documents per task: " if study.subset else ""
    count = f"{total:,} documents" if sizes else "documents not counted yet"
    rest = f", and {', '.join(unknown)} of a size not known yet" if sizes and unknown else ""
    grid = f"{len(runs)} runs, {len(study.tasks)} tasks, {len(asked)} evaluations"
    said.append(f"{draft}{grid}: {count}{rest}")
    try:
        located = planning.locate(study, study_file, fetch=False)
    except models.NotHere:
        located = None
    if located is not None:
        said.append(_model(study, located))
    said.append(_engine(plan))
    left = [task for key, tasks in asked.items() if key not in finished for task in tasks]
    count = sum(len(tasks) for tasks in asked.values())
    if finished and left:
        timed = [task for task in left if task in seconds]
        needed = sum(seconds[task] * sizes[task] for task in timed)
        without = len(left) - len(timed)
        said.append(
            f"left: {len(left)} of {count} tasks of runs, about "
            f"{clock(needed)} of evaluation one after another"
            + (f", and {without} whose time is not known yet" if without else "")
        )
    elif left:
        said.append("time: not known before a first evaluation is finished")
    return said


def _model(study: Study, located: Path) -> str:
    tensors = checkpoint.shapes(located)
    parameters = sum(math.prod(shape) for shape in tensors.values())
    gigabytes = parameters * BYTES[study.model.dtype] / 1e9
    return (
        f"model: {parameters:,} stored parameters, {gigabytes:.2f} GB in {study.model.dtype}, read "
        "once per notebook and sliced in place"
    )


def _engine(plan: dict[str, Any]) -> str:
    engine, reason = plan["study"]["engine"], plan.get("engine_reason")
    return f"engine: {engine}" + (f" ({reason})" if reason else "")


def _known(study: Study, plan: dict[str, Any], root: Path, to_run: Collection[str]):
    """Documents by task, seconds per document by task, and which evaluations are finished."""
    sizes, spent, finished = {}, {}, set()
    text = resources.files("ppmlib.published").joinpath("documents.csv").read_text(encoding="utf-8")
    names = {task.name for task in study.tasks}
    for row in csv.DictReader(text.splitlines()):
        if row["task"] in names:
            count = int(row["n"])
            sizes[row["task"]] = min(count, study.subset.n) if study.subset else count
    for key, job in plan["jobs"].items():
        if job["stage"] != evaluation_records.STAGE or key in to_run:
            continue
        record = records.read(root, key)
        finished.add(key)
        for task, about in record["results"]["tasks"].items():
            sizes[task] = about["n"]
            if task not in record["measured"]["reused_tasks"]:
                took = record["measured"]["seconds_per_task"][task] / about["n"]
                spent.setdefault(task, []).append(took)
    seconds = {task: sum(found) / len(found) for task, found in spent.items()}
    return sizes, seconds, finished
