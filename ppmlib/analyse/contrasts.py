"""Comparisons across tasks and selections: axes, the dichotomy, controls, the trade-off."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import takewhile

import numpy as np
import pandas as pd

from ppmlib.analyse.outcomes import Outcome
from ppmlib.analyse.study_records import DENSE, Run, Study, describe_run
from ppmlib.analyse.verdicts import headlines
from ppmlib.statistics import crossed, multiplicity, paired, resampling

# The paper's question, fixed before any study: instructions against knowledge.
DICHOTOMY = ("knowledge", "instruction")
PLANTED_AXIS = "planted"
SEEDS_FOR_A_TEST = 5
OF_THE_CRITERION = (
    *("run", "pruning_ratio", "expansion_ratio", "task", "axis", "metric", "unit"),
    *("value", "dense_value"),
)


def axis_tasks(verdicts: pd.DataFrame, selection: str) -> dict[str, list[str]]:
    """Tasks of each axis whose headline is in points, planted tasks left out."""
    rows = headlines(verdicts, selection)
    rows = rows[(rows["unit"] == "points") & (rows["axis"] != PLANTED_AXIS)]
    groups = rows.groupby("axis", sort=False)["task"]
    return {axis: list(tasks.drop_duplicates()) for axis, tasks in groups}


def axis_label(axis: str, tasks: Sequence[str]) -> str:
    """An axis with a single task carries the task's name."""
    return tasks[0] if len(tasks) == 1 else f"{axis} ({len(tasks)} tasks)"


def _widths_with(study: Study, criterion: str, tasks: Sequence[str]) -> list[Run]:
    """The widths of a criterion that were evaluated on all these tasks."""
    widths = study.widths(criterion)
    return [run for run in widths if all(study.headline(run.key, task) for task in tasks)]


def _combined(
    study: Study, run: Run, axes: Mapping[float, Sequence[str]], seed: int
) -> tuple[float, dict[str, float]]:
    """Sum over axes of sign x mean change in points; its interval and p-value by name.

    Args:
        axes: sign -> tasks of an axis.
    """
    pairs = [(task, sign / len(tasks)) for sign, tasks in axes.items() for task in tasks]
    found = paired.Combined(
        [study.change(run.key, study.headline(run.key, task), seed=seed) for task, _ in pairs],
        [coefficient for _, coefficient in pairs],
        [tuple(study.samples(DENSE, task)["doc_hash"]) for task, _ in pairs],
    )
    low, high = (100 * end for end in found.interval())
    return 100 * found.difference, {"low": low, "high": high, "p_value": found.p_value()}


def axis_changes(
    study: Study, verdicts: pd.DataFrame, *, criterion: str, seed: int
) -> pd.DataFrame:
    """Mean change of each axis in points at each width.

    Intervals as in `paired.Combined`: they speak of these tasks, not of others of the axis.
    """
    rows = []
    for axis, tasks in axis_tasks(verdicts, criterion).items():
        for run in _widths_with(study, criterion, tasks):
            about = {"axis": axis, "label": axis_label(axis, tasks), "tasks": len(tasks)}
            change, ends = _combined(study, run, {1.0: tasks}, seed)
            rows.append({**describe_run(run), **about, "change_points": change, **ends})
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
    labels = {axis: axis_label(axis, axes[axis]) for axis in DICHOTOMY}
    rows = []
    for run in _widths_with(study, criterion, [*first, *second]):
        points = {
            f"{axis}_points": _combined(study, run, {1.0: axes[axis]}, seed)[0]
            for axis in DICHOTOMY
        }
        points["difference_points"], ends = _combined(study, run, {1.0: second, -1.0: first}, seed)
        (odds_k, spread_k), (odds_i, spread_i) = (
            _log_odds_change(study, run.key, tasks, seed) for tasks in (first, second)
        )
        low, high, _ = resampling.replicate_interval(spread_i - spread_k)
        odds = {"log_odds": float(odds_i - odds_k), "log_odds_low": low, "log_odds_high": high}
        rows.append({**describe_run(run), **labels, **points, **ends, **odds})
    table = pd.DataFrame(rows)
    if not table.empty:
        table["p_holm"] = multiplicity.holm(table["p_value"])
    return table


def _log_odds_change(
    study: Study, run: str, tasks: Sequence[str], seed: int
) -> tuple[float, np.ndarray]:
    """Mean change of the log-odds over an axis's tasks, and its bootstrap replicates."""

    def log_odds(key: str, task: str) -> np.ndarray:
        return study.once(("log-odds", key, task, seed), lambda: _log_odds(study, key, task, seed))

    changes = np.array([log_odds(run, task) - log_odds(DENSE, task) for task in tasks])
    return changes[:, 0].mean(), changes[:, 1:].mean(axis=0)


def _log_odds(study: Study, run: str, task: str, seed: int) -> np.ndarray:
    """Log-odds of a score, then of its replicates; every task draws its own documents."""
    row = study.headline(run, task)
    own = study.outcome(run, row)
    replicates = resampling.mean_replicates(
        own.totals,
        weights=own.weights,
        clusters=own.clusters,
        strata=own.strata,
        seed=[seed, *task.encode()],
    )
    moved = (np.r_[row["value"], replicates] * row["n"] + 0.5) / (row["n"] + 1)
    return np.log(moved / (1 - moved))


def controls_table(
    study: Study, verdicts: pd.DataFrame, *, criterion: str, seed: int
) -> pd.DataFrame:
    """The criterion against every other selection of the same width, task by task.

    `lead` is the criterion's score minus the control's, in points with the sign turned so that
    positive is better (in percent lower perplexity). Fixed selections: paired by document, with
    interval and p-value (`lead_low`, `lead_high`, `p_value`). Random selections: the range over
    their seeds; with 5 seeds or more also an interval from a bootstrap over documents and seeds.
    """
    rows = []
    others = sorted({run.criterion for run in study.runs.values()} - {criterion, "dense"})
    for mine in headlines(verdicts, criterion).to_dict("records"):
        for control in others:
            width = mine["run"].split("/")[1]
            values = {
                key: row["value"]
                for key, run in study.runs.items()
                if run.criterion == control and key.split("/")[1] == width
                if (row := study.headline(key, mine["task"]))
            }
            if values:
                rows.append(_against(study, mine, control, values, seed))
    return pd.DataFrame(rows)


def _against(study: Study, mine: dict, control: str, scored: dict[str, float], seed: int) -> dict:
    """One headline of the criterion against the `scored` runs of one control."""
    row = study.headline(mine["run"], mine["task"])
    sign = 1 if mine["better_if_positive"] else -1
    values = np.array(list(scored.values()))
    own, gaps = gaps_to(study, mine["run"], row, scored)
    leads = sign * (mine["value"] - values)
    found = {
        **{name: mine[name] for name in OF_THE_CRITERION},
        "control": control,
        "seeds": len(scored),
        "control_low": float(values.min()),
        "control_high": float(values.max()),
        "lead": sign * own.effect(gaps.sum() / own.weight.sum() / len(gaps)),
        "beats_all": bool(np.all(leads > 0)),
        "beaten_by_all": bool(np.all(leads < 0)),
    }
    if control == "random":
        tested = over_seeds(own, gaps, seed=seed)
    else:
        (rival,) = scored
        change = study.change(mine["run"], row, seed=seed, reference=rival)
        tested = change.low, change.high, change.p_value
    if tested is None:
        return found
    low, high = sorted(sign * own.effect(end) for end in tested[:2])
    return {**found, "lead_low": low, "lead_high": high, "p_value": tested[2]}


def gaps_to(study: Study, run: str, row: dict, others: Iterable[str]) -> tuple[Outcome, np.ndarray]:
    """A run's outcome, and its totals minus those of other runs, (others, documents)."""
    own = study.outcome(run, row)
    return own, np.array([own.totals - study.outcome(other, row).totals for other in others])


def over_seeds(own: Outcome, values: np.ndarray, *, seed: int) -> tuple | None:
    """(low, high, p) of a mean over documents and random selections; None with too few of these.

    Args:
        own: whose weights and clusters count. values: totals, (selections, documents).
    """
    if len(values) < SEEDS_FOR_A_TEST:
        return None
    return crossed.over_documents_and_seeds(
        values, own.weight, own.clusters, seed=seed, bounded=own.unit == "points"
    )


def trade_off(verdicts: pd.DataFrame, *, criterion: str, margin_points: float) -> dict:
    """The largest pruning ratio up to which no knowledge task loses more than the margin.

    A task passes where its 90% interval's lower end (one-sided 95%) is above minus the margin.
    A ratio counts only if every knowledge task passes there and at all smaller ones.

    Args:
        margin_points: the study's `tradeoff_margin_points`, whatever margins claims have.
    Returns:
        ratio (None where no ratio or no task qualifies), tasks, margin_points, passed by ratio.
    """
    rows = headlines(verdicts, criterion)
    rows = rows[(rows["axis"] == DICHOTOMY[0]) & (rows["unit"] == "points")]
    tasks = sorted(set(rows["task"]))
    passed = {
        float(ratio): len(group) == len(tasks)
        and bool((group["low90_points"] > -margin_points).all())
        for ratio, group in rows.groupby("pruning_ratio")
    }
    held = list(takewhile(passed.get, sorted(passed)))
    best = held[-1] if held else None
    return {"ratio": best, "tasks": tasks, "margin_points": margin_points, "passed": passed}
