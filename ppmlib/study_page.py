"""The content of a study's index page, read from its records alone: tables as plain rows.

Numbers come from records, the list of jobs from the plan (`study.json`). What no record holds is
said to be missing, never guessed.
"""

import ast
import base64
import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ppmlib import inert, records
from ppmlib.params import selection_slug

MINUS = "\u2212"
SYMBOLS = {"better": "\u25b2", "worse": "\u25bc", "equivalent": "=", "inconclusive": "?"}
SHOWN_HASH = 12
LONGEST_PROMPT = 4000  # characters of a prompt shown on the page


def content(root: Path, plan: Mapping[str, Any]) -> dict[str, Any]:
    """Everything the index template shows.

    Args:
        root: the study's folder.
        plan: {study, synthetic, draft, jobs}, as `ppm run` writes it to `study.json`.
    Raises:
        KeyError: if a record lacks what its stage must hold.
    """
    study, runs = plan["study"], _runs(plan)
    found, jobs = _read_all(root, plan, runs)
    analysis = found.get("5_analysis")
    profiling = {k: r for k, r in found.items() if r["stage"] == "4_profiling"}
    evaluations = {k: r for k, r in found.items() if r["stage"] == "3_evaluation"}
    return {
        "study": study,
        "title": study["study"],
        "synthetic": plan["synthetic"],
        "draft": plan["draft"],
        "jobs": jobs,
        "unfinished": [job for job in jobs if job["state"] != "done"],
        "facts": facts(study, found),
        "analysis": analysis["results"] if analysis else None,
        "conclusions": conclusions(analysis["results"]) if analysis else [],
        "figure": main_figure(root, analysis["results"]) if analysis else None,
        "claims": [_claim(row) for row in analysis["results"]["claims"]] if analysis else [],
        "verdicts": verdicts(analysis["results"]["verdicts"], study) if analysis else None,
        "efficiency": [efficiency(record) for record in profiling.values()],
        "widths": [_width(r["results"]) for r in found.values() if r["stage"] == "2_pruning"],
        "formula": criterion_formula(study["criterion"]),
        "tasks": task_rows(study["tasks"], evaluations),
        "settings": evaluation_settings(evaluations),
        "matrix": _matrix(runs, {job["key"]: job for job in jobs}),
        "downloads": downloads(found),
        "provenance": provenance(found),
        "records": [_record_row(record) for record in found.values()],
    }


def _read_all(root: Path, plan: Mapping[str, Any], runs: Sequence[str]):
    """Verified records by key, and for every job of the plan its state with a link to its page."""

    def order(key: str) -> tuple[str, int]:
        run, _, stage = key.rpartition("/")
        return stage, runs.index(run) if run in runs else 0

    found, jobs = {}, []
    for key in sorted(plan["jobs"], key=order):
        job = plan["jobs"][key]
        failure = root / "logs" / f"{key}.failed.json"
        state, detail = "done", ""
        try:
            found[key] = records.read(root, key)
        except records.RecordError as error:
            state = "damaged" if records.record_path(root, key).exists() else "missing"
            detail = inert.scrub_text(str(error), folder=root) if state == "damaged" else "not run"
        if failure.exists() and state != "done":
            note = records.read_json(failure)
            where = f"cell {note['cell']}: " if note["cell"] is not None else ""
            state, detail = "failed", inert.clean_text(inert.scrub_text(where + note["error"]))
        name = f"{key}.failed.html" if state == "failed" else f"{key}.html"
        page = name if (root / name).exists() else None
        jobs.append({"key": key, "stage": job["stage"], "state": state, "detail": detail,
                     "page": page})  # fmt: skip
    return found, jobs


def _runs(plan: Mapping[str, Any]) -> list[str]:
    """The study's runs: the dense model, its criterion, then the controls."""
    main = selection_slug(plan["study"]["criterion"])
    keys = {key.rpartition("/")[0] for key, job in plan["jobs"].items()
            if job["stage"] in ("2_pruning", "3_evaluation")}  # fmt: skip
    rank = {"dense": 0, main: 1}
    return sorted(keys, key=lambda run: (rank.get(run.split("/")[0], 2), run))


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
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def score(metric: str, value: float | None) -> str:
    """A score with its unit: percent for shares, the plain number for perplexities."""
    if value is None:
        return "\u2013"
    if any(name in metric for name in ("perplexity", "bits_per_byte")):
        return number(value, 2)
    return f"{number(100 * value)}%"


def facts(study: Mapping[str, Any], found: Mapping[str, Any]) -> list[tuple[str, str]]:
    """What was studied, in a few label-value pairs."""
    model = study["model"]
    revision = f" at revision {model['revision']}" if model["revision"] else ""
    name = model["id"].rstrip("/").rsplit("/", 1)[-1] if model["id"][0] in "./~" else model["id"]
    ratios = study["pruning_ratios"] or study["expansion_ratios"]
    what = "pruning ratios" if study["pruning_ratios"] else "expansion ratios"
    controls = [f"{c['criterion']} (seeds {', '.join(map(str, c['seeds']))})" if c["seeds"]
                else c["criterion"] for c in study["controls"]]  # fmt: skip
    rows = [
        ("Model", f"{name}{revision}, {model['dtype']}"),
        ("Criterion", selection_slug(study["criterion"])),
        (what.capitalize(), ", ".join(f"{ratio:g}" for ratio in ratios) + ", and the dense model"),
        ("Controls", ", ".join(controls) or "none in this study"),
    ]
    dense = found.get("dense/r0.00/3_evaluation")
    if dense:
        counts = [task["n"] for task in dense["results"]["tasks"].values()]
        rows.append(("Evaluation", f"{len(counts)} tasks, {sum(counts):,} documents per width"))
    return rows


def conclusions(results: Mapping[str, Any]) -> list[str]:
    """The computed sentences, less those of declared claims, which have a table of their own."""
    claims = {claim["sentence"] for claim in results["claims"]}
    return [sentence for sentence in results["conclusions"] if sentence not in claims]


def main_figure(root: Path, results: Mapping[str, Any]) -> dict[str, Any] | None:
    """The main figure with its alt text, embedded, and its numbers as rows of text."""
    for entry in results["figures"]:
        if entry["name"] == results["main_figure"]:
            png = (root / "figures" / f"{entry['name']}.png").read_bytes()
            table = (root / "tables" / f"{entry['name']}.csv").read_text(encoding="utf-8")
            head, *rows = csv.reader(table.splitlines())
            rows = [[_short(cell) for cell in row] for row in rows]
            return {**entry, "png": base64.b64encode(png).decode(), "head": head, "rows": rows}
    return None


def _short(cell: str) -> str:
    try:
        return f"{float(cell):.4g}"
    except ValueError:
        return cell


def _claim(row: Mapping[str, Any]) -> dict[str, Any]:
    return {**row, "p": p_text(row["p_value"]), "p_holm": p_text(row["p_holm"])}


def verdicts(rows: Sequence[Mapping[str, Any]], study: Mapping[str, Any]) -> dict[str, Any]:
    """The verdict tables: declared ratios with headline metrics first, then everything.

    Declared ratios are those of the study's claims; a study without claims shows all its widths.
    """
    headline = {(task["name"], task["metric"], task["filter"]) for task in study["tasks"]}
    declared = {claim["pruning_ratio"] for claim in study["claims"]}
    main = selection_slug(study["criterion"])
    chosen = [
        row
        for row in rows
        if row["criterion"] == main
        and (row["task"], row["metric"], row["filter"]) in headline
        and (not declared or row["pruning_ratio"] in declared)
    ]
    drawn = [abs(row[end]) for row in rows if not _percent(row)
             for end in ("ci_low_points", "ci_high_points") if row[end] is not None]  # fmt: skip
    scale = max(drawn, default=1.0) or 1.0
    return {"first": _by_run(chosen, scale), "all": _by_run(rows, scale), "scale": number(scale),
            "methods": sorted({row["method"] for row in rows})}  # fmt: skip


def _by_run(rows: Iterable[Mapping[str, Any]], scale: float) -> list[dict[str, Any]]:
    groups: dict[str, dict[str, Any]] = {}
    for row in rows:
        group = groups.setdefault(row["run"], {"run": row["run"], "rows": []})
        group["expansion_ratio"] = number(row["expansion_ratio"], 2)
        group["rows"].append(_verdict(row, scale))
    return list(groups.values())


def _percent(row: Mapping[str, Any]) -> bool:
    """Whether the row's differences are in percent (perplexities) rather than in points."""
    return row["unit"] == "percent"


def _verdict(row: Mapping[str, Any], scale: float) -> dict[str, Any]:
    unit = "%" if _percent(row) else ""
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
        "difference": f"{number(middle, sign=True)}{unit}" if middle is not None else "\u2013",
        "interval": interval,
        "p": p_text(row["p_value"] if row["p_adjusted"] is None else row["p_adjusted"]),
        "adjusted": row["p_adjusted"] is not None,
        "floor": f"{score(row['metric'], row['floor'])} ({row['floor_kind']})"
        if row["floor"] is not None
        else "",
        "mde": number(row["mde_points"]) if row["mde_points"] is not None else "\u2013",
        "drawing": [round(60 + 56 * v / scale, 1) for v in (low, middle, high)]
        if known and not unit
        else None,
    }


def efficiency(record: Mapping[str, Any]) -> dict[str, Any]:
    """One profiling record as rows: medians with quartiles, time relative to the dense model."""
    results, measured = record["results"], record["measured"]
    widths = {width["run"]: width for width in results["widths"]}
    dense = {row["batch_size"]: row for row in measured["rows"] if row["run"].startswith("dense/")}
    rows = []
    for row in measured["rows"]:
        width, base = widths[row["run"]], dense.get(row["batch_size"])
        peak = row["peak_memory_bytes"]
        rows.append({
            "run": row["run"],
            "expansion_ratio": number(width["expansion_ratio"], 2),
            "batch_size": row["batch_size"],
            "ttft": f"{1000 * row['ttft_s']:.2f}",
            "ttft_range": _quartiles(row, "ttft_s"),
            "tpot": f"{1000 * row['tpot_s']:.2f}",
            "tpot_range": _quartiles(row, "tpot_s"),
            "relative": f"{row['tpot_s'] / base['tpot_s']:.2f}" if base else "no dense row",
            "tokens_per_s": number(row["tokens_per_s"], 0),
            "weights": number(width["weights_bytes"] / 1e6, 2),
            "peak": number(peak / 1e6, 1) if peak is not None else "not measurable here",
        })  # fmt: skip
    names = ("device", "prompt_tokens", "new_tokens")
    return {"key": record["key"], "rows": rows, **{name: results[name] for name in names}}


def _quartiles(row: Mapping[str, Any], name: str) -> str:
    return "\u2013".join(f"{1000 * row[end]:.2f}" for end in (f"{name}_q25", f"{name}_q75"))


def _width(results: Mapping[str, Any]) -> dict[str, Any]:
    (kind, asked), *_ = [(k, v) for k, v in results["requested"].items() if v is not None]
    ties = results["ties_at_cut"]
    return {
        "run": results["run"],
        "requested": f"{asked:g} removed" if kind == "pruning_ratio" else f"{asked:g}x",
        "kept": f"{results['intermediate_size']:,} of {results['intermediate_size_dense']:,}",
        "expansion_ratio": number(results["expansion_ratio"], 3),
        "removed": f"{number(100 * results['pruning_ratio'], 2)}%",
        "parameters": f"{results['parameters']:,}",
        "reduction": f"{number(100 * results['parameter_reduction'], 2)}%",
        "ties": sum(ties),
        "ties_in": f"in {sum(bool(t) for t in ties)} of {len(ties)} layers",
        "keep_sha256": results["keep_sha256"][:SHOWN_HASH],
    }


def criterion_formula(criterion: str) -> str | None:
    """What a packaged criterion computes, in the words of its own docstring; None for others."""
    source = Path(__file__).with_name("scores.py").read_text(encoding="utf-8")
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef) and node.name == criterion:
            return ast.get_docstring(node).partition("\nArgs:")[0].strip()
    return None


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


def _matrix(runs: Sequence[str], jobs: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    stages = list(dict.fromkeys(
        job["stage"] for job in jobs.values() if job["key"].rpartition("/")[0] in runs
    ))  # fmt: skip
    rows = [{"run": run, "cells": [jobs.get(f"{run}/{stage}") for stage in stages]} for run in runs]
    single = [job for job in jobs.values() if job["key"].rpartition("/")[0] not in runs]
    return {"stages": stages, "rows": rows, "single": single}


def downloads(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Tables and figures that records name, by name, with one link per format."""
    formats = {"csv", "tex", "png", "pdf"}
    groups: dict[str, dict[str, Any]] = {}
    for record in found.values():
        for file in record["files"]:
            folder, _, rest = file.partition("/")
            name, _, kind = rest.rpartition(".")
            if folder in ("tables", "figures") and kind in formats:
                entry = groups.setdefault(
                    name, {"name": name, "stage": record["stage"], "files": {}}
                )
                entry["files"][kind] = file
    return sorted(
        groups.values(), key=lambda entry: (entry["stage"] != "5_analysis", entry["name"])
    )


def provenance(found: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Where the records come from: each fact once, with how many records share it."""
    seen: dict[str, dict[str, int]] = {}
    for record in found.values():
        origin = record["provenance"]
        shown = {
            "ppmlib": f"{origin['ppmlib']}, commit {origin['commit']}"
            + (", with uncommitted changes" if origin["modified"] else ""),
            "Python": origin["python"],
            **origin["packages"],
            "system": origin["system"],
            "device": origin["device"],
            "CPU threads": str(origin["threads"]),
        }
        for name, value in shown.items():
            counts = seen.setdefault(name, {})
            counts[value] = counts.get(value, 0) + 1
    return [{"name": name, "values": list(counts.items()), "differs": len(counts) > 1}
            for name, counts in seen.items()]  # fmt: skip


def _record_row(record: Mapping[str, Any]) -> dict[str, str]:
    return {
        "key": record["key"],
        "fingerprint": record["fingerprint"],
        "sha256": record["sha256"],
        "written": record["written"],
    }
