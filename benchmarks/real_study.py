"""lm-eval's own tasks on real documents through `ppm` and through plain lm-eval, offline.

    python benchmarks/real_study.py SOURCE OUT [--cores 2]

1. OUT/root is laid out as a data root from SOURCE, see `real_documents`.
2. `ppm check`, `ppm run` (ifeval, gsm8k, arc_challenge, MUSR; dense and 10 to 60%; all documents
   that there are) and `ppm verify`, each in a separate network namespace without an interface.
3. `ppm export` of the 40% width, then the plain `lm_eval` command line on it, in the same batches:
   every metric and standard error, and every response, held against the study's.

Prints what `ppm` says, a line per comparison, and one JSON line; exit status 1 if a number differs.
IFEval's metrics are compared by document: lm-eval's command line draws the letter that document 22
leaves open by the state it is in, and langdetect's guesses are not seeded there. Linux only.
"""

import argparse
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pandas as pd
import yaml
from real_documents import STUDY, TASKS, lay_out

RATIO = 0.4
NO_NETWORK = ("unshare", "--map-root-user", "--net")
OFFLINE = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}


def run(words, folder: Path, **environment: str) -> float:
    """Run a command without a network; the seconds it took. SystemExit if it fails."""
    print("$", *words, flush=True)
    began = time.perf_counter()
    clean = {**os.environ, "HF_HOME": str(folder / "home"), **environment}
    done = subprocess.run([*NO_NETWORK, *map(str, words)], cwd=folder, env=clean, check=False)
    if done.returncode:
        raise SystemExit(f"exit status {done.returncode}")
    return time.perf_counter() - began


def ppm(*arguments) -> list[str]:
    """The `ppm` command line."""
    return [sys.executable, "-m", "ppmlib.cli", *map(str, arguments)]


def plain_lm_eval(
    task: dict[str, Any],
    model: Path,
    root: Path,
    out: Path,
    *,
    batch_size: int,
    max_gen_toks: int,
    documents: list[int] | None = None,
) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Results and samples of the `lm_eval` command line, which finds clones where it works.

    Args:
        task: a task of a study.
        model: an exported checkpoint.
        root: a data root.
        out: a new folder for what lm-eval writes.
        documents: positions of those to evaluate; None is all. Not for a group.
    """
    generates = task["name"] in ("ifeval", "gsm8k")
    words = [
        *(sys.executable, "-m", "lm_eval", "run", "--model", "hf"),
        *("--model_args", f"pretrained={model},dtype=float32,add_bos_token=True"),
        *("--device", "cpu", "--batch_size", str(batch_size)),
        *("--tasks", task["name"], "--num_fewshot", str(task["num_fewshot"])),
        *("--seed", "0,1234,1234,1234", "--output_path", out, "--log_samples"),
        *(("--samples", json.dumps({task["name"]: documents})) if documents else ()),
        *(("--gen_kwargs", f"max_gen_toks={max_gen_toks}") if generates else ()),
    ]
    subprocess.run(
        list(map(str, words)),
        cwd=root / "datasets",
        env={**os.environ, **OFFLINE, "NLTK_DATA": str(root / "nltk_data")},
        check=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    (file,) = out.rglob("results_*.json")
    logged = [
        json.loads(line)
        for samples in sorted(out.rglob("samples_*.jsonl"))
        for line in samples.read_text().splitlines()
    ]
    return json.loads(file.read_text())["results"], logged


def differences(name: str, rows: list[dict], theirs: dict[str, Any]) -> tuple[int, list[str]]:
    """How many numbers of a task were compared, and a line for each that differs."""
    known = {key for key in theirs[name] if "," in key and "_stderr" not in key}
    ours = {f"{row['metric']},{row['filter']}": row for row in rows if row["task"] == name}
    lines = [f"{name}: {key} is only in one of them" for key in known ^ set(ours)]
    compared = 0
    for key in sorted(known & set(ours)):
        metric, _, filter_key = key.partition(",")
        stderr = theirs[name].get(f"{metric}_stderr,{filter_key}", "N/A")
        pairs = [(key, ours[key]["value"], theirs[name][key])]
        pairs += [] if stderr == "N/A" else [(f"{key} stderr", ours[key]["stderr"], stderr)]
        compared += len(pairs)
        lines += [f"{name}: {what}: {a} here, {b} there" for what, a, b in pairs if a != b]
    return compared, lines


def compare(root: Path, report: Path, exported: Path, out: Path) -> tuple[int, list[str]]:
    """Every number of the study at RATIO against plain lm-eval's."""
    key = f"ppm/r{RATIO:.2f}"
    record = json.loads((report / "records" / key / "3_evaluation.json").read_text())
    rows = [row for row in record["results"]["rows"] if row["source"] == "model"]
    compared, wrong = 0, []
    for task in TASKS:
        name = task["name"]
        theirs, logged = plain_lm_eval(
            task, exported, root, out / name,
            batch_size=STUDY["batch_size"], max_gen_toks=STUDY["generation"]["max_gen_toks"],
        )  # fmt: skip
        table = pd.read_parquet(report / "samples" / key / f"{name}.parquet").set_index("doc_id")
        found, lines = 0, []
        for scored in theirs:
            count, differing = differences(scored, rows, theirs)
            found, lines = found + count, lines + differing
        if name == "ifeval":
            metric = "prompt_level_strict_acc"
            there = {entry["doc_id"]: float(entry[metric]) for entry in logged}
            off = [i for i, value in table[f"{metric},none"].items() if value != there[i]]
            print(f"ifeval: documents scored otherwise: {off}; {lines or 'metrics equal'}")
            found, lines = len(table), [f"ifeval: document {i}" for i in off if i != 22]
        if "response" in table:
            responses = {entry["doc_id"]: entry["resps"][0][0] for entry in logged}
            off = [i for i, text in table["response"].items() if text != responses[i]]
            found, lines = found + len(table), lines + [f"{name}: response {i}" for i in off]
        print(f"{name}: {len(table)} documents, {found} numbers or responses compared, "
              f"{len(lines)} differ", flush=True)  # fmt: skip
        compared, wrong = compared + found, wrong + lines
    return compared, wrong


def main() -> None:
    """Lay out, check, run, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("source", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--cores", type=int, default=2)
    asked = parser.parse_args()
    out = asked.out.resolve()
    out.mkdir(parents=True)
    root = lay_out(asked.source.resolve(), out / "root")
    (out / "real.yaml").write_text(yaml.safe_dump(STUDY))
    report, data = out / "reports" / STUDY["study"], ("--data-root", root)
    check_s = run(ppm("check", "real.yaml", *data), out)
    run_s = run(ppm("run", "real.yaml", *data, "--cores", asked.cores), out)
    run(ppm("verify", report), out)
    run(ppm("export", "real.yaml", "--ratio", RATIO, "--out", out / "exported"), out)
    compared, wrong = compare(root, report, out / "exported", out / "lm-eval")
    evaluations = report.glob("records/*/*/3_evaluation*.json")
    tables = [json.loads(path.read_text())["results"]["tasks"] for path in evaluations]
    documents = sum(task["n"] for tasks in tables for task in tasks.values())
    print(*wrong, sep="\n")
    print(json.dumps({"check_s": round(check_s, 1), "run_s": round(run_s, 1),
                      "widths": len(tables), "documents": documents,
                      "compared": compared, "differ": len(wrong)}))  # fmt: skip
    raise SystemExit(bool(wrong))


if __name__ == "__main__":
    main()
