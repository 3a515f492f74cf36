"""What changed and what the level is worth: verdicts, declared claims, planted truths."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import pandas as pd

from ppmlib.analyse.levels import floor_of
from ppmlib.analyse.study_records import DENSE, Run, Study, describe_run, metric_key
from ppmlib.record.records import RecordError
from ppmlib.statistics import multiplicity
from ppmlib.statistics.proportions import LEVEL
from ppmlib.statistics.verdicts import change_verdict
from ppmlib.study_file.selection import width_slug

MARGIN_POINTS = 3.0  # where no claim declares another; printed wherever 'equivalent' is
CLAIM_COLUMNS = [
    *("task", "pruning_ratio", "direction", "margin_points", "run", "unit", "diff_points"),
    *("ci_low_points", "ci_high_points", "p_value", "p_holm", "holds", "reason"),
]


def margin_of(claims: Sequence[Mapping[str, Any]], task: str, pruning_ratio: float) -> float:
    """The equivalence margin of a task at one width: the strictest declared, in points."""
    declared = [
        claim["margin_points"]
        for claim in claims
        if claim["direction"] == "equivalent"
        and claim["task"] == task
        and width_slug(claim["pruning_ratio"]) == width_slug(pruning_ratio)
    ]
    return min(declared, default=MARGIN_POINTS)


def verdict_row(study: Study, run: Run, row: Mapping[str, Any], margin: float, seed: int) -> dict:
    """One score of one pruned width against the dense model: numbers, no verdict yet."""
    change, own = study.change(run.key, row, seed=seed), study.outcome(run.key, row)
    low, high = own.effects(change.low, change.high)
    low90, high90 = own.effects(change.low90, change.high90)
    points = own.unit == "points"
    inside = -margin / 100 < change.low90 and change.high90 < margin / 100
    return {
        **describe_run(run),
        **{name: row[name] for name in ("task", "metric", "filter", "axis", "headline")},
        "n": change.n,
        "units": change.units,
        "value": row["value"],
        "dense_value": _dense_row(study, row)["value"],
        "unit": own.unit,
        "diff_points": own.effect(change.difference),
        "ci_low_points": low,
        "ci_high_points": high,
        "p_value": change.p_value,
        "low90_points": low90,
        "high90_points": high90,
        "gained": change.gained,
        "lost": change.lost,
        "mde_points": change.detectable and abs(own.effect(-change.detectable)),
        "margin_points": margin if points else None,
        "within_margin": points and inside,
        "better_if_positive": bool(row["higher_is_better"]),
        **floor_of(study, run.key, row),
        "method": change.method,
    }


def _dense_row(study: Study, row: Mapping[str, Any]) -> Mapping[str, Any] | None:
    """The dense model's row of the same metric."""
    same = (dense for dense in study.rows(DENSE) if metric_key(dense) == metric_key(row))
    return next(same, None)


def verdict_table(
    study: Study,
    tasks: Sequence[str],
    claims: Sequence[Mapping[str, Any]] = (),
    *,
    criterion: str,
    bootstrap_seed: int,
) -> pd.DataFrame:
    """Every score of every pruned width against the dense model, paired by document.

    Headline metrics of one selection, over all tasks and widths, are a family: `p_adjusted` is
    Benjamini-Hochberg's over it and decides `change`. Other metrics of the criterion (strict and
    loose, prompt and instruction level) have an unadjusted verdict and `p_adjusted` null.
    Controls have headline metrics only. One row per run, task and metric.

    Args:
        tasks: names in the order wanted; tasks without records go to `study.missing`.
        claims: declared ones; an equivalence claim sets the margin of its task at its ratio.
    Raises:
        RecordError: if no headline of the criterion can be tested at any width.
    """
    rows, evaluated = [], {row["task"] for row in study.rows(DENSE)}
    missing = [f"task {task} was not evaluated" for task in tasks if task not in evaluated]
    for run in study.widths(criterion):
        absent = evaluated - {row["task"] for row in study.rows(run.key)}
        missing += [f"{run.key}: task {task} was not evaluated" for task in tasks if task in absent]
    selections = [criterion, *(s for s in study.selections() if s != criterion)]
    for run in [run for selection in selections for run in study.widths(selection)]:
        for row in sorted(study.rows(run.key), key=lambda r: not r["headline"]):
            if row["task"] not in tasks or not (row["headline"] or run.selection == criterion):
                continue
            reason = _untestable(study, run.key, row)
            if reason is None:
                margin = margin_of(claims, row["task"], run.pruning_ratio)
                rows.append(verdict_row(study, run, row, margin, bootstrap_seed))
            elif row["headline"]:
                missing.append(f"{run.key}: {row['task']} {row['metric']} {reason}")
    study.missing = list(dict.fromkeys([*study.missing, *missing]))
    if not any(row["selection"] == criterion and row["headline"] for row in rows):
        reasons = "; ".join(study.missing) or "the study holds the dense model only"
        raise RecordError(f"no width of {criterion} can be compared: {reasons}")
    table = pd.DataFrame(rows)
    table["p_adjusted"] = np.nan
    for selection in selections:
        family = (table["selection"] == selection) & table["headline"]
        p_values = table.loc[family, "p_value"]
        table.loc[family, "p_adjusted"] = multiplicity.benjamini_hochberg(p_values)
    table["change"] = [_verdict(row) for row in table.to_dict("records")]
    table["order"] = table["task"].map(list(tasks).index)
    keys = ["order", "headline", "metric", "selection", "expansion_ratio"]
    table = table.sort_values(keys, ascending=[True, False, True, True, False], kind="stable")
    return table.drop(columns="order").reset_index(drop=True)


def _untestable(study: Study, run: str, row: Mapping[str, Any]) -> str | None:
    dense = _dense_row(study, row)
    if dense is None:
        return "was not evaluated for the dense model"
    reason = study.untestable(run, row) or study.untestable(DENSE, dense)
    return reason and f"{reason}: not tested"


def _verdict(row: Mapping[str, Any]) -> str:
    p = row["p_value"] if np.isnan(row["p_adjusted"]) else row["p_adjusted"]
    better = row["diff_points"] if row["better_if_positive"] else -row["diff_points"]
    return change_verdict(p, better, row["within_margin"])


def headlines(table: pd.DataFrame, selection: str) -> pd.DataFrame:
    """The headline rows of one selection."""
    return table[(table["selection"] == selection) & table["headline"]]


def claims_table(
    study: Study, claims: Sequence[Mapping[str, Any]], *, criterion: str, seed: int
) -> pd.DataFrame:
    """Each declared claim tested as declared, Holm over all that could be tested.

    better, worse: two-sided p-value of a change beyond the margin in that direction. equivalent:
    two one-sided tests inside the margin. For a metric where lower is better, such as perplexity,
    'better' is a fall; its margin is in percent.

    Returns:
        task, pruning_ratio, direction, margin_points, run, diff_points and its interval (90% for
        equivalence, else 95%), p_value, p_holm, holds (None where it could not be tested).
    """
    rows = []
    for claim in claims:
        run = f"{criterion}/{width_slug(claim['pruning_ratio'])}"
        row = study.headline(run, claim["task"]) if run in study.runs else None
        reason = "was not evaluated" if row is None else _untestable(study, run, row)
        tested = {} if reason else _test_claim(study, run, row, claim, seed)
        rows.append({**claim, "run": run, "reason": reason, **tested})
    tested = [row for row in rows if row["reason"] is None]
    adjusted = multiplicity.holm([row["p_value"] for row in tested])
    for row, p_holm in zip(tested, adjusted, strict=True):
        row["p_holm"], row["holds"] = float(p_holm), bool(p_holm <= LEVEL)
    table = pd.DataFrame(rows, columns=CLAIM_COLUMNS).astype(object)
    return table.where(table.notna(), None)


def _test_claim(study: Study, run: str, row: Mapping, claim: Mapping, seed: int) -> dict:
    change, own = study.change(run, row, seed=seed), study.outcome(run, row)
    margin = claim["margin_points"] / 100
    # A perplexity rises by a share where the mean log-likelihood falls by that share's logarithm.
    percent = own.unit == "percent"
    fallen = -np.log1p(-margin) if percent and margin < 1 else np.inf  # none falls by all of itself
    lower, upper = (-np.log1p(margin), fallen) if percent else (-margin, margin)
    ends = change.low, change.high
    if claim["direction"] == "equivalent":
        ends = change.low90, change.high90
        p = max(change.p_above(lower), change.p_below(upper))
    else:
        rises = (claim["direction"] == "better") == row["higher_is_better"]
        p = change.p_above(upper) if rises != percent else change.p_below(lower)
        p = min(1.0, 2 * p)
    low, high = own.effects(*ends)
    points = {"diff_points": own.effect(change.difference), "ci_low_points": low}
    return {"unit": own.unit, **points, "ci_high_points": high, "p_value": p}


class PlantedTruth(NamedTuple):
    """A planted truth: what was expected and declared, whether it held, its rows (widest first).

    `rows` are verdicts with `p_holm`, Holm over the widths; `fallen` and `risen` (significant
    changes); `above_permuted` (own minus permuted responses significantly above zero).
    """

    task: str
    metric: str
    expected: str
    declared: str
    held: bool
    rows: pd.DataFrame


def judge_planted(
    study: Study, verdicts: pd.DataFrame, planted: Mapping, selection: str
) -> list[PlantedTruth]:
    """Each planted truth against what was found; one that was not evaluated did not hold.

    null: no significant change at any width. fall: significantly worse at the largest pruning
    ratio. trap: own minus permuted responses is significantly above zero at no width, whatever the
    raw score does.

    Args:
        planted: task -> object with metric, expected and declared (`ppmlib.bench.planted`).
    """
    found = []
    for task, truth in planted.items():
        of_task = (verdicts["task"] == task) & (verdicts["metric"] == truth.metric)
        rows = verdicts[of_task & (verdicts["selection"] == selection)]
        if not rows.empty:
            rows = _with_significance(rows)
        held = not rows.empty and HELD[truth.expected](rows)
        found.append(PlantedTruth(task, truth.metric, truth.expected, truth.declared, held, rows))
    return found


def _with_significance(rows: pd.DataFrame) -> pd.DataFrame:
    p_holm, above = multiplicity.holm(rows["p_value"]), False
    if permuted_everywhere(rows):
        passed = multiplicity.holm(rows["floor_p_value"]) <= LEVEL
        above = passed & (rows["own_minus_floor_points"] > 0)
    sure, change = p_holm <= LEVEL, rows["diff_points"]
    significant = {"fallen": sure & (change < 0), "risen": sure & (change > 0)}
    return rows.assign(p_holm=p_holm, **significant, above_permuted=above)


def permuted_everywhere(rows: pd.DataFrame) -> bool:
    """Whether every row has a permuted baseline: without it nothing can be unmasked."""
    return bool((rows["floor_kind"] == "permuted responses").all())


HELD = {
    "null": lambda rows: not (rows["fallen"] | rows["risen"]).any(),
    "fall": lambda rows: bool(rows["fallen"].iloc[-1]),
    "trap": lambda rows: permuted_everywhere(rows) and not rows["above_permuted"].any(),
}


def shown_run(verdicts: pd.DataFrame, claims: Sequence[Mapping[str, Any]], criterion: str) -> str:
    """The width shown in detail: that of most claims, else the middle one."""
    widths = headlines(verdicts, criterion).drop_duplicates("run").sort_values("pruning_ratio")
    runs = list(widths["run"])
    declared = [f"{criterion}/{width_slug(claim['pruning_ratio'])}" for claim in claims]
    declared = [run for run in declared if run in runs]
    return max(declared, key=declared.count) if declared else runs[len(runs) // 2]


def bench_truths(tasks: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """What the bench tasks among those of a study declare beforehand, by task."""
    from ppmlib.bench.planted import PLANTED

    names = {task["name"] for task in tasks}
    return {name: truth for name, truth in PLANTED.items() if name in names}
