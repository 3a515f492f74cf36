"""What answers earn that understand nothing: trivial responders on the study's own documents.

responder_table   the score of every responder on every task
beyond_table      each width against the best responder, and on what no responder passes
sentences         the range of the responders and where the model stands, task by task
"""

import numpy as np
import pandas as pd

from ppmlib.analyse.study_records import DENSE, Study, describe_run
from ppmlib.show.wording import interval_text, joined, percent, score_text, signed
from ppmlib.statistics import resampling, stats

NAMES = {"constant": "constant answer", "repeated_token": "repeated token", "echo": "echoed prompt",
         "empty": "empty answer", "uniform": "uniform guesses",
         "majority": "majority answer"}  # fmt: skip
BEYOND_COLUMNS = [
    "task", "axis", "run", "pruning_ratio", "expansion_ratio", "n", "value", "best", "best_value",
    "responders", "above_points", "above_low", "above_high", "above_p_value", "against_best",
    "hard_n", "hard_value", "hard_change_points", "hard_low", "hard_high", "hard_p_value",
]  # fmt: skip


def responder_name(kind: str) -> str:
    """A responder for readers; an unknown kind by its own name."""
    return NAMES.get(kind, kind.replace("_", " "))


def responder_table(study: Study, *, seed: int) -> pd.DataFrame:
    """Score of every trivial responder with its 95% interval, headline metrics in points.

    Returns:
        task, metric, responder, run, n, value, low, high; the best of a task first. Empty where no
        responder was evaluated.
    """
    rows = []
    for kind, run in study.trivial.items():
        for row in study.rows(run):
            if not row["headline"] or not study.has_outcomes(run, row):
                continue
            own = study.outcome(run, row)
            if own.unit != "points" or own.totals.size < 2:
                continue
            value, low, high = resampling.mean_interval(
                own.totals, weights=own.weights, clusters=own.clusters, seed=seed
            )
            rows.append({"task": row["task"], "metric": row["metric"], "responder": kind,
                         "run": run, "n": own.totals.size, "value": value, "low": low,
                         "high": high})  # fmt: skip
    columns = ["task", "metric", "responder", "run", "n", "value", "low", "high"]
    table = pd.DataFrame(rows, columns=columns)
    return table.sort_values(["task", "value"], ascending=[True, False], ignore_index=True)


def beyond_table(study: Study, responders: pd.DataFrame, *, criterion: str, seed: int):
    """The dense model and every width of the criterion against what understands nothing.

    `above_points`: the score minus that of the best responder, paired by document; the best is
    chosen on the same documents, which favours it. `hard_*`: right/wrong tasks with written
    answers only, over the documents that no responder passes; the change is paired with the dense
    model. Where fewer than two such documents are left there is none.

    Returns:
        a DataFrame of BEYOND_COLUMNS, one row per task and run.
    """
    rows = []
    for task, mine in responders.groupby("task", sort=False):
        dense = study.headline(DENSE, task)
        if dense is None:
            continue
        hard = _hard(study, task, mine)
        for run in [study.runs[DENSE], *study.widths(criterion)]:
            row = study.headline(run.key, task)
            if row is None or not study.has_outcomes(run.key, row):
                continue
            best = mine.iloc[0]
            change = study.change(run.key, row, seed=seed, reference=best["run"])
            rows.append({
                "task": task, "axis": row["axis"], **describe_run(run), "n": change.n,
                "value": row["value"], "best": best["responder"], "best_value": best["value"],
                "responders": len(mine), "above_points": 100 * change.difference,
                "above_low": 100 * change.low, "above_high": 100 * change.high,
                "above_p_value": change.p_value,
                "against_best": stats.level_verdict(change.low, change.high),
                **_on_hard(study, run.key, row, hard, seed),
            })  # fmt: skip
    return pd.DataFrame(rows, columns=BEYOND_COLUMNS)


def _hard(study: Study, task: str, responders: pd.DataFrame) -> np.ndarray | None:
    """Which documents no responder passes; None for choices and graded scores."""
    if "response" not in study.samples(DENSE, task):
        return None
    columns = [study.outcome(run, study.headline(run, task)) for run in responders["run"]]
    if any(own.weights is not None or not resampling.is_binary(own.totals) for own in columns):
        return None
    return ~np.any([own.totals > 0 for own in columns], axis=0)


def _on_hard(study: Study, run: str, row: dict, hard: np.ndarray | None, seed: int) -> dict:
    if hard is None:
        return {}
    own, dense = study.outcome(run, row), study.outcome(DENSE, row)
    if hard.sum() < 2 or not resampling.is_binary(own.totals, dense.totals):
        return {"hard_n": int(hard.sum())}
    found = {"hard_n": int(hard.sum()), "hard_value": float(own.totals[hard].mean())}
    if run == DENSE:
        return found
    clusters = None if own.clusters is None else own.clusters[hard]
    if clusters is not None and len(set(clusters)) < 2:
        return found
    change = stats.paired(dense.totals[hard], own.totals[hard], clusters=clusters, seed=seed)
    return {**found, "hard_change_points": 100 * change.difference, "hard_low": 100 * change.low,
            "hard_high": 100 * change.high, "hard_p_value": change.p_value}  # fmt: skip


def range_text(mine: pd.DataFrame) -> str:
    """`0.0% (empty answer) to 14.2% (constant answer)`."""
    best, worst = mine.iloc[0], mine.iloc[-1]
    if len(mine) > 1 and best["value"] == worst["value"]:
        return f"{score_text(best['value'], 'points')} (all {len(mine)} of them)"
    if len(mine) == 1:
        return f"{score_text(best['value'], 'points')} ({responder_name(best['responder'])})"
    return (f"{score_text(worst['value'], 'points')} ({responder_name(worst['responder'])}) to "
            f"{score_text(best['value'], 'points')} "
            f"({responder_name(best['responder'])})")  # fmt: skip


def sentences(responders: pd.DataFrame, beyond: pd.DataFrame, run: str) -> list[str]:
    """Task by task: the responders' range, where dense and the shown width stand against it."""
    if responders.empty:
        return ["No trivial responder was evaluated: what an answer earns that understands nothing "
                "is known from permuted answers and from chance only."]  # fmt: skip
    said = []
    for task, mine in responders.groupby("task", sort=False):
        rows = beyond[beyond["task"] == task].set_index("run")
        parts = [f"{task}: answers that understand nothing score {range_text(mine)}"]
        for key in (DENSE, run):
            if key in rows.index:
                parts.append(_stands(rows.loc[key], "the dense model" if key == DENSE else None))
        said.append("; ".join(parts) + "." + _hard_text(rows, run))
    return said


def _stands(row: pd.Series, name: str | None) -> str:
    level = row["against_best"].replace("floor", "the best of them")
    name = name or f"at {percent(row['pruning_ratio'])} removed the score"
    return (f"{name} is {level} ({signed(row['above_points'])} points "
            f"{interval_text(row['above_low'], row['above_high'])})")  # fmt: skip


def _hard_text(rows: pd.DataFrame, run: str) -> str:
    if run not in rows.index or pd.isna(rows.loc[run, "hard_n"]):
        return ""
    row, count = rows.loc[run], int(rows.loc[run, "hard_n"])
    if pd.isna(row["hard_change_points"]):
        return f" {count} documents are passed by none of them: too few to compare."
    parts = [
        f"dense {score_text(rows.loc[DENSE, 'hard_value'], 'points')}" if DENSE in rows.index
        else "",
        f"{percent(row['pruning_ratio'])} removed {score_text(row['hard_value'], 'points')}",
    ]  # fmt: skip
    return (f" On the {count} documents that none of them passes: {joined([p for p in parts if p])}"
            f" ({signed(row['hard_change_points'])} points "
            f"{interval_text(row['hard_low'], row['hard_high'])}).")  # fmt: skip


def for_reading(beyond: pd.DataFrame) -> pd.DataFrame:
    """Every task and width beside its best responder, for a page; ° not above, ▽ below it."""
    marks = {"above floor": "", "not above floor": " °", "below floor": " ▽"}
    if beyond.empty:
        return pd.DataFrame()
    return pd.DataFrame(
        {
            "task": row["task"],
            "best responder": f"{responder_name(row['best'])}, "
            + score_text(row["best_value"], "points"),
            "neurons removed": percent(row["pruning_ratio"]),
            "score": score_text(row["value"], "points"),
            "above it, points": f"{signed(row['above_points'])} "
            + interval_text(row["above_low"], row["above_high"])
            + marks[row["against_best"]],
            "where none passes": _rest(row),
        }
        for row in beyond.to_dict("records")
    ).set_index(["task", "best responder", "neurons removed"])


def _rest(row: dict) -> str:
    """`7.0% of 100 (−41.0)`, the change against dense in brackets."""
    if pd.isna(row["hard_n"]):
        return "–"
    if pd.isna(row["hard_value"]):
        return f"{int(row['hard_n'])} documents"
    text = f"{score_text(row['hard_value'], 'points')} of {int(row['hard_n'])}"
    change = row["hard_change_points"]
    return text if pd.isna(change) else f"{text} ({signed(change)})"


def summary(beyond: pd.DataFrame, run: str) -> list[str]:
    """One sentence: where a width is, and is not, surely above what understands nothing."""
    rows = beyond[beyond["run"] == run]
    if rows.empty:
        return []
    above = rows[rows["against_best"] == "above floor"]
    rest = [f"{row.task} ({row.against_best.replace('floor', 'it')}: "
            f"{score_text(row.value, 'points')} against {score_text(row.best_value, 'points')}, "
            f"{responder_name(row.best)})"
            for row in rows.itertuples() if row.against_best != "above floor"]  # fmt: skip
    text = (
        f"At {percent(rows['pruning_ratio'].iloc[0])} removed the score is surely above the "
        f"best answer that understands nothing on {len(above)} of {len(rows)} tasks"
    )
    return [f"{text}; not on {joined(rest)}." if rest else f"{text}."]
