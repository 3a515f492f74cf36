"""A study's records as tables: what was run, every score with its error bar and its floor.

    load            evaluation, pruning and profiling records, checked to be comparable
    Study.change    one score of one run against the dense model, paired by document
    Study.own_minus_floor  the same width's answers against the same answers, permuted

Scores with their floors are in `levels`, verdicts in `verdicts`, comparisons across tasks in
`contrasts`, sentences in `conclusions`.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from ppmlib import records, stats
from ppmlib.params import run_key
from ppmlib.records import RecordError

DENSE = run_key("ppm", pruning_ratio=0.0)
PERPLEXITY_UNITS = {"word_perplexity": "words", "byte_perplexity": "bytes"}
# What identifies a width; all other inputs must be the same for every width of a study.
WIDTH_INPUTS = frozenset({
    "run", "criterion", "seed", "pruning_ratio", "expansion_ratio", "keep_multiple_of",
    "keep_sha256", "keep_count", "intermediate_size", "requested", "upstream", "criterion_sha256",
})  # fmt: skip


def example_dir() -> Path:
    """The example records a bare analysis reads: packaged, or of the repository's example report.

    Raises:
        RecordError: if neither is there.
    """
    package = Path(str(resources.files("ppmlib")))
    for folder in (package / "example", package.parent / "reports" / "example-bench"):
        if records.record_path(folder, f"{DENSE}/3_evaluation").is_file():
            return folder
    raise RecordError("no example records: neither in the package nor in reports/example-bench")


class Run(NamedTuple):
    """One evaluated width. `selection` is its folder (`ppm`, `random-s0`); ratios as requested."""

    key: str
    selection: str
    criterion: str
    seed: int
    pruning_ratio: float
    expansion_ratio: float
    intermediate_size: int
    parameters: int

    @property
    def label(self) -> str:
        """For readers: `40% removed (2.40x)`."""
        if self.key == DENSE:
            return f"dense ({self.expansion_ratio:.2f}x)"
        return f"{100 * self.pruning_ratio:.3g}% removed ({self.expansion_ratio:.2f}x)"


class Outcome(NamedTuple):
    """One score per document: `totals / weights`; weights None means 1. `unit` is of the score."""

    totals: np.ndarray
    weights: np.ndarray | None
    clusters: np.ndarray | None
    unit: str

    def value(self, mean: float) -> float:
        """The score itself from a weighted mean of totals: a perplexity from log-likelihoods."""
        return math.exp(-mean) if self.unit == "percent" else mean

    def effect(self, difference: float) -> float:
        """A difference of means in points, or in percent of the dense perplexity."""
        if self.unit == "percent":
            return 100 * math.expm1(-difference)
        return 100 * difference


@dataclass
class Study:
    """The records of a study, by run. `missing` says in words what is not there."""

    root: Path
    runs: dict[str, Run]
    evaluations: dict[str, dict[str, Any]]
    profiling: dict[str, dict[str, Any]]
    pruning: dict[str, dict[str, Any]]
    missing: list[str] = field(default_factory=list)
    _samples: dict = field(default_factory=dict, repr=False)
    _computed: dict = field(default_factory=dict, repr=False)

    @property
    def synthetic(self) -> bool:
        """Whether the model is a packaged bench model."""
        return bool(self.evaluations[DENSE]["results"]["synthetic"])

    def widths(self, selection: str) -> list[Run]:
        """The evaluated widths of a selection, widest first, without the dense model."""
        runs = [run for run in self.runs.values() if run.selection == selection]
        return sorted(runs, key=lambda run: -run.expansion_ratio)

    def selections(self) -> list[str]:
        """All selections but the dense model, in order of their names."""
        return sorted({run.selection for run in self.runs.values()} - {"dense"})

    def rows(self, run: str, source: str = "model") -> list[dict[str, Any]]:
        """The metric rows of a run's evaluation record."""
        rows = self.evaluations[run]["results"]["rows"]
        return [row for row in rows if row["source"] == source]

    def fingerprints(self) -> dict[str, str]:
        """The fingerprint of every record read, by key."""
        kinds = {"2_pruning": self.pruning, "3_evaluation": self.evaluations,
                 "4_profiling": self.profiling}  # fmt: skip
        return {f"{run}/{stage}": record["fingerprint"]
                for stage, found in kinds.items() for run, record in found.items()}  # fmt: skip

    def samples(self, run: str, task: str) -> pd.DataFrame:
        """Per-document outcomes of a task, ordered by document."""
        if (run, task) not in self._samples:
            name = self._samples_file(run, task)
            if name not in self.evaluations[run]["files"]:
                raise RecordError(f"{name}: not named by the evaluation record of {run}")
            table = pd.read_parquet(self.root / name)
            self._samples[run, task] = table.sort_values("doc_id", ignore_index=True)
        return self._samples[run, task]

    @staticmethod
    def _samples_file(run: str, task: str) -> str:
        return f"samples/{run}/{task}.parquet"

    def has_outcomes(self, run: str, row: dict[str, Any], floor: bool = False) -> bool:
        """Whether a metric row has per-document values."""
        if self._samples_file(run, row["task"]) not in self.evaluations[run]["files"]:
            return False  # a subtask: its documents are in its group's table
        table = self.samples(run, row["task"])
        if row["metric"] in PERPLEXITY_UNITS and "loglikelihood" in table:
            return not floor
        return _column_name(row, floor) in table

    def outcome(self, run: str, row: dict[str, Any], floor: bool = False) -> Outcome:
        """Per-document values of a metric row, or of its permuted responses with `floor`.

        Raises:
            RecordError: if the record has no such column.
        """
        key = ("outcome", run, floor, *_metric_key(row))
        return self.once(key, lambda: self._outcome(run, row, floor))

    def _outcome(self, run: str, row: dict[str, Any], floor: bool) -> Outcome:
        table, name = self.samples(run, row["task"]), _column_name(row, floor)
        clusters = table["cluster"].to_numpy() if "cluster" in table else None
        if not floor and row["metric"] in PERPLEXITY_UNITS and "loglikelihood" in table:
            weights = table[PERPLEXITY_UNITS[row["metric"]]].to_numpy(float)
            return Outcome(table["loglikelihood"].to_numpy(float), weights, clusters, "percent")
        if name not in table:
            raise RecordError(f"samples of {run}, {row['task']}: no per-document values of {name}")
        values = table[name]
        if isinstance(values.iloc[0], (list, np.ndarray)):
            totals, weights = values.map(np.sum), values.map(len)
            return Outcome(totals.to_numpy(float), weights.to_numpy(float), clusters, "points")
        return Outcome(values.to_numpy(float), None, clusters, "points")

    def once(self, key: tuple, compute: Callable[[], Any]) -> Any:
        """`compute()`, kept under the key for the next time."""
        if key not in self._computed:
            self._computed[key] = compute()
        return self._computed[key]

    def _compare(self, key: tuple, first: Outcome, second: Outcome, seed: int) -> stats.Change:
        return self.once(key, lambda: stats.paired(
            first.totals, second.totals, weights=first.weights, clusters=first.clusters,
            bounded=first.unit == "points", seed=seed,
        ))  # fmt: skip

    def change(
        self, run: str, row: dict[str, Any], *, seed: int, reference: str = DENSE
    ) -> stats.Change:
        """A run's score minus the dense model's (or another run's), paired by document."""
        first, second = self.outcome(reference, row), self.outcome(run, row)
        return self._compare((reference, run, *_metric_key(row), seed), first, second, seed)

    def own_minus_floor(self, run: str, row: dict[str, Any], *, seed: int) -> stats.Change:
        """A run's own responses minus the same responses permuted, paired by document."""
        first, second = self.outcome(run, row, floor=True), self.outcome(run, row)
        return self._compare(("floor", run, *_metric_key(row), seed), first, second, seed)


def _metric_key(row: dict[str, Any]) -> tuple[str, str, str]:
    return row["task"], row["metric"], row["filter"]


def _column_name(row: dict[str, Any], floor: bool) -> str:
    return f"{'permuted:' if floor else ''}{row['metric']},{row['filter']}"


def load(root: Path) -> Study:
    """Read and verify every record of a study, and refuse widths that cannot be compared.

    Raises:
        RecordError: for a damaged record, no dense evaluation, or records that differ in an input
            that must be the same for every width; it names the field (or task and document) and
            both values.
    """
    root = Path(root)
    evaluations = {
        key.rsplit("/", 1)[0]: r for key, r in records.find(root, "3_evaluation").items()
    }
    pruning = {key.rsplit("/", 1)[0]: r for key, r in records.find(root, "2_pruning").items()}
    profiling = {key.rsplit("/", 1)[0]: r for key, r in records.find(root, "4_profiling").items()}
    if DENSE not in evaluations:
        raise RecordError(f"{records.record_path(root, f'{DENSE}/3_evaluation')}: no such record")
    runs = {key: _run(key, record["results"]) for key, record in evaluations.items()}
    missing = [f"{key}: pruned but not evaluated" for key in sorted(set(pruning) - set(runs))]
    study = Study(root, runs, evaluations, profiling, pruning, missing)
    for key in sorted(set(runs) - {DENSE}):
        _refuse_unlike_inputs(study, key)
        _refuse_unlike_documents(study, key)
        absent = set(evaluations[DENSE]["results"]["tasks"]) - set(
            evaluations[key]["results"]["tasks"]
        )
        if not runs[key].selection.startswith("random"):
            study.missing += [f"{key}: task {task} was not evaluated" for task in sorted(absent)]
    return study


def _run(key: str, results: dict[str, Any]) -> Run:
    selection, width = key.rsplit("/", 1)
    requested = float(width[1:]) if width.startswith("r") else results["pruning_ratio"]
    criterion = "random" if selection.startswith("random-s") else selection
    return Run(
        key, selection, criterion, int(results["seed"]), float(requested),
        float(results["expansion_ratio"]), results["intermediate_size"], results["parameters"],
    )  # fmt: skip


def _flat(value: Any, prefix: str = "") -> dict[str, Any]:
    """Nested inputs as `a.b` -> value; lists of named tasks by their names."""
    if isinstance(value, list) and value and all(isinstance(v, dict) for v in value):
        named = {str(item.get("name", item.get("task", i))): item for i, item in enumerate(value)}
        return _flat(named, prefix)
    if not isinstance(value, dict):
        return {prefix: value}
    flat: dict[str, Any] = {}
    for name, item in value.items():
        flat |= _flat(item, f"{prefix}.{name}" if prefix else str(name))
    return flat


def _refuse_unlike_inputs(study: Study, key: str) -> None:
    dense, other = (
        {n: v for n, v in study.evaluations[k]["inputs"].items() if n not in WIDTH_INPUTS}
        for k in (DENSE, key)
    )
    # A control may be evaluated on fewer tasks: per-task inputs are compared where both have them.
    common = set(study.evaluations[DENSE]["results"]["tasks"])
    common &= set(study.evaluations[key]["results"]["tasks"])
    first, second = _flat(dense), _flat(other)
    for name in sorted(set(first) | set(second)):
        about_task = name.startswith("tasks.") and not any(
            f"{name}.".startswith(f"tasks.{task}.") for task in common
        )
        if about_task or first.get(name) == second.get(name):
            continue
        raise RecordError(
            f"{DENSE} and {key} cannot be compared: {name} is {first.get(name)!r} "
            f"and {second.get(name)!r}"
        )


def _refuse_unlike_documents(study: Study, key: str) -> None:
    dense, other = (study.evaluations[k]["results"]["tasks"] for k in (DENSE, key))
    for task in sorted(set(dense) & set(other)):
        for name in ("version", "num_fewshot", "output_type", "n"):
            if dense[task].get(name) != other[task].get(name):
                raise RecordError(
                    f"{DENSE} and {key} cannot be compared: {task}: {name} is "
                    f"{dense[task].get(name)!r} and {other[task].get(name)!r}"
                )
        first, second = study.samples(DENSE, task), study.samples(key, task)
        for column in ("doc_id", "doc_hash", "target_hash"):
            if len(first) != len(second):
                raise RecordError(
                    f"{DENSE} and {key}: {task} has {len(first)} and {len(second)} documents"
                )
            unlike = np.flatnonzero(first[column].to_numpy() != second[column].to_numpy())
            if unlike.size:
                at = unlike[0]
                raise RecordError(
                    f"{DENSE} and {key} cannot be compared: {task}, document "
                    f"{first['doc_id'][at]}: {column} is {first[column][at]!r} and "
                    f"{second[column][at]!r} ({unlike.size} documents differ)"
                )


def describe_run(run: Run) -> dict[str, Any]:
    """The columns that identify a run in every table."""
    return {
        "run": run.key, "selection": run.selection, "criterion": run.criterion, "seed": run.seed,
        "pruning_ratio": run.pruning_ratio, "expansion_ratio": run.expansion_ratio,
    }  # fmt: skip


def runs_table(study: Study) -> pd.DataFrame:
    """The evaluated widths for reading, dense first."""
    order = [DENSE, *(run.key for s in study.selections() for run in study.widths(s))]
    rows = [(study.runs[key], study.evaluations[key]["results"]["tasks"]) for key in order]
    return pd.DataFrame(
        {
            "run": run.key,
            "expansion ratio": f"{run.expansion_ratio:.2f}x",
            "neurons removed": f"{100 * run.pruning_ratio:.3g}%",
            "neurons per layer": run.intermediate_size,
            "parameters": f"{run.parameters:,}",
            "tasks": len(tasks),
            "documents": f"{sum(task['n'] for task in tasks.values()):,}",
        }
        for run, tasks in rows
    ).set_index("run")


def plain_rows(table: pd.DataFrame) -> list[dict[str, Any]]:
    """A table's rows as JSON has them: Python numbers, None where there is no value."""

    def plain(value):
        value = value.item() if isinstance(value, np.generic) else value
        return None if isinstance(value, float) and math.isnan(value) else value

    return [{name: plain(value) for name, value in row.items()} for row in table.to_dict("records")]


def write_tables(root: Path, **tables: pd.DataFrame) -> list[Path]:
    """Write `tables/<name>.csv` for every table that has rows; the paths written."""
    written = []
    for name, table in tables.items():
        if not table.empty:
            path = Path(root) / "tables" / f"{name}.csv"
            records.write_text(path, table.to_csv(index=False))
            written.append(path)
    return written
