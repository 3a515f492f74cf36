"""Published and measured numbers side by side: sentences and tables (notebooks 4 and 5)."""

from collections.abc import Mapping

import pandas as pd

from ppmlib import published as paper
from ppmlib.show.table import or_dash, table_of
from ppmlib.show.wording import p_number, percent, score_text, signed

VERDICTS = {"agrees": "agree", "differs": "differ", "not comparable": "are not comparable"}
COST_COLUMNS = {
    ("published", "time of an answer"): "answer_ms",
    ("published", "tokens in it"): "tokens_per_answer",
    ("published", "time per token"): "ms_per_token",
    ("published", "'J' per token, above idle"): "joules_per_token_published",
    ("measured here", "time of the same work"): "work_ms",
    ("measured here", "time per later token"): "tpot_ms",
    ("measured here", "J of the same work"): "work_j",
    ("measured here", "above idle"): "work_net_j",
}


def score_sentences(table: pd.DataFrame, model: str) -> list[str]:
    """How many of the published scores a study confirms; `side_by_side.compare_scores`."""
    if model not in paper.MODELS:
        return ["The paper published no scores of this model."]
    if table.empty:
        return ["No published score of this model was measured in this study."]
    counts = table["verdict"].value_counts()
    listed = ", ".join(f"{counts.get(name, 0)} {word}" for name, word in VERDICTS.items())
    sentences = [
        f"Of {len(table)} published scores that this study measured too, {listed} "
        "(two-sided 5%, not adjusted: one in twenty would differ by chance)."
    ]
    for reason, rows in table[table["verdict"] == "not comparable"].groupby("reason", sort=False):
        sentences.append(f"Not comparable ({len(rows)}): {reason}.")
    differing = table[table["verdict"] == "differs"]
    if len(differing):
        row = differing.loc[differing["z"].astype(float).abs().idxmax()]
        sentences.append(
            f"The largest difference: {row['task']} at {percent(row['pruning_ratio'])} "
            f"removed, published {score_text(row['published'], row['unit'])}, measured "
            f"{score_text(row['measured'], row['unit'])} (z {signed(row['z'])})."
        )
    return sentences


def score_table(table: pd.DataFrame) -> pd.DataFrame:
    """Published and measured scores for a page; the change against dense in brackets."""

    def with_change(row: Mapping, name: str) -> str:
        text, change = score_text(row[name], row["unit"]), row[f"{name}_change"]
        unit = "%" * (row["unit"] == "percent")
        return text if pd.isna(change) else f"{text} ({signed(change)}{unit})"

    return table_of(
        table,
        ["task", "neurons removed"],
        lambda row: {
            "task": row["task"],
            "neurons removed": percent(row["pruning_ratio"]),
            "published": with_change(row, "published"),
            "measured": with_change(row, "measured"),
            "z": or_dash(row["z"], lambda z: signed(z, 2)),
            "p": or_dash(row["p_value"], p_number),
            "verdict": row["verdict"],
            "why": row["reason"],
        },
    )


def cost_table(table: pd.DataFrame) -> pd.DataFrame:
    """Costs for a page: changes against dense in percent; `side_by_side.compare_costs`."""

    def change(ratio: float) -> str:
        return or_dash(ratio, lambda value: f"{100 * (value - 1):+.1f}%")

    shown = {
        ("", "work"): table["workload"] + ", batch " + table["batch_size"].astype(str),
        ("", "removed"): table["pruning_ratio"].map("{:.0%}".format),
    }
    shown |= {head: table[f"{name}_ratio"].map(change) for head, name in COST_COLUMNS.items()}
    read = pd.DataFrame(shown)[(table["pruning_ratio"] > 0).to_numpy()]
    read.columns = pd.MultiIndex.from_tuples(read.columns)
    return read.set_index(("", "work")).rename_axis("work")


def cost_sentences(table: pd.DataFrame) -> list[str]:
    """Per workload: published time, length and 'joules' of answers, and the gain of a batch of
    eight, each with the same measured here.
    """
    sentences = []
    alone = table[(table["batch_size"] == 1) & (table["pruning_ratio"] > 0)]
    for workload, part in alone.groupby("workload", sort=False):
        row = part.loc[part["pruning_ratio"].idxmax()]
        energy = ""
        if pd.notna(row["work_j_ratio"]):
            energy = (
                f", {row['work_j_ratio']:.2f} times the joules "
                f"({row['work_net_j_ratio']:.2f} above idle)"
            )
        sentences.append(
            f"{workload}, {row['pruning_ratio']:.0%} removed: published answers took "
            f"{row['answer_ms_ratio']:.2f} times as long: they had "
            f"{row['tokens_per_answer_ratio']:.2f} times the tokens, each in "
            f"{row['ms_per_token_ratio']:.2f} times the time and at "
            f"{row['joules_per_token_published_ratio']:.2f} times the 'joules' above idle; here "
            f"the same work takes {row['work_ms_ratio']:.2f} times the dense time{energy}."
        )
    dense = table[table["pruning_ratio"] == 0].set_index(["workload", "batch_size"])
    batched = [workload for workload, batch in dense.index if batch == 8]
    return sentences + [_batch_of_eight(workload, dense.loc[workload]) for workload in batched]


def _batch_of_eight(workload: str, dense: pd.DataFrame) -> str:
    one, eight = dense.loc[1], dense.loc[8]
    less = ""
    if pd.notna(eight["work_j"]):
        less = f" at {eight['work_j'] / (8 * one['work_j']):.2f} times the joules per token"
    published = eight["joules_per_token_published"] / one["joules_per_token_published"]
    faster = eight["tokens_per_s"] / one["tokens_per_s"]
    return (
        f"{workload}, dense, eight prompts at once: published {faster:.1f} times the tokens per "
        f"second, padding counted among them, at {published:.2f} times the 'joules' per token; "
        f"here {8 * one['work_ms'] / eight['work_ms']:.1f} times the tokens per second{less}."
    )
