"""The published numbers as tables for a page: points, signs and words instead of fractions.

sources       per task: documents, standard error and baseline, each with its source
changes_grid, levels_grid   tasks down, widths across
responders, ifeval_metrics, gsm8k_metrics, correlations, costs
"""

import pandas as pd

from ppmlib import published as paper
from ppmlib.published import comparison
from ppmlib.show.published_claims import documents, points
from ppmlib.show.table import DASH, table_of
from ppmlib.show.wording import p_number
from ppmlib.statistics.proportions import LEVEL

MARKS = {
    "above floor": "\N{NO-BREAK SPACE}▲",
    "not above floor": "",
    "below floor": "\N{NO-BREAK SPACE}▼",
}
RESPONDER_NAMES = {
    "response": "answer",
    "value": "prompt-level strict",
    "loose": "prompt-level loose",
    "instruction_level": "instruction-level strict",
    "instruction_level_loose": "instruction-level loose",
}
COST_NAMES = {
    "joules_per_token_published": "J/token as published",
    "joules_per_token": "J/token, right unit",
    "tokens_per_answer": "tokens per answer",
    "joules_per_answer": "J per answer",
    "answer_ms": "ms per answer",
    "ms_per_token": "ms per token",
}


def sources(scores: pd.DataFrame, floors: pd.DataFrame) -> pd.DataFrame:
    """Per task and headline metric: number of documents, kind of standard error, main baseline."""
    main = floors.drop_duplicates("task").set_index("task").to_dict("index")

    def cells(row: dict) -> dict[str, str]:
        floor = main.get(row["task"])
        return {
            "task": row["task"],
            "metric": row["metric"].removesuffix(",none"),
            "documents": documents(row).removeprefix("n "),
            "standard error": row["se_source"],
            "main baseline": f"{floor['floor']} {floor['value']:.4f}" if floor else "none measured",
            "source of the baseline": floor["source"] if floor else DASH,
        }

    headline = scores[scores["headline"]].drop_duplicates("task").sort_values("task")
    return table_of(headline, "task", cells)


def stored_errors(scores: pd.DataFrame) -> pd.DataFrame:
    """How well the numbers of documents explain the stored standard errors."""
    return table_of(
        comparison.stored_errors_agree(scores),
        "task",
        lambda row: {
            "task": row["task"],
            "metric": row["metric"],
            "documents": row["n"],
            "scores compared": row["count"],
            "binomial / stored": f"{row['min']:.3f} to {row['max']:.3f}",
        },
    )


def _grid(table: pd.DataFrame, rows: list[str], cells: pd.Series) -> pd.DataFrame:
    table = table.assign(cell=cells, width=[f"{ratio:.0%}" for ratio in table["pruning_ratio"]])
    grid = table.pivot(index=rows, columns="width", values="cell")
    return grid.fillna(DASH).rename_axis(columns="removed")


def changes_grid(scores: pd.DataFrame, alpha: float = LEVEL) -> pd.DataFrame:
    """Points against the dense model; a star where Benjamini-Hochberg p is at most alpha."""
    table = comparison.changes(scores, alpha)
    starred = [" *" * (p <= alpha) for p in table["p_adjusted"]]
    return _grid(table, ["task", "model"], table["difference"].map(points) + starred)


def levels_grid(levels: pd.DataFrame) -> pd.DataFrame:
    """Points above the baseline; ▲ or ▼ where the whole interval lies above or below it."""
    cells = levels["above"].map(points) + levels["level"].map(MARKS)
    levels = levels.rename(columns={"floor": "baseline"})
    return _grid(levels, ["task", "baseline", "model"], cells)


def responders() -> pd.DataFrame:
    """Trivial baselines, best first, with their IFEval scores."""
    table = paper.trivial_responders().sort_values("value", ascending=False)
    return table.rename(columns=RESPONDER_NAMES).set_index("answer")


def ifeval_metrics(scores: pd.DataFrame) -> pd.DataFrame:
    """All four IFEval metrics of every width, and of the two reference answers where measured."""
    table = scores[scores["task"] == "ifeval"]
    wide = table.pivot(index=["model", "pruning_ratio"], columns="metric", values="value")
    wide.index = [f"{model}, {ratio:.0%} removed" for model, ratio in wide.index]
    measured = paper.trivial_responders().set_index("response")
    for response, name in (('"the"', 'answer "the"'), ("echo prompt once", "echoed prompt")):
        for metric, column in paper.IFEVAL_SCORES.items():
            wide.loc[name, f"{metric},none"] = measured.loc[response, column]
    wide.columns = [name.replace("_acc,none", "").replace("_", " ") for name in wide.columns]
    text = wide.astype(object)
    return text.where(wide.isna(), wide.map("{:.4f}".format)).where(wide.notna(), "not measured")


def gsm8k_metrics(scores: pd.DataFrame, claims: pd.DataFrame) -> pd.DataFrame:
    """The GSM8K claims under strict match (V1) and flexible extract (the author's README)."""

    def cells(row: dict) -> dict[str, str]:
        where = {"model": row["scope"], "task": "gsm8k", "metric": row["metric"]}
        dense = comparison.only_row(scores, pruning_ratio=0.0, **where)["value"]
        pruned = comparison.only_row(scores, pruning_ratio=row["pruning_ratio"], **where)
        return {
            "model": row["scope"],
            "removed": f"{row['pruning_ratio']:.0%}",
            "metric": row["metric"],
            "dense": f"{dense:.4f}",
            "pruned": f"{pruned['value']:.4f}",
            "kept": f"{pruned['value'] / dense:.1%}",
            "z": f"{comparison.change(scores, pruned).z:+.2f}",
        }

    rows = [
        {**claim, "metric": metric}
        for claim in claims.query("task == 'gsm8k'").to_dict("records")
        for metric in ("exact_match,strict-match", "exact_match,flexible-extract")
    ]
    return table_of(rows, ["model", "removed"], cells)


def correlations(table: pd.DataFrame) -> pd.DataFrame:
    """Correlations over the widths with and without the dense model, as text."""
    return table_of(
        table.sort_values("of", kind="stable"),
        ["pair", "model", "points"],
        lambda row: {
            "model": row["scope"],
            "pair": row["of"],
            "points": f"{row['points']}, {'with' if row['dense_point'] else 'without'} dense",
            "Pearson r": f"{row['r']:+.3f}",
            "interval": f"[{row['low']:+.2f}, {row['high']:+.2f}]",
            "p (t)": p_number(row["p_t"]),
            "p (perm.)": p_number(row["p_permutation"]),
            "Spearman": f"{row['rho']:+.3f}",
            "its p (perm.)": p_number(row["rho_p_permutation"]),
            "r, centred": f"{row['r_within']:+.3f}",
        },
    )


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
