"""Rows of the study page's tables, and how their numbers are written: the filters of its template.

Rows stay as the records hold them; the template writes them through `FILTERS`.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from markupsafe import Markup, escape

from ppmlib.page import inert
from ppmlib.show.wording import DASH, MARKS, percent
from ppmlib.study_file.selection import selection_slug

SYMBOLS = {"better": "\u25b2", "worse": "\u25bc", "equivalent": "=", "inconclusive": "?"}
SHOWN_HASH = 12
LONGEST_PROMPT = 4000  # characters of a prompt shown on the page
Row = Mapping[str, Any]


def number(value: float | None, decimals: int = 1, *, sign: bool = False) -> str:
    """A number for readers: true minus, thousands apart, no negative zero; None is a dash."""
    if value is None:
        return DASH
    text = f"{abs(value):,.{decimals}f}"
    if not float(text.replace(",", "")):
        return text
    return ("\u2212" if value < 0 else "+" if sign else "") + text


def p_text(value: float | None) -> str:
    """A p-value as printed in papers; a dash where there is none."""
    if value is None:
        return DASH
    return "< 0.001" if value < 0.001 else f"{value:.3f}" if value < 0.9995 else "1"


def score(value: float | None, metric: str) -> str:
    """A score with its unit: percent for shares, the plain number for perplexities."""
    if value is None or "perplexity" in metric or "bits_per_byte" in metric:
        return number(value, 2)
    return f"{number(100 * value)}%"


def difference(row: Row) -> str:
    """The change of a verdict row: in points, in percent for perplexities."""
    known = row["diff_points"] is not None
    return number(row["diff_points"], sign=True) + "%" * (known and row["unit"] == "percent")


def breakable(name: str) -> Markup:
    """A name that may break after its underscores, on a phone."""
    return escape(name).replace("_", Markup("_<wbr>"))


def prompt(text: str) -> str:
    """The beginning of a prompt, without characters that could change how the page reads."""
    shown = inert.UNSAFE.sub("", text[:LONGEST_PROMPT])
    cut = len(text) - LONGEST_PROMPT
    return f"{shown}\n[{cut:,} more characters are in the record]" if cut > 0 else shown


def requested(asked: Mapping[str, float | None]) -> str:
    """The width a pruning record was asked for: `0.4 removed`, `2.4x`, `dense`."""
    kind, ratio = next((kind, ratio) for kind, ratio in asked.items() if ratio is not None)
    if kind == "expansion_ratio":
        return f"{ratio:g}x"
    return f"{ratio:g} removed" if ratio else "dense"


FILTERS = {
    "number": number,
    "p": p_text,
    "score": score,
    "difference": difference,
    "percent": percent,
    "breakable": breakable,
    "prompt": prompt,
    "requested": requested,
    "symbol": lambda change: SYMBOLS.get(change, ""),
    "mark": lambda level: MARKS.get(level, "").strip(),
}


def verdicts(rows: Sequence[Row], study: Mapping[str, Any]) -> dict[str, Any]:
    """The verdict tables: declared ratios with headline metrics first, then everything.

    Declared ratios are those of the study's claims; a study without claims shows all its widths.
    """
    headline = {(task["name"], task["metric"], task["filter"]) for task in study["tasks"]}
    declared = {claim["pruning_ratio"] for claim in study["claims"]}
    main = selection_slug(study["criterion"])
    mine = [
        row
        for row in rows
        if row["criterion"] == main and (row["task"], row["metric"], row["filter"]) in headline
    ]
    chosen = [row for row in mine if not declared or row["pruning_ratio"] in declared]
    return {
        "first": _by_run(chosen),
        "all": _by_run(rows),
        "matrix": _matrix(mine),
        "methods": sorted({row["method"] for row in rows}),
    }


def _matrix(rows: Sequence[Row]) -> dict[str, Any]:
    """Every headline task at every width, wide to narrow; None where it was not evaluated."""
    widths = sorted({(row["pruning_ratio"], row["expansion_ratio"]) for row in rows})
    cells = {(row["task"], row["pruning_ratio"]): row for row in rows}
    axes = {row["task"]: row["axis"] for row in reversed(rows)}
    tasks = dict.fromkeys(row["task"] for row in rows)
    lines = [(task, axes[task], [cells.get((task, at)) for at, _ in widths]) for task in tasks]
    return {"widths": widths, "rows": lines}


def _by_run(rows: Sequence[Row]) -> dict[str, Any]:
    """Verdict rows by run, and the ends in points of the scale their intervals are drawn on."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        groups.setdefault(row["run"], []).append(row)
    drawn = [
        row[end]
        for row in rows
        for end in ("ci_low_points", "ci_high_points")
        if row["unit"] != "percent" and row[end] is not None
    ]
    low, high = min(drawn, default=-1.0), max(drawn, default=1.0)
    low, high = (min(low, 0.0), max(high, 0.0)) if low < high else (-1.0, 1.0)
    return {"groups": groups, "low": low, "high": high}


def efficiency(record: Mapping[str, Any]) -> dict[str, Any]:
    """One profiling record: its rows, each with its width, the dense row and the energy."""
    results, measured = record["results"], record["measured"]
    rows, joules = measured["rows"], measured["joules"]["rows"]
    widths = {width["run"]: width for width in results["widths"]}
    dense = {_work(row): row for row in rows if row["run"].startswith("dense/")}
    energy = {(row["run"], *_work(row)): row for row in joules}
    shown = [
        {
            **row,
            "width": widths[row["run"]],
            "dense": dense[_work(row)],
            "energy": energy.get((row["run"], *_work(row))),
        }
        for row in rows
    ]
    return {"results": results, "measured": measured, "rows": shown, "with_joules": bool(joules)}


def _work(row: Row) -> tuple[str, int]:
    return row["workload"], row["batch_size"]


def task_rows(tasks: Sequence[Row], evaluations: Iterable[Row]) -> list[dict[str, Any]]:
    """Each task of the study with what the first evaluation of it recorded (`about`), or None."""
    known: dict[str, Any] = {}
    for record in evaluations:
        known = record["results"]["tasks"] | known
    return [{**task, "about": known.get(task["name"])} for task in tasks]


def count_values(described: Iterable[Mapping[str, str]]) -> dict[str, Counter[str]]:
    """Each fact once: its values in order, with how many of the descriptions share each."""
    counts: dict[str, Counter[str]] = {}
    for description in described:
        for name, value in description.items():
            counts.setdefault(name, Counter())[value] += 1
    return counts


def evaluation_settings(evaluations: Iterable[Row]) -> dict[str, Counter[str]]:
    """The settings of all evaluation records, each with its values."""
    inputs = [record["inputs"] for record in evaluations]
    every = [{**each["model"], **each["settings"]} for each in inputs]
    return count_values({name: _plain(value) for name, value in each.items()} for each in every)


def _plain(value: Any) -> str:
    if value is None:
        return "not set"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, dict):
        return "; ".join(f"{k}: {_plain(v)}" for k, v in value.items()) or "none"
    if isinstance(value, list | tuple):
        return ", ".join(map(_plain, value)) or "none"
    text = inert.scrub_text(str(value))
    return text[:SHOWN_HASH] if len(text) == 64 and set(text) <= set("0123456789abcdef") else text
