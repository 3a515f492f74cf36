"""One score per document, read from a task's table of samples; nothing here knows of a study."""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from ppmlib.record.records import RecordError
from ppmlib.statistics import paired

# What a document's log-likelihood is divided by; by nothing for LAMBADA's, one target each.
PERPLEXITY_UNITS = {"word_perplexity": "words", "byte_perplexity": "bytes", "perplexity": None}

ROUNDING = 1e-6  # of shares that a task computes in float32


class Outcome(NamedTuple):
    """One score per document: `totals / weights`; weights None means 1. `unit` is of the score:
    `points` for shares, `percent` for perplexities, `none` for what is neither (BLEU of 0 to 100).

    Documents of one cluster are kept together; `strata` are a group's tasks (MMLU's subjects).
    """

    totals: np.ndarray
    weights: np.ndarray | None
    clusters: np.ndarray | None
    unit: str
    strata: np.ndarray | None = None

    @property
    def weight(self) -> np.ndarray:
        """The weight of every document."""
        return np.ones(self.totals.size) if self.weights is None else self.weights

    def mean(self) -> float:
        """The weighted mean of the totals."""
        return float(self.totals.sum() / self.weight.sum())

    def value(self, mean: float) -> float:
        """The score itself from a weighted mean of totals: a perplexity from log-likelihoods."""
        return math.exp(-mean) if self.unit == "percent" else mean

    def effect(self, difference: float) -> float:
        """A difference of means in points, or in percent of the dense perplexity."""
        if self.unit == "percent":
            return 100 * math.expm1(-difference)
        return 100 * difference

    def effects(self, *differences: float) -> list[float]:
        """`effect` of the ends of an interval, ascending."""
        return sorted(map(self.effect, differences))


def has_outcome(table: pd.DataFrame, row: Mapping[str, Any], *, floor: bool = False) -> bool:
    """Whether a task's samples hold one value per document of a metric row."""
    if row["metric"] in PERPLEXITY_UNITS and "loglikelihood" in table:
        return not floor
    return _column_name(row, floor) in table


def outcome_of(table: pd.DataFrame, row: Mapping[str, Any], *, floor: bool = False) -> Outcome:
    """Per-document values of a metric row, or of its permuted responses with `floor`.

    A document with several answers (IFEval's instructions) counts with all: a ratio of sums.

    Raises:
        RecordError: if the samples have no such column.
    """
    name = _column_name(row, floor)
    clusters = None
    if "cluster" in table:  # of a group, some tasks may have none: their documents stand alone
        alone = "document " + table.index.to_series().astype(str)
        clusters = table["cluster"].where(table["cluster"].notna(), alone).to_numpy()
    strata = table["subtask"].to_numpy() if "subtask" in table else None
    if not floor and row["metric"] in PERPLEXITY_UNITS and "loglikelihood" in table:
        unit = PERPLEXITY_UNITS[row["metric"]]
        weights = None if unit is None else table[unit].to_numpy(float)
        return Outcome(table["loglikelihood"].to_numpy(float), weights, clusters, "percent")
    if name not in table:
        raise RecordError(f"samples of {row['task']}: no per-document values of {name}")
    values = table[name]
    if isinstance(values.iloc[0], (list, np.ndarray)):
        totals, weights = (values.map(of).to_numpy(float) for of in (np.sum, len))
        return Outcome(totals, weights, clusters, _unit(totals, weights))
    totals = values.to_numpy(float)
    return Outcome(totals, None, clusters, _unit(totals, 1.0), strata)


def _unit(totals: np.ndarray, most: np.ndarray | float) -> str:
    share = np.all((totals >= -ROUNDING) & (totals <= most + ROUNDING))
    return "points" if share else "none"


def _column_name(row: Mapping[str, Any], floor: bool) -> str:
    return f"{'permuted:' if floor else ''}{row['metric']},{row['filter']}"


def untestable(table: pd.DataFrame, row: Mapping[str, Any]) -> str | None:
    """Why a score has neither interval nor level: `has 1 document`; None where it has both."""
    if not has_outcome(table, row):
        return "has no per-document values"
    own = outcome_of(table, row)
    if not math.isclose(own.value(own.mean()), row["value"], rel_tol=1e-6, abs_tol=1e-9):
        return "is not the mean of its per-document values"
    if own.unit == "none":
        return "has scores below 0 or above 1"
    if own.totals.size < 2:
        return "has 1 document"
    if own.clusters is not None and len(set(own.clusters)) < 2:
        return "has documents of one cluster only"
    return None


def compare(first: Outcome, second: Outcome, *, seed: int) -> paired.Change:
    """The second score minus the first, paired by document."""
    return paired.compare(
        first.totals,
        second.totals,
        weights=first.weights,
        clusters=first.clusters,
        strata=first.strata,
        bounded=first.unit == "points",
        seed=seed,
    )


def in_points(change: paired.Change, name: str, prefix: str = "") -> dict[str, float]:
    """A change of a score in points, its 95% interval and p-value, as columns of a table."""
    return {
        name: 100 * change.difference,
        f"{prefix}low": 100 * change.low,
        f"{prefix}high": 100 * change.high,
        f"{prefix}p_value": change.p_value,
    }
