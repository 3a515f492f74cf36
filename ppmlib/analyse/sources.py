"""A study's records read and checked; its tables as JSON rows and CSV files."""

import math
from collections.abc import Iterable, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ppmlib.analyse.study_records import DENSE, Study, is_trivial, run_of
from ppmlib.record import evaluation_records, records
from ppmlib.record.evaluation_records import REPEAT
from ppmlib.record.records import RecordError

# What identifies a width; all other inputs must be the same for every width of a study.
WIDTH_INPUTS = {
    *("run", "criterion", "criterion_sha256", "seed", "pruning_ratio", "expansion_ratio"),
    *("keep_multiple_of", "keep_sha256", "keep_count", "intermediate_size", "requested"),
    *("upstream", "noise"),
}
# What a trivial baseline, which has no model, cannot have; what the A/A repeat differs in.
NOT_OF_RESPONDERS = ("model", "settings", "responder")
WRITTEN_TO = ("tables", "figures")
NOT_OF_REPEAT = ("settings.floors", "settings.engine")


def example_dir() -> Path:
    """The example records a bare analysis reads: packaged, or of the repository's example report.

    Raises:
        RecordError: if neither is there.
    """
    package = Path(str(resources.files("ppmlib")))
    for folder in (package / "example", package.parent / "reports" / "example-bench"):
        if records.record_path(folder, evaluation_records.key(DENSE)).is_file():
            return folder
    raise RecordError("no example records: neither in the package nor in reports/example-bench")


def load(root: Path) -> Study:
    """Read and verify every record of a study, and refuse widths that cannot be compared.

    Raises:
        RecordError: for a damaged record, no dense evaluation, or records that differ in an input
            that must be the same for every width; it names the field (or task and document) and
            both values.
    """
    root = Path(root)
    evaluations = evaluation_records.read_all(root)
    pruning, profiling = (
        {key.rsplit("/", 1)[0]: record for key, record in records.read_stage(root, stage).items()}
        for stage in ("2_pruning", "4_profiling")
    )
    if DENSE not in evaluations:
        path = records.record_path(root, evaluation_records.key(DENSE))
        raise RecordError(f"{path}: no such record")
    runs = {
        key: run_of(key, record["results"])
        for key, record in evaluations.items()
        if key != REPEAT and not is_trivial(record)
    }
    missing = _missing(root, evaluations, set(pruning))
    study = Study(root, runs, evaluations, profiling, pruning, missing)
    for key in sorted(set(evaluations) - {DENSE}):
        _refuse_unlike_inputs(study, key)
        _refuse_unlike_documents(study, key)
    return study


def _missing(root: Path, evaluations: dict[str, Any], pruned: set[str]) -> list[str]:
    """Runs and tasks that the study's plan or its pruning records name and that are not there."""
    plan, planned, absent = root / records.PLAN_FILE, set(), []
    if plan.is_file():
        for key, job in records.read_plan(root)["jobs"].items():
            run, _, part = key.rpartition("/")
            if job["stage"] != evaluation_records.STAGE:
                continue
            planned.add(run)
            task = job["parameters"]["tasks"][0]["name"] if "-" in part else None
            if run in evaluations and task not in (None, *evaluations[run]["results"]["tasks"]):
                absent.append(f"{run}: {task} was not evaluated")
    return [
        f"{run}: {'pruned' if run in pruned else 'planned'} but not evaluated"
        for run in sorted((planned | pruned) - set(evaluations))
    ] + sorted(absent)


def flatten(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """Nested inputs as `a.b` -> value, by name."""
    (flat,) = pd.json_normalize(inputs).to_dict("records")
    return dict(sorted(flat.items()))


def _refuse_unlike_inputs(study: Study, key: str) -> None:
    both = [study.evaluations[k] for k in (DENSE, key)]
    trivial = is_trivial(study.evaluations[key])
    ignored = NOT_OF_RESPONDERS if trivial else NOT_OF_REPEAT if key == REPEAT else ()
    # A control may be evaluated on fewer tasks: per-task inputs are compared where both have them.
    common = set.intersection(*(set(record["results"]["tasks"]) for record in both))

    def compared(record: dict[str, Any]) -> dict[str, Any]:
        inputs = {name: v for name, v in record["inputs"].items() if name not in WIDTH_INPUTS}
        tasks = inputs.get("tasks", {})
        inputs["tasks"] = {task: about for task, about in tasks.items() if task in common}
        return {name: value for name, value in flatten(inputs).items() if not aside(name)}

    def aside(name: str) -> bool:
        # A trivial baseline has no batches; the A/A repeat has other batches on purpose.
        other_batches = bool(ignored) and name.rpartition(".")[2] == "batch_size"
        return other_batches or any(f"{name}.".startswith(f"{part}.") for part in ignored)

    refuse_unlike(DENSE, key, *map(compared, both))


def refuse_unlike(first: str, second: str, mine: Mapping, other: Mapping) -> None:
    """RecordError naming the first field in which two records differ, and both values."""
    for name in dict.fromkeys([*mine, *other]):
        if mine.get(name) != other.get(name):
            raise RecordError(
                f"{first} and {second} cannot be compared: {name} is {mine.get(name)!r} "
                f"and {other.get(name)!r}"
            )


def about_task(task: str, both: Sequence[Mapping], names: Sequence[str]) -> list[dict[str, Any]]:
    """Fields of one task in two records, as `refuse_unlike` takes them."""
    return [{f"{task}: {name}": tasks[task].get(name) for name in names} for tasks in both]


def _refuse_unlike_documents(study: Study, key: str) -> None:
    dense, other = (study.evaluations[k]["results"]["tasks"] for k in (DENSE, key))
    for task in sorted(set(dense) & set(other)):
        fields = ("version", "num_fewshot", "output_type", "n")
        refuse_unlike(DENSE, key, *about_task(task, (dense, other), fields))
        first, second = study.samples(DENSE, task), study.samples(key, task)
        if len(first) != len(second):
            raise RecordError(
                f"{DENSE} and {key}: {task} has {len(first)} and {len(second)} documents"
            )
        for column in ("doc_id", "doc_hash", "target_hash"):
            unlike = np.flatnonzero(first[column].to_numpy() != second[column].to_numpy())
            if unlike.size:
                document, ours, theirs = first["doc_id"], first[column], second[column]
                at = unlike[0]
                raise RecordError(
                    f"{DENSE} and {key} cannot be compared: {task}, document {document[at]}: "
                    f"{column} is {ours[at]!r} and {theirs[at]!r} ({unlike.size} documents differ)"
                )


def plain_rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    """A table's rows as JSON has them: Python numbers, None where there is no value."""

    def plain(value):
        value = value.item() if isinstance(value, np.generic) else value
        return None if isinstance(value, float) and math.isnan(value) else value

    return [{name: plain(value) for name, value in row.items()} for row in table.to_dict("records")]


def write_tables(root: Path, **tables: pd.DataFrame) -> list[Path]:
    """Write `tables/<name>.csv` for every table that has rows; the paths written."""
    folder = Path(root) / "tables"
    files = {folder / f"{name}.csv": table for name, table in tables.items() if not table.empty}
    for path, table in files.items():
        records.write_text(path, table.to_csv(index=False))
    return list(files)


def remove_earlier(root: Path, files: Iterable[Path]) -> None:
    """Delete the tables and figures of the study's earlier analysis that are not among `files`.

    Without this a table of claims would outlive the claims.
    """
    try:
        earlier = records.read_json(records.record_path(root, "5_analysis"))["files"]
    except (RecordError, KeyError, TypeError):
        return  # there is none, or it is damaged: which files were its own is not known
    kept = {Path(file).resolve() for file in files}
    for name in earlier:
        path = Path(root, name).resolve()
        if path not in kept and path.parent in (Path(root, at).resolve() for at in WRITTEN_TO):
            path.unlink(missing_ok=True)
