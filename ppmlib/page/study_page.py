"""The content of a study's page, read from its records alone.

Numbers come from records, the list of jobs from the plan (`study.json`). What no record holds is
said to be missing, never guessed.
"""

import ast
import base64
import csv
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ppmlib.page import inert
from ppmlib.page import study_tables as tables
from ppmlib.record import evaluation_records, records
from ppmlib.record.evaluation_records import DENSE, REPEAT
from ppmlib.show.images import shown_width
from ppmlib.study_file.selection import selection_slug

LONGEST_ERROR = 1000  # characters of a failure shown on the page


def content(root: Path, plan: Mapping[str, Any]) -> dict[str, Any]:
    """Everything the template of the study's page shows.

    Args:
        root: the study's folder.
        plan: {study, synthetic, draft, jobs}, as `ppm run` writes it to `study.json`.
    Raises:
        KeyError: if a record lacks what its stage must hold.
    """
    study, runs = plan["study"], _runs(plan)
    found, jobs = _read_all(root, plan, runs)

    def of_stage(stage: str) -> list[dict[str, Any]]:
        return [record for record in found.values() if record["stage"] == stage]

    analysis = found["5_analysis"]["results"] if "5_analysis" in found else None
    profiling = of_stage("4_profiling")
    evaluated = [r for r in of_stage(evaluation_records.STAGE) if not r["key"].startswith(REPEAT)]
    drawn = analysis
    if not study["tasks"] and profiling:
        (drawn,) = [record["measured"] for record in profiling]
    return {
        "study": study,
        "synthetic": plan["synthetic"],
        "draft": plan["draft"],
        "jobs": jobs,
        "facts": facts(study, found, plan.get("engine_reason")),
        "analysis": analysis,
        "conclusions": conclusions(analysis) if analysis else [],
        "figure": main_figure(root, drawn) if drawn else None,
        "verdicts": tables.verdicts(analysis["verdicts"], study) if analysis else None,
        "efficiency": [tables.efficiency(record) for record in profiling],
        "widths": [record["results"] for record in of_stage("2_pruning")],
        "formula": criterion_formula(study["criterion"]),
        "tasks": tables.task_rows(study["tasks"], evaluated),
        "settings": tables.evaluation_settings(evaluated),
        "matrix": _matrix(runs, jobs),
        "downloads": downloads(found.values()),
        "provenance": provenance(found.values()),
        "records": list(found.values()),
    }


def _read_all(root: Path, plan: Mapping[str, Any], runs: Sequence[str]):
    """Verified records by key, and for every job of the plan its state with a link to its page."""

    def order(key: str) -> tuple[str, int]:
        run, _, stage = key.rpartition("/")
        return stage, runs.index(run) if run in runs else 0

    found, jobs = {}, []
    for key in sorted(plan["jobs"], key=order):
        note, state, detail = records.read_failure(root, key), "done", ""
        try:
            found[key] = records.read(root, key)
        except records.RecordError as error:
            state = "damaged" if records.record_path(root, key).exists() else "missing"
            detail = inert.scrub_text(str(error), folder=root) if state == "damaged" else "not run"
        if note and state != "done":
            where = f"cell {note['cell']}: " if note["cell"] is not None else ""
            state = "stopped" if note["interrupted"] else "failed"
            detail = _shorten_error(where + note["error"])
        name = f"{key}.failed.html" if state in ("failed", "stopped") else f"{key}.html"
        jobs.append(
            {
                "key": key,
                "stage": plan["jobs"][key]["stage"],
                "state": state,
                "detail": detail,
                "page": name if (root / name).exists() else None,
            }
        )
    return found, jobs


def _shorten_error(error: str) -> str:
    """A failure in a line or two; its log and its notebook hold the rest."""
    left_out = len(error) - LONGEST_ERROR
    text = inert.clean_text(inert.scrub_text(error[:LONGEST_ERROR]))
    return text + f" [{left_out:,} more characters are in the log]" * (left_out > 0)


def _runs(plan: Mapping[str, Any]) -> list[str]:
    """The study's runs: the dense model, its criterion, then the controls."""
    rank = {"dense": 0, selection_slug(plan["study"]["criterion"]): 1}
    of_runs = ("2_pruning", evaluation_records.STAGE)
    keys = {key.rpartition("/")[0] for key, job in plan["jobs"].items() if job["stage"] in of_runs}
    return sorted(keys, key=lambda run: (rank.get(run.split("/")[0], 2), run))


def facts(
    study: Mapping[str, Any], found: Mapping[str, Any], engine_reason: str | None
) -> list[tuple[str, str]]:
    """What was studied, in a few label-value pairs."""
    model = study["model"]
    revision = f" at revision {model['revision']}" if model["revision"] else ""
    name = model["id"].rstrip("/").rsplit("/", 1)[-1] if model["id"][0] in "./~" else model["id"]
    ratios = study["pruning_ratios"] or study["expansion_ratios"]
    what = "Pruning ratios" if study["pruning_ratios"] else "Expansion ratios"
    controls = [
        control["criterion"]
        + (f" (seeds {', '.join(map(str, control['seeds']))})" if control["seeds"] else "")
        for control in study["controls"]
    ]
    rows = [("Model", f"{name}{revision}, {model['dtype']}")]
    if any(record["results"].get("random_weights") for record in found.values()):
        rows += [("Weights", "random, of the shape named: for time and energy, nothing else")]
    rows += [
        ("Criterion", selection_slug(study["criterion"])),
        (what, ", ".join(f"{ratio:g}" for ratio in ratios) + ", and the dense model"),
    ]
    if not study["tasks"]:
        return [*rows, ("Evaluation", "none: a study of time, memory and energy")]
    rows += [("Controls", ", ".join(controls) or "none in this study")]
    if engine_reason:
        rows += [("Engine", f"lm-eval's own ({engine_reason})")]
    dense = {k: r for k, r in found.items() if k.startswith(evaluation_records.key(DENSE))}
    if dense:
        tasks = evaluation_records.join_parts(DENSE, dense)["results"]["tasks"]
        counts = [task["n"] for task in tasks.values()]
        rows += [("Evaluation", f"{len(counts)} tasks, {sum(counts):,} documents per width")]
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


def main_figure(root: Path, results: Mapping[str, Any]) -> dict[str, Any] | None:
    """The main figure with its alt text, embedded, and its numbers as rows of text."""
    entry = next((f for f in results["figures"] if f["name"] == results["main_figure"]), None)
    if entry is None:
        return None
    png = (root / "figures" / f"{entry['name']}.png").read_bytes()
    table = (root / "tables" / f"{entry['name']}.csv").read_text(encoding="utf-8")
    head, *rows = csv.reader(table.splitlines())
    return {
        **entry,
        "png": base64.b64encode(png).decode(),
        "width": shown_width(png),
        "head": [name.replace("_", " ") for name in head],
        "rows": [[_short(cell) for cell in row] for row in rows],
        "is_text": [any(_number(row[i]) is None for row in rows) for i in range(len(head))],
    }


def _number(cell: str) -> float | None:
    try:
        return float(cell or "nan")
    except ValueError:
        return None


def _short(cell: str) -> str:
    value = _number(cell)
    return cell if value is None or not cell else f"{value:.4g}".replace("-", "\u2212")


def criterion_formula(criterion: str) -> str | None:
    """What a packaged criterion computes, in the words of its own docstring; None for others."""
    source = (Path(__file__).parents[1] / "prune" / "scores.py").read_text(encoding="utf-8")
    for node in ast.parse(source).body:
        if isinstance(node, ast.FunctionDef) and node.name == criterion:
            return ast.get_docstring(node).partition("\nArgs:")[0].strip()
    return None


def _matrix(runs: Sequence[str], jobs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The jobs of every run by stage, and those of no run."""
    cells: dict[tuple[str, str], list] = {}
    single = []
    for job in jobs:
        run, _, last = job["key"].rpartition("/")
        if run in runs:
            cells.setdefault((run, job["stage"]), []).append((job, last.partition("-")[2]))
        else:
            single.append(job)
    stages = list(dict.fromkeys(stage for _, stage in cells))
    rows = [(run, [cells.get((run, stage), []) for stage in stages]) for run in runs]
    return {"stages": stages, "rows": rows, "single": single}


def downloads(found: Iterable[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Tables and figures that records name, by name, with one link per format."""
    groups: dict[str, dict[str, Any]] = {}
    for record in found:
        for file in record["files"]:
            folder, _, rest = file.partition("/")
            name, _, kind = rest.rpartition(".")
            if folder in ("tables", "figures") and kind in ("csv", "tex", "png", "pdf"):
                entry = {"name": name, "stage": record["stage"], "files": {}}
                groups.setdefault(name, entry)["files"][kind] = file
    return sorted(groups.values(), key=lambda entry: entry["name"])


def provenance(found: Iterable[Mapping[str, Any]]):
    """Where the records come from: each fact once, with how many records share it."""

    def describe(origin: Mapping[str, Any]) -> dict[str, str]:
        changed = ", with uncommitted changes" if origin["modified"] else ""
        return {
            "ppmlib": f"{origin['ppmlib']}, commit {origin['commit']}{changed}",
            "Python": origin["python"],
            **origin["packages"],
            "system": origin["system"],
            "device": origin["device"],
            "CPU threads": str(origin["threads"]),
        }

    return tables.count_values(describe(record["provenance"]) for record in found)
