"""The records of one study in memory: its runs, their scores per document, paired comparisons."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import pandas as pd

from ppmlib.analyse import outcomes
from ppmlib.analyse.outcomes import Outcome
from ppmlib.record.evaluation_records import DENSE, STAGE, task_slug
from ppmlib.record.records import RecordError
from ppmlib.statistics import paired
from ppmlib.study_file.selection import is_random, ratio_of

NOISE = "noise"  # full width, damaged by weight noise instead of pruned
RUN_COLUMNS = ("run", "selection", "criterion", "seed", "pruning_ratio", "expansion_ratio")


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


@dataclass
class Study:
    """The records of a study, by run. `missing` says in words what is not there.

    `runs` are models that can be compared with the dense one; trivial baselines and the A/A repeat
    have evaluations, but are not widths.
    """

    root: Path
    runs: dict[str, Run]
    evaluations: dict[str, dict[str, Any]]
    profiling: dict[str, dict[str, Any]]
    pruning: dict[str, dict[str, Any]]
    missing: list[str] = field(default_factory=list)
    _samples: dict = field(default_factory=dict, repr=False)
    _computed: dict = field(default_factory=dict, repr=False)

    @property
    def trivial(self) -> dict[str, str]:
        """The runs of trivial baselines, by their kind (`constant`, `echo`)."""
        found = sorted(self.evaluations.items())
        return {record["results"]["responder"]: run for run, record in found if is_trivial(record)}

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

    def rows(self, run: str) -> list[dict[str, Any]]:
        """The metric rows of a run's evaluation record, those of permuted responses left out."""
        rows = self.evaluations[run]["results"]["rows"]
        return [row for row in rows if row["source"] == "model"]

    def fingerprints(self) -> dict[str, str]:
        """The fingerprint of every record read, by key."""
        read = {"2_pruning": self.pruning, STAGE: self.evaluations, "4_profiling": self.profiling}
        return {
            f"{run}/{stage}": record["fingerprint"]
            for stage, found in read.items()
            for run, record in found.items()
        }

    def samples(self, run: str, task: str) -> pd.DataFrame:
        """Per-document outcomes of a task, ordered by document."""
        if (run, task) not in self._samples:
            name = _samples_file(run, task)
            if name not in self.evaluations[run]["files"]:
                raise RecordError(f"{name}: not named by the evaluation record of {run}")
            table = pd.read_parquet(self.root / name)
            self._samples[run, task] = table.sort_values("doc_id", ignore_index=True)
        return self._samples[run, task]

    def has_outcomes(self, run: str, row: dict[str, Any]) -> bool:
        """Whether a metric row has per-document values; a subtask's are in its group's table."""
        file = _samples_file(run, row["task"])
        if row.get("group") is not None or file not in self.evaluations[run]["files"]:
            return False
        return outcomes.has_outcome(self.samples(run, row["task"]), row)

    def outcome(self, run: str, row: dict[str, Any]) -> Outcome:
        """Per-document values of a metric row, as `outcomes.outcome_of`."""
        key = ("outcome", run, *metric_key(row))
        return self.once(key, lambda: outcomes.outcome_of(self.samples(run, row["task"]), row))

    def untestable(self, run: str, row: dict[str, Any]) -> str | None:
        """Why a metric row can have no verdict, in words; None where it can."""
        if not self.has_outcomes(run, row):
            return "has no per-document values"
        return outcomes.untestable(self.samples(run, row["task"]), row)

    def once(self, key: tuple, compute: Callable[[], Any]) -> Any:
        """`compute()`, kept under the key for the next time."""
        if key not in self._computed:
            self._computed[key] = compute()
        return self._computed[key]

    def headline(self, run: str, task: str) -> dict[str, Any] | None:
        """The headline row of a task, or None where the run was not evaluated on it."""
        found = [row for row in self.rows(run) if row["task"] == task and row["headline"]]
        return found[0] if found else None

    def scored(self, task: str, criterion: str) -> Iterator[tuple[Run, dict[str, Any]]]:
        """The dense model and the widths of a criterion with their headline row of a task.

        Runs that were not evaluated on it, or without per-document values, are left out.
        """
        for run in [self.runs[DENSE], *self.widths(criterion)]:
            row = self.headline(run.key, task)
            if row is not None and self.has_outcomes(run.key, row):
                yield run, row

    def change(
        self, run: str, row: dict[str, Any], *, seed: int, reference: str = DENSE
    ) -> paired.Change:
        """A run's score minus the dense model's (or another run's), paired by document."""
        first, second = self.outcome(reference, row), self.outcome(run, row)
        key = (reference, run, *metric_key(row), seed)
        return self.once(key, lambda: outcomes.compare(first, second, seed=seed))


def is_trivial(record: dict[str, Any]) -> bool:
    """Whether an evaluation is of a trivial baseline, which reads no prompt."""
    return "responder" in record["results"]


def metric_key(row: Mapping[str, Any]) -> tuple[str, str, str]:
    """What identifies a metric among the rows of a run."""
    return row["task"], row["metric"], row["filter"]


def _samples_file(run: str, task: str) -> str:
    return f"samples/{run}/{task_slug(task)}.parquet"


def run_of(key: str, results: dict[str, Any]) -> Run:
    """The width an evaluation record (its key without the stage, its results) is about."""
    selection, width = key.rsplit("/", 1)
    requested, seed = ratio_of(width), int(results["seed"])
    if requested is None:
        requested = float(results["pruning_ratio"])
    criterion = "random" if is_random(selection, seed) else selection
    expansion_ratio = float(results["expansion_ratio"])
    sizes = results["intermediate_size"], results["parameters"]
    return Run(key, selection, criterion, seed, requested, expansion_ratio, *sizes)


def describe_run(run: Run) -> dict[str, Any]:
    """The columns that identify a run in every table."""
    return dict(zip(RUN_COLUMNS, run, strict=False))
