"""Rows of the index page's tables, as text: verdicts, time and memory, widths, tasks, settings."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ppmlib.page import inert
from ppmlib.study_file.selection import selection_slug

MINUS = "\u2212"
SYMBOLS = {"better": "\u25b2", "worse": "\u25bc", "equivalent": "=", "inconclusive": "?"}
LEVEL_MARKS = {"not above floor": "\u00b0", "below floor": "\u25bd"}  # as in notebook 5
SHOWN_HASH = 12
DRAWING_WIDTH = 150  # pixels of an interval's drawing
LONGEST_PROMPT = 4000  # characters of a prompt shown on the page


def number(value: float, decimals: int = 1, *, sign: bool = False) -> str:
    """A number for readers: true minus, thousands apart, no negative zero."""
    text = f"{abs(value):,.{decimals}f}"
    if not float(text.replace(",", "")):
        return text
    return (MINUS if value < 0 else "+" if sign else "") + text


def p_text(value: float | None) -> str:
    """A p-value as printed in papers; a dash where there is none."""
    if value is None:
        return "\u2013"
    return "< 0.001" if value < 0.001 else f"{value:.3f}" if value < 0.9995 else "1"


def score(metric: str, value: float | None) -> str:
    """A score with its unit: percent for shares, the plain number for perplexities."""
    if value is None:
        return "\u2013"
    if any(name in metric for name in ("perplexity", "bits_per_byte")):
        return number(value, 2)
    return f"{number(100 * value)}%"


def claim(row: Mapping[str, Any]) -> dict[str, Any]:
    """A declared claim with its p-values as text."""
    return {**row, "p": p_text(row["p_value"]), "p_holm": p_text(row["p_holm"])}


def verdicts(rows: Sequence[Mapping[str, Any]], study: Mapping[str, Any]) -> dict[str, Any]:
    """The verdict tables: declared ratios with headline metrics first, then everything.

    Declared ratios are those of the study's claims; a study without claims shows all its widths.
    """
    headline = {(task["name"], task["metric"], task["filter"]) for task in study["tasks"]}
    declared = {each["pruning_ratio"] for each in study["claims"]}
    main = selection_slug(study["criterion"])
    chosen = [
        row
        for row in rows
        if row["criterion"] == main
        and (row["task"], row["metric"], row["filter"]) in headline
        and (not declared or row["pruning_ratio"] in declared)
    ]
    first, every = _by_run(chosen, *_ends(chosen)), _by_run(rows, *_ends(rows))
    mine = [row for row in rows if row["criterion"] == main
            and (row["task"], row["metric"], row["filter"]) in headline]  # fmt: skip
    return {"first": first, "all": every, "matrix": matrix(mine),
            "methods": sorted({row["method"] for row in rows})}  # fmt: skip


def matrix(rows: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Every headline task at every width, wide to narrow: the change as text with its symbol."""
    widths = sorted({(row["pruning_ratio"], row["expansion_ratio"]) for row in rows})
    cells = {(row["task"], row["pruning_ratio"]): row for row in rows}
    lines = []
    for task in dict.fromkeys(row["task"] for row in rows):
        line = [cells.get((task, ratio)) for ratio, _ in widths]
        axis = next(row["axis"] for row in line if row)
        shown = [{"change": row["change"], "symbol": SYMBOLS.get(row["change"], ""),
                  "difference": _difference(row), "level": row["level"],
                  "mark": LEVEL_MARKS.get(row["level"], "")} if row else None
                 for row in line]  # fmt: skip
        lines.append({"task": task, "axis": axis, "cells": shown})
    head = [{"removed": f"{100 * ratio:.3g}%", "expansion_ratio": number(expansion, 2)}
            for ratio, expansion in widths]  # fmt: skip
    return {"head": head, "rows": lines}


def _ends(rows: Iterable[Mapping[str, Any]]) -> tuple[float, float]:
    """The least and the greatest end of the intervals in points, zero between them."""
    drawn = [row[end] for row in rows if not _percent(row)
             for end in ("ci_low_points", "ci_high_points") if row[end] is not None]  # fmt: skip
    low, high = min(drawn, default=-1.0), max(drawn, default=1.0)
    return (min(low, 0.0), max(high, 0.0)) if low < high else (-1.0, 1.0)


def _by_run(rows: Iterable[Mapping[str, Any]], low: float, high: float) -> dict[str, Any]:
    groups: dict[str, dict[str, Any]] = {}
    for row in rows:
        group = groups.setdefault(row["run"], {"run": row["run"], "rows": []})
        group["expansion_ratio"] = number(row["expansion_ratio"], 2)
        group["rows"].append(_verdict(row, low, high))
    return {"groups": list(groups.values()), "low": number(low), "high": number(high, sign=True),
            "zero": _drawn(0.0, low, high)}  # fmt: skip


def _drawn(value: float, low: float, high: float) -> float:
    """Where a difference is drawn, in pixels from the left."""
    return round(4 + (DRAWING_WIDTH - 8) * (value - low) / (high - low), 1)


def _difference(row: Mapping[str, Any]) -> str:
    if row["diff_points"] is None:
        return "\u2013"
    return number(row["diff_points"], sign=True) + "%" * _percent(row)


def _percent(row: Mapping[str, Any]) -> bool:
    """Whether the row's differences are in percent (perplexities) rather than in points."""
    return row["unit"] == "percent"


def _verdict(row: Mapping[str, Any], least: float, greatest: float) -> dict[str, Any]:
    low, high, middle = row["ci_low_points"], row["ci_high_points"], row["diff_points"]
    known = None not in (low, high, middle)
    interval = f"[{number(low, sign=True)}, {number(high, sign=True)}]" if known else "no interval"
    return {
        **{
            name: row[name] for name in ("task", "metric", "filter", "axis", "n", "change", "level")
        },
        "symbol": SYMBOLS.get(row["change"], ""),
        "dense": score(row["metric"], row["dense_value"]),
        "pruned": score(row["metric"], row["value"]),
        "difference": _difference(row),
        "interval": interval,
        "p": p_text(row["p_value"] if row["p_adjusted"] is None else row["p_adjusted"]),
        "adjusted": row["p_adjusted"] is not None,
        "floor": f"{score(row['metric'], row['floor'])} ({row['floor_kind']})"
        if row["floor"] is not None
        else "",
        "mde": number(row["mde_points"]) if row["mde_points"] is not None else "\u2013",
        "drawing": [_drawn(value, least, greatest) for value in (low, middle, high)]
        if known and not _percent(row)
        else None,
    }


def efficiency(record: Mapping[str, Any]) -> dict[str, Any]:
    """One profiling record as rows: medians with quartiles, time relative to the dense model."""
    results, measured = record["results"], record["measured"]
    widths = {about["run"]: about for about in results["widths"]}
    rows, joules = measured["rows"], measured["joules"]["rows"]
    dense = {_job(row): row for row in rows if row["run"].startswith("dense/")}
    energy = {(row["run"], *_job(row)): row for row in joules}
    several = len(results["workloads"]) > 1
    shown = []
    for row in rows:
        about, base = widths[row["run"]], dense[_job(row)]
        peak, spent = row["peak_memory_bytes"], energy.get((row["run"], *_job(row)))
        work = f"{row['workload']}, batch" if several else "batch"
        shown.append({
            "run": row["run"],
            "expansion_ratio": number(about["expansion_ratio"], 2),
            "work": f"{work} {row['batch_size']}",
            "ttft": f"{1000 * row['ttft_s']:.2f}",
            "ttft_range": _quartiles(row, "ttft_s"),
            "mfu": f"{row['mfu']:.0%}",
            "tpot": f"{1000 * row['tpot_s']:.2f}",
            "tpot_range": _quartiles(row, "tpot_s"),
            "mbu": f"{row['mbu']:.0%}",
            "relative": f"{row['tpot_s'] / base['tpot_s']:.2f}",
            "tokens_per_s": number(row["tokens_per_s"], 1 if row["tokens_per_s"] < 100 else 0),
            "weights": number(about["weights_bytes"] / 1e6, 2),
            "peak": number(peak / 1e6, 1) if peak is not None else "not measurable here",
            "joules": f"{1000 * spent['joules_per_generated_token']:.3g}" if spent else None,
        })  # fmt: skip
    said = {name: measured[name] for name in ("peak_memory", "energy", "conclusions")}
    return {
        "key": record["key"], "rows": shown, "device": results["device"],
        "random_weights": results["random_weights"], "workloads": results["workloads"],
        "with_joules": bool(joules),
        "widths": [_profiled_width(about, widths) for about in widths.values()],
        **said,
    }  # fmt: skip


def _job(row: Mapping[str, Any]) -> tuple[str, int]:
    return row["workload"], row["batch_size"]


def _profiled_width(about: Mapping[str, Any], widths: Mapping[str, Any]) -> dict[str, str]:
    dense = next(iter(widths.values()))["parameters"]
    return {
        "run": about["run"],
        "neurons": f"{about['intermediate_size']:,}",
        "expansion_ratio": number(about["expansion_ratio"], 3),
        "removed": f"{number(100 * about['pruning_ratio'], 2)}%",
        "parameters": f"{about['parameters']:,}",
        "reduction": f"{number(100 * (1 - about['parameters'] / dense), 2)}%",
    }


def _quartiles(row: Mapping[str, Any], name: str) -> str:
    return "\u2013".join(f"{1000 * row[end]:.2f}" for end in (f"{name}_q25", f"{name}_q75"))


def width(results: Mapping[str, Any]) -> dict[str, Any]:
    """One width from the results of its pruning record."""
    (kind, asked), *_ = [(k, v) for k, v in results["requested"].items() if v is not None]
    ties = results["ties_at_cut"]
    return {
        "run": results["run"],
        "requested": _requested(kind, asked) + (", matched by noise" if "noise" in results else ""),
        "kept": f"{results['intermediate_size']:,} of {results['intermediate_size_dense']:,}",
        "expansion_ratio": number(results["expansion_ratio"], 3),
        "removed": f"{number(100 * results['pruning_ratio'], 2)}%",
        "parameters": f"{results['parameters']:,}",
        "reduction": f"{number(100 * results['parameter_reduction'], 2)}%",
        "ties": sum(ties),
        "ties_in": f"in {sum(bool(t) for t in ties)} of {len(ties)} layers",
        "keep_sha256": results["keep_sha256"][:SHOWN_HASH],
    }


def task_rows(tasks: Sequence[Mapping[str, Any]], evaluations: Mapping[str, Any]):
    """Each task of the study with what the dense evaluation recorded about it."""
    known = {}
    for record in evaluations.values():
        known |= {k: v for k, v in record["results"]["tasks"].items() if k not in known}
    rows = []
    for task in tasks:
        about = known.get(task["name"])
        rows.append({
            **task,
            "version": about["version"] if about else "not evaluated",
            "n": f"{about['n']:,}" if about else "not evaluated",
            "kind": about["kind"] if about else "not evaluated",
            "truncated": about["truncated"] if about else "not evaluated",
            "first_prompt": _prompt(about["first_prompt"]) if about else None,
        })  # fmt: skip
    return rows


def _requested(kind: str, asked: float) -> str:
    if kind == "expansion_ratio":
        return f"{asked:g}x"
    return f"{asked:g} removed" if asked else "dense"


def _prompt(text: str) -> str:
    shown = inert.UNSAFE.sub("", text[:LONGEST_PROMPT])
    cut = len(text) - LONGEST_PROMPT
    return f"{shown}\n[{cut:,} more characters are in the record]" if cut > 0 else shown


def evaluation_settings(evaluations: Mapping[str, Any]) -> list[dict[str, str]]:
    """The settings of all evaluation records; one that differs between widths says so."""
    values: dict[str, dict[str, None]] = {}
    for record in evaluations.values():
        inputs = record["inputs"]
        shown = {**inputs["model"], **inputs["settings"]}
        for name, value in shown.items():
            values.setdefault(name, {})[_plain(value)] = None
    return [{"name": name.replace("_", " "), "value": " / ".join(seen), "differs": len(seen) > 1}
            for name, seen in values.items()]  # fmt: skip


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
