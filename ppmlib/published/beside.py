"""Measured beside published: for studies of the models of arXiv 2512.22671.

    beside      every published headline score that a study measured too, with a verdict
    sentences   how many agree
    for_reading the table for a page

The two answered the same documents, so the error of their difference is smaller than the errors of
both suggest: 'differs' is sure, 'agrees' is what the errors allow. Where the paper gives no error
(perplexities), the measured one stands for both.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd
from scipy.stats import norm

from ppmlib import published as paper
from ppmlib.show.wording import p_number, percent, score_text, signed
from ppmlib.statistics.proportions import LEVEL

# The paper's protocol (V1, section 3.3, and the defaults of lm-eval 0.4.9.1).
NUM_FEWSHOT = {"mmlu": 5, "gsm8k": 5}
SETTINGS = {"add_bos_token": False, "apply_chat_template": False, "subset": None}
REACH = float(norm.isf(0.025))
COLUMNS = ["task", "metric", "pruning_ratio", "expansion_ratio", "published", "published_se",
           "measured", "measured_se", "unit", "published_change", "measured_change", "z", "p_value",
           "verdict", "reason"]  # fmt: skip


def beside(model: str, scores: pd.DataFrame, record: Mapping[str, Any]) -> pd.DataFrame:
    """Published and measured scores of one model, width by width.

    Args:
        model: the study's model id; other than a published one gives an empty table.
        scores: `levels.scores_table` with all metrics.
        record: the study's dense evaluation record.
    Returns:
        a DataFrame of COLUMNS: `verdict` is agrees, differs or not comparable, `reason` says why.
    """
    if model not in paper.MODELS:
        return pd.DataFrame(columns=COLUMNS)
    table = paper.scores()
    table = table[(table["model"] == paper.MODELS[model]) & table["headline"]]
    mine = scores[scores["selection"].isin(["dense", "ppm"])]
    rows = []
    for row in table.to_dict("records"):
        metric, _, filter_key = row["metric"].partition(",")
        named = (mine["task"] == row["task"]) & (mine["metric"] == metric)
        width = mine["pruning_ratio"].round(4) == round(row["pruning_ratio"], 4)
        found = mine[named & (mine["filter"] == filter_key) & width]
        if len(found) == 1:
            rows.append(_pair(row, found.iloc[0], _unlike(row["task"], record)))
    result = pd.DataFrame(rows, columns=COLUMNS)
    for name in ("published", "measured"):
        result[f"{name}_change"] = _changes(result, name)
    return result.sort_values(["task", "pruning_ratio"], ignore_index=True)


def _changes(table: pd.DataFrame, name: str) -> list[float | None]:
    """Points (percent of a perplexity) against the dense value of the same column."""
    dense = table[table["pruning_ratio"] == 0].set_index("task")[name]
    found = []
    for row in table.to_dict("records"):
        base = dense.get(row["task"])
        if base is None or row["pruning_ratio"] == 0:
            found.append(None)
        elif row["unit"] == "percent":
            found.append(100 * (row[name] / base - 1))
        else:
            found.append(100 * (row[name] - base))
    return found


def _unlike(task: str, record: Mapping[str, Any]) -> list[str]:
    """In which settings a study is not the published protocol."""
    settings = record["inputs"]["settings"]
    shots = record["results"]["tasks"][task]["num_fewshot"]
    wanted = NUM_FEWSHOT.get(task, 0)
    unlike = [f"{name} is {settings[name]!r}, published {value!r}"
              for name, value in SETTINGS.items() if settings[name] != value]  # fmt: skip
    return unlike + [f"{shots} shots, published {wanted}"] * (shots != wanted)


def _pair(row: Mapping, mine: pd.Series, unlike: Sequence[str]) -> dict[str, Any]:
    told = {name: row[name] for name in ("task", "metric", "pruning_ratio", "expansion_ratio")}
    log = mine["unit"] == "percent"
    low, high = mine["low"], mine["high"]
    told |= {"published": row["value"], "measured": mine["value"], "unit": mine["unit"],
             "published_se": None if pd.isna(row["se"]) else row["se"]}  # fmt: skip
    if low is None or pd.isna(low):
        return {**told, "verdict": "not comparable", "reason": "one document: no error"}
    ours = (math.log(high / low) if log else high - low) / (2 * REACH)
    theirs = ours if pd.isna(row["se"]) else row["se"]
    gap = math.log(mine["value"] / row["value"]) if log else mine["value"] - row["value"]
    error = math.hypot(ours, theirs)
    if error == 0:
        return {**told, "verdict": "not comparable", "reason": "no error on either side"}
    p = float(2 * norm.sf(abs(gap / error)))
    told |= {"measured_se": None if log else ours, "z": gap / error, "p_value": p}
    if unlike:
        return {**told, "verdict": "not comparable", "reason": "; ".join(unlike)}
    verdict = "agrees" if p > LEVEL else "differs"
    return {**told, "verdict": verdict,
            "reason": "no published error: the measured one for both" if pd.isna(row["se"])
            else f"{row['se_source']} error"}  # fmt: skip


def sentences(table: pd.DataFrame, model: str) -> list[str]:
    """How many of the published scores the study bears out."""
    if model not in paper.MODELS:
        return ["The paper published no scores of this model."]
    if table.empty:
        return ["No published score of this model was measured in this study."]
    counts = table["verdict"].value_counts()
    said = [f"Of {len(table)} published scores that were measured too, "
            + ", ".join(f"{counts.get(name, 0)} {word}" for name, word in (
                ("agrees", "agree"), ("differs", "differ"),
                ("not comparable", "are not comparable")))
            + " (two-sided 5%, each by itself; by chance one in twenty would differ)."]  # fmt: skip
    for reason, rows in table[table["verdict"] == "not comparable"].groupby("reason", sort=False):
        said.append(f"Not comparable ({len(rows)}): {reason}.")
    worst = table[table["verdict"] == "differs"]
    if len(worst):
        row = worst.loc[worst["z"].astype(float).abs().idxmax()]
        said.append(
            f"The largest difference: {row['task']} at {percent(row['pruning_ratio'])} "
            f"removed, published {score_text(row['published'], row['unit'])}, measured "
            f"{score_text(row['measured'], row['unit'])} (z {signed(row['z'])})."
        )
    return said


def for_reading(table: pd.DataFrame) -> pd.DataFrame:
    """Published beside measured, for a page; the change against dense in brackets."""

    def cell(row: Mapping, name: str) -> str:
        change = row[f"{name}_change"]
        text = score_text(row[name], row["unit"])
        unit = "%" * (row["unit"] == "percent")
        return text if pd.isna(change) else f"{text} ({signed(change)}{unit})"

    if table.empty:
        return pd.DataFrame()
    return pd.DataFrame(
        {
            "task": row["task"],
            "neurons removed": percent(row["pruning_ratio"]),
            "published": cell(row, "published"),
            "measured": cell(row, "measured"),
            "z": "–" if pd.isna(row["z"]) else signed(row["z"], 2),
            "p": "–" if pd.isna(row["p_value"]) else p_number(row["p_value"]),
            "verdict": row["verdict"],
            "why": row["reason"],
        }
        for row in table.to_dict("records")
    ).set_index(["task", "neurons removed"])


def of_study(study, model: str) -> pd.DataFrame:
    """`beside` for a study's records, all metrics; empty for a model the paper did not score."""
    from ppmlib.analyse import levels
    from ppmlib.analyse.study_records import DENSE

    if model not in paper.MODELS:
        return pd.DataFrame(columns=COLUMNS)
    scores = levels.scores_table(study, all_metrics=True)
    return beside(model, scores, study.evaluations[DENSE])
