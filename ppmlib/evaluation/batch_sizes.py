"""Batches that did not fit into memory, and the smaller ones that a study then uses.

Each is a separate file in the study's folder, part of its record, and is never changed: jobs that
fail at the same time cannot overwrite each other, and the largest batch only falls. Batch sizes are
never mixed inside a task: the next pass of `ppm run` evaluates it again at every width. Engines
differ in what fits; the A/A repeat, which needs other batches than the widths, is counted apart.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from ppmlib.record import records
from ppmlib.record.evaluation_records import DENSE, REPEAT, REPEAT_ENGINE, STAGE, task_slug
from ppmlib.study_file.params import Study

FOLDER = "batch_sizes"


def halve_batch_size(root: Path, run: str, engine: str, task: str, tried: int) -> int | None:
    """Note that a batch of `tried` did not fit in a run; returns what may, None if it was of one.

    Jobs of one study may call this at the same time.
    """
    if tried == 1:
        return None
    name = f"{task_slug(task)}.{tried}.json"
    note = {"task": task, "did_not_fit": tried}
    records.write_json(Path(root) / FOLDER / _group(run, engine) / name, note)
    return read_limits(root, run, engine)[task]


def read_limits(root: Path, run: str, engine: str) -> dict[str, int]:
    """The largest batch that may fit, of every task that ran out of memory in such a run."""
    found: dict[str, int] = {}
    for path, note in _notes(root):
        folder = path.parent.name
        # Earlier versions had one file per task, for every width and the repeated run together.
        if note and (folder == _group(run, engine) or (folder == FOLDER and run != REPEAT)):
            task, most = note["task"], note["did_not_fit"] // 2
            found[task] = min(found.get(task, most), most)
    return found


def list_damaged(root: Path) -> list[str]:
    """A line for every file that does not state what did not fit; it is ignored."""
    return [
        f"{path}: damaged, ignored; a batch that does not fit is noted again (remove the file)"
        for path, note in _notes(root)
        if note is None
    ]


def apply_smaller(study: Study, root: Path) -> Study:
    """The study with the smaller batches that its folder asks for."""
    most = read_limits(root, DENSE, study.engine)
    tasks = [
        task.model_copy(update={"batch_size": most[task.name]})
        if most.get(task.name, study.batch_size_of(task.name)) < study.batch_size_of(task.name)
        else task
        for task in study.tasks
    ]
    return study.model_copy(update={"tasks": tasks})


def spec_of_repeat(study: Study, root: Path, spec: Mapping[str, Any]) -> dict[str, Any]:
    """A task of the repeated dense run, in other batches than the widths' where that can be.

    Args:
        study: with `aa_batch_size`, as `apply_smaller` gives it.
        spec: the task as a width's parameter; its own smaller batches become smaller still.
    """
    size, width = study.aa_batch_size, study.batch_size_of(spec["name"])
    if "batch_size" in spec:
        size = min(size, max(width // 2, 1))
    most = read_limits(root, REPEAT, REPEAT_ENGINE).get(spec["name"], size)
    if most < size:
        size = most if most != width else max(most // 2, 1)
    own = "batch_size" in spec or size < study.aa_batch_size
    return {**spec, "batch_size": size} if own else dict(spec)


def describe_lowered(plan: Mapping[str, Any], root: Path) -> list[str]:
    """Which batches of a plan its run found too large, a line each; the next plan heeds them."""
    found = {}
    for key, job in plan["jobs"].items():
        if job["stage"] != STAGE:
            continue
        run, given = key.rpartition("/")[0], job["parameters"]
        most = read_limits(root, run, given["engine"])
        who = "the repeated dense run" if run == REPEAT else "every width"
        for task in given["tasks"]:
            tried = task.get("batch_size", given["batch_size"])
            if most.get(task["name"], tried) < tried:
                found[who, task["name"]] = most[task["name"]]
    return [
        f"{task}: out of memory; {who} now takes batches of at most {size}"
        for (who, task), size in found.items()
    ]


def _group(run: str, engine: str) -> str:
    return f"repeat-{engine}" if run == REPEAT else engine


def _notes(root: Path) -> Iterator[tuple[Path, dict[str, Any] | None]]:
    """Every file with the {task, did_not_fit} in it, None where it is damaged."""
    for path in sorted((Path(root) / FOLDER).rglob("*.json")):
        try:
            note = records.read_json(path)
        except records.RecordError:
            note = None
        fields = note if isinstance(note, dict) else {}
        task, tried = fields.get("task"), fields.get("did_not_fit")
        yield path, note if isinstance(task, str) and type(tried) is int and tried > 1 else None
