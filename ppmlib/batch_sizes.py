"""Tasks that ran out of memory, and the smaller batches that every width of a study then uses.

One file per task in the study's folder, part of its record. Batch sizes are never mixed inside a
task: the next pass of `ppm run` evaluates it anew at every width.
"""

from pathlib import Path

from ppmlib import records
from ppmlib.evaluation_records import task_slug
from ppmlib.params import Study

FOLDER = "batch_sizes"


def lower(root: Path, task: str, tried: int) -> int | None:
    """Note that a batch of `tried` did not fit; returns half of it, None if it was one document."""
    if tried == 1:
        return None
    path = Path(root) / FOLDER / f"{task_slug(task)}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    records.write_json(path, {"task": task, "did_not_fit": tried, "batch_size": tried // 2})
    return tried // 2


def smaller(study: Study, root: Path) -> dict[str, int]:
    """Task to batch size, for the tasks of a study that need smaller batches than it gives them."""
    notes = [records.read_json(path) for path in sorted((Path(root) / FOLDER).glob("*.json"))]
    sizes = {note["task"]: note["batch_size"] for note in notes}
    return {
        task.name: sizes[task.name]
        for task in study.tasks
        if sizes.get(task.name, study.batch_size_of(task.name)) < study.batch_size_of(task.name)
    }


def applied(study: Study, root: Path) -> Study:
    """The study with the smaller batches that its folder asks for."""
    sizes = smaller(study, root)
    tasks = [
        task.model_copy(update={"batch_size": sizes.get(task.name, task.batch_size)})
        for task in study.tasks
    ]
    return study.model_copy(update={"tasks": tasks})
