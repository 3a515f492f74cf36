"""The content of a study's index page, read from its records alone: tables as plain rows.

Numbers come from records, the list of jobs from the plan (`study.json`). What no record holds is
said to be missing, never guessed.
"""

import ast
import base64
import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ppmlib.page import inert
from ppmlib.page import study_tables as tables
from ppmlib.record import evaluation_records, records
from ppmlib.record.evaluation_records import DENSE, REPEAT
from ppmlib.show.images import shown_width
from ppmlib.study_file.selection import selection_slug

SHOWN_FIRST = 5  # sentences above the main figure: what fell, held and rose
LONGEST_ERROR = 1000  # characters of a failure shown on the page


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
    evaluations = {
        k: r
        for k, r in found.items()
        if r["stage"] == evaluation_records.STAGE and not k.startswith(REPEAT)
    }
    times = [tables.efficiency(record) for record in profiling.values()]
    drawn = analysis["results"] if analysis else None
    if not study["tasks"] and profiling:
        (drawn,) = [record["measured"] for record in profiling.values()]
    return {
        "study": study,
        "evaluated": bool(study["tasks"]),
        "title": study["study"],
        "synthetic": plan["synthetic"],
        "draft": plan["draft"],
        "jobs": jobs,
        "unfinished": [job for job in jobs if job["state"] != "done"],
        "facts": facts(study, found),
        "analysis": analysis["results"] if analysis else None,
        "conclusions": conclusions(analysis["results"]) if analysis else [],
        "shown_first": SHOWN_FIRST,
        "figure": main_figure(root, drawn) if drawn else None,
        "instrument": instrument(analysis["results"]) if analysis else [],
        "claims": [tables.claim(row) for row in analysis["results"]["claims"]] if analysis else [],
        "verdicts": tables.verdicts(analysis["results"]["verdicts"], study) if analysis else None,
        "efficiency": times,
        "widths": [tables.width(r["results"]) for r in found.values() if r["stage"] == "2_pruning"],
        "formula": criterion_formula(study["criterion"]),
        "tasks": tables.task_rows(study["tasks"], evaluations),
        "settings": tables.evaluation_settings(evaluations),
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
        note = records.read_failure(root, key)
        state, detail = "done", ""
        try:
            found[key] = records.read(root, key)
        except records.RecordError as error:
            state = "damaged" if records.record_path(root, key).exists() else "missing"
            detail = inert.scrub_text(str(error), folder=root) if state == "damaged" else "not run"
        if note and state != "done":
            where = f"cell {note['cell']}: " if note["cell"] is not None else ""
            state = "stopped" if note["interrupted"] else "failed"
            detail = _why(where + note["error"])
        name = f"{key}.failed.html" if state in ("failed", "stopped") else f"{key}.html"
        page = name if (root / name).exists() else None
        jobs.append({"key": key, "stage": job["stage"], "state": state, "detail": detail,
                     "page": page})  # fmt: skip
    return found, jobs


def _why(error: str) -> str:
    """A failure in a line or two; its log and its notebook hold the rest."""
    left_out = len(error) - LONGEST_ERROR
    text = inert.clean_text(inert.scrub_text(error[:LONGEST_ERROR]))
    return text + f" [{left_out:,} more characters are in the log]" * (left_out > 0)


def _runs(plan: Mapping[str, Any]) -> list[str]:
    """The study's runs: the dense model, its criterion, then the controls."""
    main = selection_slug(plan["study"]["criterion"])
    keys = {key.rpartition("/")[0] for key, job in plan["jobs"].items()
            if job["stage"] in ("2_pruning", "3_evaluation")}  # fmt: skip
    rank = {"dense": 0, main: 1}
    return sorted(keys, key=lambda run: (rank.get(run.split("/")[0], 2), run))


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
    if any(record["results"].get("random_weights") for record in found.values()):
        rows.insert(1, ("Weights", "random, of the shape named: for time and energy, nothing else"))
    if not study["tasks"]:
        return [*rows[:-1], ("Evaluation", "none: a study of time, memory and energy")]
    dense = {k: r for k, r in found.items() if k.startswith(evaluation_records.key(DENSE))}
    if dense:
        tasks = evaluation_records.together(DENSE, dense)["results"]["tasks"]
        counts = [task["n"] for task in tasks.values()]
        rows.append(("Evaluation", f"{len(counts)} tasks, {sum(counts):,} documents per width"))
    return rows


def conclusions(results: Mapping[str, Any]) -> list[str]:
    """The computed sentences, less those of claims and planted truths: these have sections."""
    claims = {claim["sentence"] for claim in results["claims"]}
    planted = tuple(f"Planted {row['expected']} ({row['task']}): " for row in results["planted"])
    return [
        sentence
        for sentence in results["conclusions"]
        if sentence not in claims and not sentence.startswith(planted)
    ]


def instrument(results: Mapping[str, Any]) -> list[tuple[str, str, bool]]:
    """How many declared claims hold and planted truths were found: (sentence, anchor, all)."""
    lines = []
    claims, planted = results["claims"], results["planted"]
    if claims:
        hold = sum(row["holds"] is True for row in claims)
        lines.append((f"Of {len(claims)} claims declared before evaluation, {hold} hold.",
                      "claims", True))  # fmt: skip
    if planted:
        held = sum(row["held"] for row in planted)
        text = f"Of {len(planted)} truths planted in the model, {held} were found as declared."
        lines.append((text, "planted", held == len(planted)))
    return lines


def main_figure(root: Path, results: Mapping[str, Any]) -> dict[str, Any] | None:
    """The main figure with its alt text, embedded, and its numbers as rows of text."""
    for entry in results["figures"]:
        if entry["name"] == results["main_figure"]:
            png = (root / "figures" / f"{entry['name']}.png").read_bytes()
            table = (root / "tables" / f"{entry['name']}.csv").read_text(encoding="utf-8")
            head, *rows = csv.reader(table.splitlines())
            head = [name.replace("_", " ") for name in head]
            is_text = [any(_number(row[i]) is None for row in rows) for i in range(len(head))]
            rows = [[_short(cell) for cell in row] for row in rows]
            picture = base64.b64encode(png).decode()
            return {**entry, "png": picture, "width": shown_width(png),
                    "head": head, "rows": rows, "is_text": is_text}  # fmt: skip
    return None


def _number(cell: str) -> float | None:
    try:
        return float(cell or "nan")
    except ValueError:
        return None


def _short(cell: str) -> str:
    value = _number(cell)
    if value is None or not cell:
        return cell
    return f"{value:.4g}".replace("-", tables.MINUS)


def criterion_formula(criterion: str) -> str | None:
    """What a packaged criterion computes, in the words of its own docstring; None for others."""
    source = (Path(__file__).parents[1] / "prune" / "scores.py").read_text(encoding="utf-8")
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef) and node.name == criterion:
            return ast.get_docstring(node).partition("\nArgs:")[0].strip()
    return None


def _matrix(runs: Sequence[str], jobs: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    cells: dict[tuple[str, str], list] = {}
    for key, job in jobs.items():
        run, _, last = key.rpartition("/")
        part = last.partition("-")[2] or None
        cells.setdefault((run, job["stage"]), []).append({"job": job, "part": part})
    stages = list(dict.fromkeys(stage for run, stage in cells if run in runs))
    rows = [{"run": run, "cells": [cells.get((run, stage), []) for stage in stages]}
            for run in runs]  # fmt: skip
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
