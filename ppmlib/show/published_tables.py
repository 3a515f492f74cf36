"""The published numbers as tables for a page: points, signs and words instead of fractions.

sources       per task: documents, standard error, floor, each with where it comes from
judged_plain  the claims as plain JSON, for the record
changes_grid, levels_grid   tasks down, widths across
responders, ifeval_metrics, gsm8k_metrics, correlations, costs
"""

import json

import pandas as pd

from ppmlib import published as paper
from ppmlib.published import comparison
from ppmlib.published.verdicts import p_short, points
from ppmlib.statistics.proportions import LEVEL

MARKS = {
    "above floor": "\N{NO-BREAK SPACE}▲",
    "not above floor": "",
    "below floor": "\N{NO-BREAK SPACE}▼",
}
CORRELATION_NAMES = {
    "scope": "model", "of": "pair", "points": "points", "r": "Pearson r", "interval": "interval",
    "p_t": "p (t)", "p_permutation": "p (perm.)", "rho": "Spearman",
    "rho_p_permutation": "its p (perm.)", "r_within": "r, centred",
}  # fmt: skip
COST_NAMES = {
    "joules_per_token_published": "J/token as published", "joules_per_token": "J/token, right unit",
    "tokens_per_answer": "tokens per answer", "joules_per_answer": "J per answer",
    "answer_ms": "ms per answer", "ms_per_token": "ms per token",
}  # fmt: skip


def sources(scores: pd.DataFrame, floors: pd.DataFrame) -> pd.DataFrame:
    """Per task and headline metric: number of documents, kind of standard error, main floor."""
    first = floors.drop_duplicates("task").set_index("task")
    rows = []
    headline = scores[scores["headline"]].drop_duplicates("task").sort_values("task")
    for row in headline.itertuples():
        known = row.task in first.index
        floor = first.loc[row.task] if known else None
        rows.append({
            "task": row.task, "metric": row.metric.removesuffix(",none"),
            "documents": f"{row.n}{'' if row.n_verified else ' (UNVERIFIED)'}",
            "standard error": row.se_source,
            "main floor": f"{floor['floor']} {floor['value']:.4f}" if known else "none measured",
            "source of the floor": floor["source"] if known else "–",
        })  # fmt: skip
    return pd.DataFrame(rows).set_index("task")


def stored_errors(scores: pd.DataFrame) -> pd.DataFrame:
    """How well the numbers of documents explain the stored standard errors."""
    table = comparison.stored_errors_agree(scores)
    table["binomial / stored"] = [f"{row['min']:.3f} to {row['max']:.3f}"
                                  for _, row in table.iterrows()]  # fmt: skip
    names = {"n": "documents", "count": "scores compared"}
    columns = ["metric", "documents", "scores compared", "binomial / stored"]
    return table.rename(columns=names).set_index("task")[columns]


def _grid(table: pd.DataFrame, rows: list[str], cells: pd.Series) -> pd.DataFrame:
    table = table.assign(cell=cells, width=[f"{ratio:.0%}" for ratio in table["pruning_ratio"]])
    grid = table.pivot(index=rows, columns="width", values="cell")
    return grid.fillna("–").rename_axis(columns="removed")


def changes_grid(scores: pd.DataFrame, alpha: float = LEVEL) -> pd.DataFrame:
    """Points against the dense model; a star where Benjamini-Hochberg p is at most alpha."""
    table = comparison.changes(scores, alpha)
    cells = [points(row.difference) + (" *" if row.p_adjusted <= alpha else "")
             for row in table.itertuples()]  # fmt: skip
    return _grid(table, ["task", "model"], pd.Series(cells, index=table.index))


def levels_grid(levels: pd.DataFrame) -> pd.DataFrame:
    """Points above the floor; ▲ or ▼ where the whole interval lies above or below it."""
    cells = [points(row.above) + MARKS[row.level] for row in levels.itertuples()]
    return _grid(levels, ["task", "floor", "model"], pd.Series(cells, index=levels.index))


def responders() -> pd.DataFrame:
    """Answers that understand nothing, best first, with their IFEval scores."""
    table = paper.trivial_responders().sort_values("value", ascending=False)
    names = {"response": "answer", "value": "prompt-level strict", "loose": "prompt-level loose",
             "instruction_level": "instruction-level strict",
             "instruction_level_loose": "instruction-level loose"}  # fmt: skip
    return table.rename(columns=names).set_index("answer")


def ifeval_metrics(scores: pd.DataFrame) -> pd.DataFrame:
    """All four IFEval metrics of every width, and of the two reference answers where measured."""
    table = scores[scores["task"] == "ifeval"]
    wide = table.pivot(index=["model", "pruning_ratio"], columns="metric", values="value")
    wide.index = [f"{model}, {ratio:.0%} removed" for model, ratio in wide.index]
    told = paper.trivial_responders().set_index("response")
    for response, name in (('"the"', 'answer "the"'), ("echo prompt once", "echoed prompt")):
        wide.loc[name, "prompt_level_strict_acc,none"] = told.loc[response, "value"]
        wide.loc[name, "inst_level_strict_acc,none"] = told.loc[response, "instruction_level"]
        wide.loc[name, "prompt_level_loose_acc,none"] = told.loc[response, "loose"]
        wide.loc[name, "inst_level_loose_acc,none"] = told.loc[response, "instruction_level_loose"]
    wide.columns = [name.replace("_acc,none", "").replace("_", " ") for name in wide.columns]
    text = wide.astype(object)
    return text.where(wide.isna(), wide.map("{:.4f}".format)).where(wide.notna(), "not measured")


def gsm8k_metrics(scores: pd.DataFrame, claims: pd.DataFrame) -> pd.DataFrame:
    """The GSM8K claims under strict match (V1) and flexible extract (the author's README)."""
    rows = []
    for claim in claims.query("task == 'gsm8k'").itertuples():
        for metric in ("exact_match,strict-match", "exact_match,flexible-extract"):
            where = {"model": claim.scope, "task": "gsm8k", "metric": metric}
            dense = comparison.one(scores, pruning_ratio=0.0, **where)
            row = comparison.one(scores, pruning_ratio=claim.pruning_ratio, **where)
            found = comparison.change(scores, row)
            rows.append({
                "model": claim.scope, "removed": f"{claim.pruning_ratio:.0%}", "metric": metric,
                "dense": f"{dense['value']:.4f}", "pruned": f"{row['value']:.4f}",
                "kept": f"{row['value'] / dense['value']:.1%}", "z": f"{found.z:+.2f}",
            })  # fmt: skip
    return pd.DataFrame(rows).set_index(["model", "removed"])


def correlations(table: pd.DataFrame) -> pd.DataFrame:
    """Correlations over the widths with and without the dense model, as text."""
    shown = table.assign(
        points=table["points"].astype(int).astype(str)
        + table["dense_point"].map({True: ", with dense", False: ", without dense"}),
        interval=[
            f"[{low:+.2f}, {high:+.2f}]"
            for low, high in zip(table["low"], table["high"], strict=True)
        ],
    )
    for column in ("r", "rho", "r_within"):
        shown[column] = table[column].map("{:+.3f}".format)
    for column in ("p_t", "p_permutation", "rho_p_permutation"):
        shown[column] = table[column].map(p_short)
    shown = shown[list(CORRELATION_NAMES)].rename(columns=CORRELATION_NAMES)
    return shown.sort_values("pair", kind="stable").set_index(["pair", "model", "points"])


def steps(table: pd.DataFrame) -> pd.DataFrame:
    """Steps from one width to the next in points with z: models and tasks down, steps across."""
    cells = [f"{points(row.step)} (z {row.z:+.1f})" for row in table.itertuples()]
    names = [f"{a:.0%} to {b:.0%}" for a, b in zip(table["from"], table["to"], strict=True)]
    wide = table.assign(cell=cells, width=names)
    return wide.pivot(index=["task", "model"], columns="width", values="cell").rename_axis(
        columns="removed"
    )


def costs() -> pd.DataFrame:
    """Published energy and time of 1B, MMLU prompts one at a time, taken apart."""
    table = comparison.cost().rename(columns=COST_NAMES)[list(COST_NAMES.values())]
    table.index = [f"{ratio:.0%}" for ratio in table.index]
    return table.map("{:.4g}".format).rename_axis("removed")


def judged_plain(judged: pd.DataFrame) -> list[dict]:
    """The judged claims as plain JSON objects; what does not apply is left out."""
    rows = json.loads(judged.to_json(orient="records", double_precision=15))
    return [{key: value for key, value in row.items() if value is not None} for row in rows]
