"""Comparisons across tasks and selections.

axis_changes     mean change of each axis in points, with its interval
dichotomy_table  do instructions change differently from knowledge? tested at each width
controls_table   the criterion against other selections of the same widths
trade_off        the largest pruning ratio with no knowledge loss beyond the margin
"""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from ppmlib.analyse.study_records import DENSE, Run, Study, describe_run
from ppmlib.analyse.verdicts import headlines
from ppmlib.statistics import crossed, multiplicity, paired, resampling

# The paper's question, fixed before any study: instructions against knowledge.
DICHOTOMY = ("knowledge", "instruction")
PLANTED_AXIS = "planted"
SEEDS_FOR_A_TEST = 5


def axis_tasks(verdicts: pd.DataFrame, selection: str) -> dict[str, list[str]]:
    """Tasks of each axis whose headline is in points, planted tasks left out."""
    rows = headlines(verdicts, selection)
    rows = rows[(rows["unit"] == "points") & (rows["axis"] != PLANTED_AXIS)]
    return {
        axis: list(group.drop_duplicates())
        for axis, group in rows.groupby("axis", sort=False)["task"]
    }


def axis_label(axis: str, tasks: Sequence[str]) -> str:
    """An axis with a single task carries the task's name."""
    return tasks[0] if len(tasks) == 1 else f"{axis} ({len(tasks)} tasks)"


def _complete(study: Study, run: Run, tasks: Sequence[str]) -> bool:
    done = {row["task"] for row in study.rows(run.key) if row["headline"]}
    return set(tasks) <= done


def _combined(study: Study, run: Run, axes: Sequence[tuple[Sequence[str], float]], seed: int):
    """Sum over axes of sign x mean change in points: value, 95% interval, p-value.

    Args:
        axes: (tasks, sign) of each axis.
    """
    changes, coefficients, groups = [], [], []
    for tasks, sign in axes:
        for task in tasks:
            changes.append(study.change(run.key, study.headline(run.key, task), seed=seed))
            coefficients.append(sign / len(tasks))
            groups.append(tuple(study.samples(DENSE, task)["doc_hash"]))
    found = paired.Combined(changes, coefficients, groups)
    low, high = found.interval()
    return 100 * found.difference, 100 * low, 100 * high, found.p_value()


def axis_changes(
    study: Study, verdicts: pd.DataFrame, *, criterion: str, seed: int
) -> pd.DataFrame:
    """Mean change of each axis in points at each width.

    95% intervals by square-and-add from those of the tasks (`paired.Combined`); tasks with the same
    documents count as fully dependent. They speak of these tasks, not of other tasks of the axis.
    """
    rows = []
    for axis, tasks in axis_tasks(verdicts, criterion).items():
        for run in study.widths(criterion):
            if not _complete(study, run, tasks):
                continue
            change, low, high, p = _combined(study, run, [(tasks, 1.0)], seed)
            rows.append({**describe_run(run), "axis": axis, "label": axis_label(axis, tasks),
                         "tasks": len(tasks), "change_points": change,
                         "low": low, "high": high, "p_value": p})  # fmt: skip
    return pd.DataFrame(rows).assign(dense_expansion_ratio=study.runs[DENSE].expansion_ratio)


def dichotomy_table(
    study: Study, verdicts: pd.DataFrame, *, criterion: str, seed: int
) -> pd.DataFrame:
    """The change of the instruction axis minus that of the knowledge axis, at each width.

    Interval and two-sided p-value by square-and-add over the tasks (`paired.Combined`), Holm over
    the widths. The same difference in log-odds is a check against floor and ceiling effects, which
    can only take a verdict away: `log_odds` with a percentile bootstrap interval, each share
    moved half a document away from 0 and 1.

    Returns:
        one row per width; empty if one of the two axes has no task in points.
    """
    axes = axis_tasks(verdicts, criterion)
    if not set(DICHOTOMY) <= set(axes):
        return pd.DataFrame()
    first, second = (axes[name] for name in DICHOTOMY)
    odds, rows = _LogOdds(study, seed), []
    for run in study.widths(criterion):
        if not _complete(study, run, [*first, *second]):
            continue
        knowledge, instruction = (_combined(study, run, [(tasks, 1.0)], seed)[0]
                                  for tasks in (first, second))  # fmt: skip
        difference, low, high, p = _combined(study, run, [(second, 1.0), (first, -1.0)], seed)
        (odds_k, spread_k), (odds_i, spread_i) = (odds.axis(run.key, t) for t in (first, second))
        odds_low, odds_high, _ = resampling.replicate_interval(spread_i - spread_k)
        rows.append({
            **describe_run(run), "knowledge": axis_label(DICHOTOMY[0], first),
            "instruction": axis_label(DICHOTOMY[1], second),
            "knowledge_points": knowledge, "instruction_points": instruction,
            "difference_points": difference, "low": low, "high": high,
            "p_value": p, "log_odds": float(odds_i - odds_k),
            "log_odds_low": odds_low, "log_odds_high": odds_high,
        })  # fmt: skip
    table = pd.DataFrame(rows)
    if not table.empty:
        table["p_holm"] = multiplicity.holm(table["p_value"])
    return table


class _LogOdds:
    """Changes of log-odds with bootstrap replicates, one stream of documents per task."""

    def __init__(self, study: Study, seed: int):
        self.study, self.seed, self.made = study, seed, {}

    def of(self, run: str, task: str) -> tuple[float, np.ndarray]:
        """Log-odds of a score, and its replicates."""
        if (run, task) not in self.made:
            row = self.study.headline(run, task)
            own = self.study.outcome(run, row)
            replicates = resampling.mean_replicates(
                own.totals, weights=own.weights, clusters=own.clusters, strata=own.strata,
                seed=[self.seed, *task.encode()],
            )  # fmt: skip
            moved = (np.r_[row["value"], replicates] * row["n"] + 0.5) / (row["n"] + 1)
            value, *spread = np.log(moved / (1 - moved))
            self.made[run, task] = value, np.array(spread)
        return self.made[run, task]

    def axis(self, run: str, tasks: Sequence[str]) -> tuple[float, np.ndarray]:
        """The mean change over an axis's tasks."""
        pairs = [(self.of(run, task), self.of(DENSE, task)) for task in tasks]
        return tuple(np.mean([pruned[i] - dense[i] for pruned, dense in pairs], axis=0)
                     for i in (0, 1))  # fmt: skip


def controls_table(
    study: Study, verdicts: pd.DataFrame, *, criterion: str, seed: int
) -> pd.DataFrame:
    """The criterion against every other selection of the same width, task by task.

    `lead` is the criterion's score minus the control's, in points with the sign turned so that
    positive is better (in percent lower perplexity). Fixed selections: paired by document, with
    interval and p-value. Random selections: the range over their seeds; with 5 seeds or more also
    an interval from a bootstrap over documents and seeds.

    Returns:
        task, metric, width, value, control, seeds, control_low, control_high, lead and, where
        there is one, lead_low, lead_high, p_value.
    """
    rows = []
    others = sorted({run.criterion for run in study.runs.values()} - {criterion, "dense"})
    for mine in headlines(verdicts, criterion).to_dict("records"):
        for control in others:
            runs = [run for run in study.runs.values() if run.criterion == control
                    and run.key.split("/")[1] == mine["run"].split("/")[1]]  # fmt: skip
            scored = {run: row["value"] for run in runs for row in study.rows(run.key)
                      if row["headline"] and row["task"] == mine["task"]}  # fmt: skip
            if scored:
                rows.append(_against(study, mine, control, scored, seed))
    return pd.DataFrame(rows)


def _against(study: Study, mine: dict, control: str, scored: dict[Run, float], seed: int) -> dict:
    (row,) = [r for r in study.rows(mine["run"]) if r["task"] == mine["task"] and r["headline"]]
    sign = 1 if mine["better_if_positive"] else -1
    values = np.array(list(scored.values()))
    own, others = study.outcome(mine["run"], row), [study.outcome(r.key, row) for r in scored]
    weight = np.ones(own.totals.size) if own.weights is None else own.weights
    gaps = np.array([own.totals - other.totals for other in others])  # (seeds, documents)
    lead = sign * own.effect(gaps.sum() / weight.sum() / len(gaps))
    found = {
        "run": mine["run"], "pruning_ratio": mine["pruning_ratio"],
        "expansion_ratio": mine["expansion_ratio"], "task": mine["task"], "axis": mine["axis"],
        "metric": mine["metric"], "unit": mine["unit"], "value": mine["value"],
        "dense_value": mine["dense_value"], "control": control, "seeds": len(scored),
        "control_low": float(values.min()), "control_high": float(values.max()), "lead": lead,
        "beats_all": bool(np.all(sign * (mine["value"] - values) > 0)),
        "beaten_by_all": bool(np.all(sign * (mine["value"] - values) < 0)),
    }  # fmt: skip
    if control != "random":
        (run,) = scored
        change = study.change(mine["run"], row, seed=seed, reference=run.key)
        ends, p = (own.effect(change.low), own.effect(change.high)), change.p_value
    elif len(scored) >= SEEDS_FOR_A_TEST:
        low, high, p = crossed.over_documents_and_seeds(
            gaps, weight, own.clusters, seed=seed, bounded=own.unit == "points"
        )
        ends = own.effect(low), own.effect(high)
    else:
        return found
    low, high = sorted(sign * end for end in ends)
    return {**found, "lead_low": low, "lead_high": high, "p_value": p}


def trade_off(verdicts: pd.DataFrame, *, criterion: str, margin_points: float) -> dict:
    """The largest pruning ratio up to which no knowledge task loses more than the margin.

    A task passes where its 90% interval's lower end (one-sided 95%) is above minus the margin.
    A ratio counts only if every knowledge task passes there and at all smaller ones.

    Args:
        margin_points: the study's `tradeoff_margin_points`; margins of claims have no part in it.
    Returns:
        ratio (None: none, or no knowledge task), tasks, margin_points, and per ratio whether it
        passed.
    """
    rows = headlines(verdicts, criterion)
    rows = rows[(rows["axis"] == DICHOTOMY[0]) & (rows["unit"] == "points")]
    tasks = sorted(set(rows["task"]))
    passed = {
        float(ratio): len(group) == len(tasks)
        and bool((group["low90_points"] > -margin_points).all())
        for ratio, group in rows.groupby("pruning_ratio")
    }
    best = None
    for ratio, holds in sorted(passed.items()):
        if not holds:
            break
        best = ratio
    return {"ratio": best, "tasks": tasks, "margin_points": margin_points, "passed": passed}
