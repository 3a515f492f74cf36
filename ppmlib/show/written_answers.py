"""Generated answers in words: their lengths and ends, the kinds of instruction, examples."""

import pandas as pd

from ppmlib.analyse.study_records import DENSE
from ppmlib.show.table import table_of
from ppmlib.show.wording import fill, interval_text, joined, percent, signed
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
        text = fill(
            "{task} at {pruning_ratio:percent} removed: the median answer has {median_tokens:.0f} "
            "tokens (dense {dense[median_tokens]:.0f}), {stopped:percent} end before the token "
            "limit (dense {dense[stopped]:percent}), {repeating:percent} repeat themselves (dense "
            "{dense[repeating]:percent}), {empty:percent} are empty. Of the change of "
            "{change_points:signed} points, {from_degenerate_points:signed} come from answers that "
            "are empty, repeat themselves or reach the token limit and {from_proper_points:signed} "
            "from all others.",
            row,
            task=task,
            dense=dense,
        )
        if row["gained"]:
            text += fill(
                " Of {gained} documents gained, {gained_shorter} have a shorter answer than the "
                "dense one and {gained_degenerate} a degenerate one.",
                row,
            )
        said.append(text)
    return said or ["No task of this study has generated answers."]


def tabulate_answers(table: pd.DataFrame) -> pd.DataFrame:
    """The generated answers of every width."""
    columns = {
        "task": "{task}",
        "neurons removed": "{pruning_ratio:percent}",
        "median tokens": "{median_tokens:.0f}",
        "shorter / longer": "{shorter:percent} / {longer:percent}",
        "end": "{stopped:percent}",
        "repeat": "{repeating:percent}",
        "empty": "{empty:percent}",
        "change": "{change_points:signed}",
        "in degenerate": "{from_degenerate_points:signed}",
        "in others": "{from_proper_points:signed}",
        "gained / lost": "{gained} / {lost}",
    }
    return table_of(table, ["task", "neurons removed"], columns)


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
    columns = {
        "kind": "{kind}",
        "documents": "{n}",
        "dense": "{dense:percent}",
        "pruned": "{pruned:percent}",
        "permuted": "{permuted:percent}",
        "change, points": "{diff_points:signed} [{low:signed}, {high:signed}]",
        "p adjusted": "{p_adjusted:p}",
    }
    return table_of(table, "kind", columns)


def tabulate_examples(drawn: pd.DataFrame) -> pd.DataFrame:
    """`responses.draw_examples`: the prompt's end, both answers and their lengths."""
    columns = {
        "": "{outcome}",
        "document": lambda row: row["document"],
        "end of the prompt": lambda row: _on_one_line(row["prompt_end"][-SHOWN:]),
        "dense answer": lambda row: _on_one_line(row["dense"][:SHOWN]),
        "pruned answer": lambda row: _on_one_line(row["pruned"][:SHOWN]),
        "tokens": "{dense_tokens} → {pruned_tokens}",
    }
    return table_of(drawn, ["", "document"], columns)


def _on_one_line(text: str) -> str:
    """Line ends visible; an empty answer named."""
    return text.replace("\n", " ⏎ ") if text.strip() else f"(empty, {len(text)} characters)"
