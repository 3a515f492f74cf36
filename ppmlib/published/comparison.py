"""Unpaired statistics for published scores: no documents, only values and standard errors.

    compare         two scores: difference, interval, z, smallest detectable effect
    changes         every published headline score against its dense model
    average_change  all widths of a model against the dense one
    levels          every published headline score against its trivial baselines
    retention       the share kept of what the dense model has above the baseline
    correlation     Pearson and Spearman over the widths of one or more models
    cost            published seconds and joules, taken apart

The dense and the pruned model answered the same documents, but which of them each got right was
not published. Treating the two as independent makes the standard error of the difference too large
wherever the same documents are hard for both: 'not shown' here is weaker than a paired test's.
Everything is a fraction here (0.03, not 3 points); scipy does the work.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise, permutations
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats as distributions

from ppmlib import published as paper
from ppmlib.statistics import multiplicity
from ppmlib.statistics.proportions import LEVEL, POWER
from ppmlib.statistics.verdicts import level_verdict

DRAWS = 9999


@dataclass(frozen=True)
class Difference:
    """Second minus first score, taken as independent and normal; `low` and `high` at 1 - alpha.

    `detectable` is the true difference that 80% power would have shown two-sided at alpha.
    """

    difference: float
    se: float
    low: float
    high: float
    z: float
    p_value: float
    detectable: float


def compare(
    first: float, first_se: float, second: float, second_se: float, alpha: float = LEVEL
) -> Difference:
    """Difference of two scores from their standard errors (Wald).

    A known constant has standard error 0. Good for shares with some ten documents on both sides;
    a GSM8K score of 7 documents in 1319 is not, but is never near a decision here.

    Raises:
        ValueError: if a number is not finite, a standard error is negative or both are 0.
    """
    if not np.isfinite([first, first_se, second, second_se]).all():
        raise ValueError("a comparison needs finite scores and standard errors")
    if min(first_se, second_se) < 0 or max(first_se, second_se) == 0:
        raise ValueError("a comparison needs a standard error above 0")
    difference, se = second - first, math.hypot(first_se, second_se)
    reach = distributions.norm.isf(alpha / 2)
    z = difference / se
    return Difference(
        difference=difference,
        se=se,
        low=difference - reach * se,
        high=difference + reach * se,
        z=z,
        p_value=float(2 * distributions.norm.sf(abs(z))),
        detectable=float((reach + distributions.norm.isf(1 - POWER)) * se),
    )


def _tested(scores: pd.DataFrame) -> pd.DataFrame:
    return scores[scores["headline"] & scores["se"].notna()]


def only_row(scores: pd.DataFrame, **columns: Any) -> pd.Series:
    """The only row whose columns have these values. ValueError if there are none or several."""
    mask = np.logical_and.reduce([scores[name] == value for name, value in columns.items()])
    if mask.sum() != 1:
        raise ValueError(f"{mask.sum()} published rows for {columns}")
    return scores[mask].iloc[0]


def change(scores: pd.DataFrame, row: pd.Series, alpha: float = LEVEL) -> Difference:
    """One published score against the dense model's in the same metric."""
    same = {name: row[name] for name in ("model", "task", "metric")}
    dense = only_row(scores, pruning_ratio=0.0, **same)
    return compare(dense["value"], dense["se"], row["value"], row["se"], alpha)


def _with_dense(table: pd.DataFrame) -> pd.DataFrame:
    keys = ["model", "task", "metric"]
    dense = table.loc[table["pruning_ratio"] == 0, [*keys, "value", "se"]]
    dense = dense.rename(columns={"value": "dense", "se": "dense_se"})
    pruned = table[table["pruning_ratio"] > 0]
    return pruned.merge(dense, on=keys, how="left", validate="many_to_one")


def changes(scores: pd.DataFrame, alpha: float = LEVEL) -> pd.DataFrame:
    """Every pruned headline score that has a standard error, against its dense model.

    `p_adjusted` is Benjamini-Hochberg's over the whole table (exploratory). Fractions.
    """
    table = _tested(scores)
    pruned = _with_dense(table)
    found = pd.DataFrame(
        compare(row.dense, row.dense_se, row.value, row.se, alpha) for row in pruned.itertuples()
    )
    found["p_adjusted"] = multiplicity.benjamini_hochberg(found["p_value"])
    return pd.concat([pruned, found.drop(columns="se")], axis=1)


def average_change(scores: pd.DataFrame, model: str, task: str, alpha: float = LEVEL) -> Difference:
    """Mean of all pruned widths against the dense model, in the headline metric.

    The widths answered the same documents; their errors are taken as fully dependent, the worst
    case: the standard error of their mean is the mean of their standard errors.
    """
    part = _tested(scores).query("model == @model and task == @task")
    dense, pruned = only_row(part, pruning_ratio=0.0), part[part["pruning_ratio"] > 0]
    mean = pruned[["value", "se"]].mean()
    return compare(dense["value"], dense["se"], mean["value"], mean["se"], alpha)


def levels(scores: pd.DataFrame, floors: pd.DataFrame, alpha: float = LEVEL) -> pd.DataFrame:
    """Every headline score minus every floor of its task, with interval and level verdict.

    The floor counts as a known constant.
    """
    table = _tested(scores).merge(floors.rename(columns={"value": "floor_value"}), on="task")
    found = pd.DataFrame(
        compare(row.floor_value, 0.0, row.value, row.se, alpha) for row in table.itertuples()
    ).rename(columns={"difference": "above"})[["above", "low", "high", "z"]]
    found["level"] = [level_verdict(row.low, row.high) for row in found.itertuples()]
    return pd.concat([table, found], axis=1)


def fieller(first, first_se, second, second_se, alpha: float = LEVEL) -> tuple | None:
    """Ratio second / first with Fieller's interval, or None where `first` may be 0.

    Assumes independent normal estimates. Source: Fieller 1954, JRSS B 16:175-185.
    """
    reach = distributions.norm.isf(alpha / 2)
    g = (reach * first_se / first) ** 2 if first else math.inf
    if g >= 1:
        return None
    ratio = second / first
    spread = reach / abs(first) * math.sqrt((1 - g) * second_se**2 + ratio**2 * first_se**2)
    return ratio, (ratio - spread) / (1 - g), (ratio + spread) / (1 - g)


def retention(scores: pd.DataFrame, floors: pd.DataFrame, alpha: float = LEVEL) -> pd.DataFrame:
    """Share of the dense score kept: as published, and of what lies above the main floor.

    Above the floor there is no share (missing values) where the dense score is not above it.
    """
    main = floors.drop_duplicates("task").rename(columns={"value": "floor_value"})
    table, rows = _with_dense(_tested(scores).merge(main, on="task")), []
    for row in table.itertuples():
        base = row.dense - row.floor_value
        found = fieller(base, row.dense_se, row.value - row.floor_value, row.se, alpha)
        kept = found if found is not None and base > 0 else (math.nan,) * 3
        rows.append((row.value / row.dense, *kept))
    columns = ["model", "task", "pruning_ratio", "expansion_ratio"]
    columns += ["floor", "floor_value", "dense", "value"]
    shares = ["kept_as_published", "kept_above_floor", "low", "high"]
    return pd.concat([table[columns], pd.DataFrame(rows, columns=shares)], axis=1)


def _pearson(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    x, y = x - x.mean(-1, keepdims=True), y - y.mean(-1, keepdims=True)
    return (x * y).sum(-1) / np.sqrt((x**2).sum(-1) * (y**2).sum(-1))


def permutation_p(x: Sequence[float], y: Sequence[float], groups: Sequence, seed: int = 0) -> float:
    """Two-sided p-value of a Pearson r, permuting `y` within groups (exact for one of up to 8).

    Assumes the widths of a model are exchangeable under the null, which a shared trend breaks.
    """
    x, y, groups = np.asarray(x, float), np.asarray(y, float), np.asarray(groups)
    members = [np.flatnonzero(groups == name) for name in dict.fromkeys(groups)]
    exact = len(members) == 1 and x.size <= 8
    if exact:
        order = np.array(list(permutations(range(x.size))))
    else:
        rng, order = np.random.default_rng(seed), np.tile(np.arange(x.size), (DRAWS, 1))
        for index in members:
            order[:, index] = rng.permuted(order[:, index], axis=1)
    extreme = np.sum(np.abs(_pearson(x, y[order])) >= abs(_pearson(x, y)) - 1e-12)
    return float(extreme / len(order) if exact else (1 + extreme) / (1 + len(order)))


def correlation(x, y, groups, alpha: float = LEVEL) -> dict[str, float]:
    """Pearson r with Fisher's interval, Spearman rho, and the p-values of both.

    `p_t` takes the points as independent and normal, as the paper does; the permutation p-values
    need no normality. `r_within` centres each group on its own mean first: what is left of a
    pooled r when the difference between models is taken out.
    """
    x, y = np.asarray(x, float), np.asarray(y, float)
    pearson = distributions.pearsonr(x, y)
    low, high = pearson.confidence_interval(1 - alpha)
    ranked = distributions.rankdata(x), distributions.rankdata(y)
    names = np.unique(groups, return_inverse=True)[1]
    size = np.bincount(names)

    def centre(values: np.ndarray) -> np.ndarray:
        return values - (np.bincount(names, values) / size)[names]

    return {
        "points": x.size,
        "r": float(pearson.statistic),
        "low": float(low),
        "high": float(high),
        "p_t": float(pearson.pvalue),
        "p_permutation": permutation_p(x, y, groups),
        "rho": float(_pearson(*ranked)),
        "rho_p_permutation": permutation_p(*ranked, groups),
        "r_within": float(_pearson(centre(x), centre(y))),
    }


def correlations(scores: pd.DataFrame, alpha: float = LEVEL) -> pd.DataFrame:
    """The published correlation of MMLU and MC2, with and without the dense point; dose trends.

    Scope is a base model or both pooled. `of` names the pair: the claim itself, and each of its
    tasks against the fraction of neurons removed, the trend both of them share.
    """
    keys = ["model", "pruning_ratio"]
    wide = _tested(scores).pivot(index=keys, columns="task", values="value").reset_index()
    pairs = {
        "MMLU and MC2": ("mmlu", "truthfulqa_mc2"),
        "fraction removed and MC2": ("pruning_ratio", "truthfulqa_mc2"),
        "fraction removed and MMLU": ("pruning_ratio", "mmlu"),
    }
    rows = []
    for scope, models in (("1B", ["1B"]), ("3B", ["3B"]), ("pooled", ["1B", "3B"])):
        part = wide[wide["model"].isin(models)]
        for dense in (True, False):
            used = part if dense else part[part["pruning_ratio"] > 0]
            for name, (x, y) in pairs.items():
                found = correlation(used[x], used[y], used["model"], alpha)
                rows.append({"scope": scope, "of": name, "dense_point": dense, **found})
    return pd.DataFrame(rows)


def monotonicity(scores: pd.DataFrame, alpha: float = LEVEL) -> pd.DataFrame:
    """Steps from one width to the next of MMLU and MC2 in the base models, with their errors."""
    table = _tested(scores).sort_values("pruning_ratio")
    rows = []
    for model in ("1B", "3B"):
        for task in ("mmlu", "truthfulqa_mc2"):
            part = table[(table["model"] == model) & (table["task"] == task)]
            for (_, a), (_, b) in pairwise(part.iterrows()):
                step = vars(compare(a["value"], a["se"], b["value"], b["se"], alpha))
                ends = {"from": a["pruning_ratio"], "to": b["pruning_ratio"]}
                rows.append({"model": model, "task": task, **ends, **step})
    table = pd.DataFrame(rows).rename(columns={"difference": "step"})
    return table.drop(columns=["se", "detectable"])


def cost(model: str = "1B", workload: str = "mmlu_latency_b1") -> pd.DataFrame:
    """Published joules and time per width, with the tokens and the unit behind them.

    `unit_factor` is what the published joules per token must be divided by: the tool's kg of CO2
    were read as kWh. Times are per prompt; `ms_per_token` takes out how long the answers were.
    """
    table = paper.costs(model, workload)
    return table.assign(joules_per_answer=table["joules_per_token"] * table["tokens_per_answer"])


def stored_errors_agree(scores: pd.DataFrame) -> pd.DataFrame:
    """Published standard errors against binomial ones from `n`, where the paper stored both.

    Two counts of documents could not be verified at their source; this is what speaks for them.
    """
    stored = scores[scores["se_source"] == "published"].copy()
    p, n = stored["value"], stored["n"]
    stored["binomial"] = np.sqrt(p * (1 - p) / (n - 1))
    stored["ratio"] = stored["binomial"] / stored["se"]
    grouped = stored.groupby(["task", "metric"])["ratio"].agg(["count", "min", "max"])
    return grouped.join(stored.groupby(["task", "metric"])["n"].first()).reset_index()
