"""The scores of one run for readers: tables, prompts, responses, sentences."""

import html
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from ppmlib.analyse import levels, outcomes

SHOWN_PROMPT = 1500  # characters of a first prompt on the page; the record has all of it
SHOWN_RESPONSE = 160
LEVELS = {
    "above floor": "Above their baseline",
    "not above floor": "Not distinguishable from their baseline (guessing, or the permuted "
    "baseline)",
    "below floor": "Below their baseline",
}
COLUMNS = ["axis", "metric", "filter", "value", "stderr", "n", "num_fewshot", "chance"]
COLUMNS += ["higher_is_better"]
FLOORS = {"permuted responses": "permuted", "chance": "chance", "none": None}


def headlines(
    rows: pd.DataFrame, samples: Mapping[str, pd.DataFrame], *, is_model: bool = True
) -> pd.DataFrame:
    """One row per task: its headline score, error, chance, permuted baseline and level.

    Interval and level are those of notebook 5 (`levels.interval`, `levels.judge`). None of them
    where `is_model` is False: a trivial baseline is not compared with a baseline.

    Returns:
        indexed by task: axis, metric, filter, value, stderr, n, num_fewshot, chance, permuted, low,
        high (95% interval of the score), unit (`points`, or `percent` of a perplexity; None without
        values per document), floor ('permuted', 'chance' or None), level.
    """
    own = rows[rows["headline"] & (rows["source"] == "model")].set_index("task")
    other = rows[rows["headline"] & (rows["source"] == "permuted")].set_index("task")
    table = own[COLUMNS].assign(permuted=other["value"].reindex(own.index))
    rows = [row.to_dict() | {"task": task} for task, row in table.iterrows()]
    details = [_judged(row, samples[row["task"]]) for row in rows]
    judged = table.join(pd.DataFrame(details, index=table.index))
    return judged if is_model else judged.assign(floor=None, level="no floor")


def _judged(row: Mapping[str, Any], table: pd.DataFrame) -> dict[str, Any]:
    low, high = levels.interval(table, row)
    known, found = outcomes.has_outcome(table, row), levels.judge(table, row)
    unit, floor = outcomes.outcome_of(table, row).unit if known else None, found["floor_kind"]
    judged = {"unit": unit, "floor": FLOORS[floor], "level": found["level"]}
    return {"low": low, "high": high, **judged}


def shown_table(table: pd.DataFrame) -> pd.DataFrame:
    """`headlines` for the page: percent where a score is a share, readable column names."""

    def shown(row: Any, name: str) -> str:
        value, error = getattr(row, name), row.stderr if name == "value" else None
        if value is None or pd.isna(value):
            return "-"
        scale, unit, digits = (100, "\u00a0%", 1) if row.unit == "points" else (1, "", 2)
        text = f"{scale * value:,.{digits}f}"
        text += (
            "" if error is None or pd.isna(error) else f"\u00a0±\u00a0{scale * error:,.{digits}f}"
        )
        return text + unit

    rows = list(table.itertuples())
    columns = {
        "metric": table["metric"],
        "score ± standard error": [shown(row, "value") for row in rows],
        "documents": table["n"],
        "baseline": [f"{r.floor} {shown(r, r.floor)}" if r.level in LEVELS else "-" for r in rows],
        "level": [row.level if row.level in LEVELS else "-" for row in rows],
    }
    return pd.DataFrame(columns)


def all_metrics(rows: pd.DataFrame) -> pd.DataFrame:
    """Every metric of every task, raw, with readable column names."""
    names = {"value": "score", "stderr": "standard error", "n": "documents", "source": "responses"}
    columns = ["task", "metric", "filter", "value", "stderr", "n", "source", "chance", "version"]
    return rows[columns].rename(columns=names).set_index(["task", "metric", "filter"])


def check_table(tasks: Mapping[str, Mapping[str, Any]]) -> pd.DataFrame:
    """The requests, by task: documents, examples, rows of the largest batch run, BOS tokens,
    requests truncated from the left, limit of new tokens; where an engine counts them, also the
    most tokens of one pass.
    """
    counted = {
        name: task["engine"]["passes"]["most_tokens"]
        for name, task in tasks.items()
        if "passes" in task["engine"]
    }
    rows = {
        name: {
            "documents": task["n"],
            "examples in prompt": task["num_fewshot"],
            "largest batch": task["largest_batch"],
            **({"most tokens at once": counted.get(name, "-")} if counted else {}),
            "BOS per prompt": " or ".join(map(str, task["bos"] or ["-"])),
            "truncated": task["truncated"],
            "most new tokens": task["max_gen_toks"] or "-",
        }
        for name, task in tasks.items()
    }
    return pd.DataFrame.from_dict(rows, orient="index").rename_axis("task")


def folded(summary: str, body: str) -> str:
    """HTML that is closed until the reader opens it; `body` is HTML, `summary` plain text."""
    return f"<details><summary>{html.escape(summary)}</summary>{body}</details>"


def first_prompts(tasks: Mapping[str, Mapping[str, Any]]) -> str:
    """The first rendered prompt of every task with its first token ids: folded, escaped HTML."""
    parts = []
    for name, task in tasks.items():
        prompt, ids = task["first_prompt"], task["first_token_ids"]
        left_out = len(prompt) - SHOWN_PROMPT
        note = f"<p>{left_out} more characters are in the record.</p>" if left_out > 0 else ""
        body = f"<pre>{html.escape(prompt[:SHOWN_PROMPT])}</pre>{note}"
        body += f"<p>First token ids: {' '.join(map(str, ids))}</p>"
        parts.append(folded(name, body))
    return "".join(parts)


def examples(
    rows: pd.DataFrame, samples: Mapping[str, pd.DataFrame], *, seed: int, count: int = 3
) -> pd.DataFrame:
    """A few seeded responses of every generation task: prompt's end, target, response, outcome."""
    headline = rows[rows["headline"] & (rows["source"] == "model")]
    parts = []
    for row in headline.itertuples():
        table = samples[row.task]
        if "response" not in table:
            continue
        picked = table.sample(min(count, len(table)), random_state=seed).sort_values("doc_id")
        shown = {
            "task": row.task,
            "document": picked["doc_id"],
            "end of the prompt": picked["prompt_end"].str[-SHOWN_RESPONSE:],
            "target": picked["target"].str[:SHOWN_RESPONSE],
            "response": picked["response"].str[:SHOWN_RESPONSE],
            row.metric: picked[f"{row.metric},{row.filter}"].map(np.mean),
            "tokens": picked["response_tokens"],
            "ended before the limit": picked["stopped"].map({True: "yes", False: "no"}),
        }
        parts.append(pd.DataFrame(shown).rename(columns={row.metric: "score"}))
    return pd.concat(parts).set_index(["task", "document"]) if parts else pd.DataFrame()


def conclusions(
    table: pd.DataFrame,
    samples: Mapping[str, pd.DataFrame],
    tasks: Mapping[str, Mapping[str, Any]],
    skipped: Mapping[str, str],
) -> list[str]:
    """Sentences computed from `headlines`: what is above its baseline, what is not, how it answers.

    Args:
        skipped: tasks that were not answered, and why.
    """
    judged, shares = table[table["level"].isin(LEVELS)], table[table["unit"] == "points"]
    sentences = [
        f"`{row.Index}`: {row.metric} {100 * row.value:.1f} %."
        for row in shares.drop(judged.index).itertuples()
    ]
    for level, words in LEVELS.items():
        names = [
            f"`{r.Index}` ({100 * r.value:.1f} %, {r.floor} {100 * getattr(r, r.floor):.1f} %)"
            for r in judged[judged["level"] == level].itertuples()
        ]
        if names:
            sentences.append(f"{words}, {len(names)} of {len(judged)} tasks: {', '.join(names)}.")
    for row in table.drop(shares.index).itertuples():
        error = "" if pd.isna(row.stderr) else f" ± {row.stderr:,.2f} (standard error)"
        better = "; lower is better" * (not row.higher_is_better)
        sentences.append(f"`{row.Index}`: {row.metric} {row.value:,.2f}{error}{better}.")
    for name in table.index:
        if "stopped" in samples[name]:
            stopped, tokens = samples[name]["stopped"].mean(), samples[name]["response_tokens"]
            sentences.append(
                f"`{name}`: {100 * stopped:.0f} % of the responses end before the limit of "
                f"{tasks[name]['max_gen_toks']} tokens; the median response has "
                f"{tokens.median():.0f} tokens; {_repeating(samples[name])}."
            )
    reasons: dict[str, list[str]] = {}
    for name, why in skipped.items():
        reasons.setdefault(why, []).append(f"`{name}`")
    sentences += [f"Not answered ({why}): {', '.join(names)}." for why, names in reasons.items()]
    return sentences


def _repeating(table: pd.DataFrame) -> str:
    repetition, empty = table["response_repetition"], (table["response_characters"] == 0).sum()
    text = f"on average {100 * repetition.mean():.0f} % of its word 4-grams repeat earlier ones"
    return f"{text}; {empty} responses are empty" if empty else text
