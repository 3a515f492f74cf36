"""Generated answers in words: their lengths and ends, the kinds of instruction, examples."""

from collections.abc import Mapping

import pandas as pd

from ppmlib.analyse.study_records import DENSE
from ppmlib.show.table import or_dash, table_of
from ppmlib.show.wording import interval_text, joined, p_number, percent, signed
from ppmlib.statistics.proportions import LEVEL

SHOWN = 300  # characters of a prompt's end or of an answer


def describe_answers(table: pd.DataFrame, run: str) -> list[str]:
    """Task by task at one width: what the answers are like, and where the change lies."""
    said = []
    for task, rows in table.groupby("task", sort=False):
        rows = rows.set_index("run")
        if run not in rows.index or DENSE not in rows.index:
            continue
        row, dense = rows.loc[run], rows.loc[DENSE]
        text = (
            f"{task} at {percent(row['pruning_ratio'])} removed: the median answer has "
            f"{row['median_tokens']:.0f} tokens (dense {dense['median_tokens']:.0f}), "
            f"{percent(row['stopped'])} end before the token limit "
            f"(dense {percent(dense['stopped'])}), {percent(row['repeating'])} repeat themselves "
            f"(dense {percent(dense['repeating'])}), "
            f"{percent(row['empty'])} are empty. Of the change of {signed(row['change_points'])} "
            f"points, {signed(row['from_degenerate_points'])} come from answers that are empty, "
            "repeat themselves or reach the token limit and "
            f"{signed(row['from_proper_points'])} from all others."
        )
        if row["gained"]:
            text += (
                f" Of {row['gained']} documents gained, {row['gained_shorter']} have a shorter"
                f" answer than the dense one and {row['gained_degenerate']} a degenerate "
                "one."
            )
        said.append(text)
    return said or ["No task of this study has generated answers."]


def tabulate_answers(table: pd.DataFrame) -> pd.DataFrame:
    """Every width's answers."""
    return table_of(
        table,
        ["task", "neurons removed"],
        lambda row: {
            "task": row["task"],
            "neurons removed": percent(row["pruning_ratio"]),
            "median tokens": f"{row['median_tokens']:.0f}",
            "shorter / longer": f"{percent(row['shorter'])} / {percent(row['longer'])}",
            "end": percent(row["stopped"]),
            "repeat": percent(row["repeating"]),
            "empty": percent(row["empty"]),
            "change": signed(row["change_points"]),
            "in degenerate": signed(row["from_degenerate_points"]),
            "in others": signed(row["from_proper_points"]),
            "gained / lost": f"{row['gained']} / {row['lost']}",
        },
    )


def describe_kinds(table: pd.DataFrame, task: str | None, ratio: float) -> str:
    """Which kinds of instruction changed, and how many did not significantly."""
    if task is None:
        return "No task of this study has kinds of instruction."
    if table.empty:
        return (
            f"No kind of instruction in {task} was scored on two or more documents at "
            f"{percent(ratio)} removed."
        )
    sure = table[table["p_adjusted"] <= LEVEL]
    parts = []
    for word, part in (
        ("fall", sure[sure["diff_points"] < 0]),
        ("rise", sure[sure["diff_points"] > 0]),
    ):
        if len(part):
            names = [
                f"{r.kind} {signed(r.diff_points)} {interval_text(r.low, r.high)}"
                for r in part.itertuples()
            ]
            parts.append(f"{len(part)} {word}{'s' * (len(part) == 1)} ({joined(names)})")
    rest = len(table) - len(sure)
    if rest:
        parts.append(f"{rest} {'does' if rest == 1 else 'do'} not change significantly")
    return (
        f"Of {len(table)} kinds of instruction in {task} at {percent(ratio)} removed, "
        f"{joined(parts)} (points, Benjamini-Hochberg over the kinds)."
    )


def tabulate_kinds(table: pd.DataFrame) -> pd.DataFrame:
    """The kinds of instruction."""

    def cells(row: Mapping) -> dict:
        interval = interval_text(row["low"], row["high"])
        return {
            "kind": row["kind"],
            "documents": row["n"],
            "dense": percent(row["dense"]),
            "pruned": percent(row["pruned"]),
            "permuted": or_dash(row["permuted"], percent),
            "change, points": f"{signed(row['diff_points'])} {interval}",
            "p adjusted": p_number(row["p_adjusted"]),
        }

    return table_of(table, "kind", cells)


def tabulate_examples(drawn: pd.DataFrame) -> pd.DataFrame:
    """`responses.draw_examples`: the prompt's end, both answers and their lengths."""
    return table_of(
        drawn,
        ["", "document"],
        lambda row: {
            "": row["outcome"],
            "document": row["document"],
            "end of the prompt": _on_one_line(row["prompt_end"][-SHOWN:]),
            "dense answer": _on_one_line(row["dense"][:SHOWN]),
            "pruned answer": _on_one_line(row["pruned"][:SHOWN]),
            "tokens": f"{row['dense_tokens']} → {row['pruned_tokens']}",
        },
    )


def _on_one_line(text: str) -> str:
    """Line ends visible; an empty answer named."""
    return text.replace("\n", " ⏎ ") if text.strip() else f"(empty, {len(text)} characters)"
