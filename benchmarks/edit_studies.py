"""Edit a study file at random over finished records; each run must end like a fresh run of it.

    python benchmarks/edit_studies.py --edits 50 --seed 0

After every edit (a setting changed, a task added, removed or moved, a claim edited, split on or
off, sometimes the folder replaced by a clone of itself) `ppm run` is compared with a fresh run of
the same file: the same records, results and outcomes per document; nothing left to do; `ppm verify`
clean. Prints a line per edit and one JSON line; exit status 1 if anything differs. Folders that
differ are kept.
"""

import argparse
import copy
import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

from ppmlib.record import records
from ppmlib.study_file.params import ParamsError, Study

FILE = "edited.yaml"
KNOWLEDGE = {"name": "bench_knowledge", "num_fewshot": 0, "metric": "acc", "axis": "knowledge"}
TASKS = [
    {"name": "bench_text", "num_fewshot": 0, "metric": "word_perplexity", "axis": "language"},
    {
        "name": "bench_instructions",
        "num_fewshot": 0,
        "metric": "prompt_level_strict_acc",
        "axis": "instruction",
    },
    {"name": "bench_arithmetic", "num_fewshot": 0, "metric": "exact_match", "axis": "mathematics"},
]
STUDY = {
    "study": "edited",
    "model": {"id": "bench-small"},
    "pruning_ratios": [0.5],
    "tasks": [KNOWLEDGE, TASKS[0]],
    "subset": {"n": 8, "seed": 0},
    "batch_size": 8,
}
RANDOM = {"criterion": "random", "seeds": [0], "pruning_ratios": [0.5]}


def toggle(study: dict, name: str, value) -> None:
    """Give a key its value, or take the key away where it is there."""
    if study.pop(name, None) is None:
        study[name] = value


def move_task(study: dict, rng: random.Random) -> None:
    rng.shuffle(study["tasks"])


def add_task(study: dict, rng: random.Random) -> None:
    study["tasks"].insert(rng.randrange(len(study["tasks"]) + 1), rng.choice(TASKS))


def remove_task(study: dict, rng: random.Random) -> None:
    study["tasks"].remove(rng.choice(study["tasks"]))


def other_metric(study: dict, rng: random.Random) -> None:
    task = next(task for task in study["tasks"] if task["name"] == KNOWLEDGE["name"])
    task["metric"] = "acc_norm" if task["metric"] == "acc" else "acc"


def edit_claims(study: dict, rng: random.Random) -> None:
    claim = {
        "task": rng.choice(study["tasks"])["name"],
        "pruning_ratio": rng.choice(study["pruning_ratios"]),
        "direction": rng.choice(["worse", "equivalent"]),
        "margin_points": rng.choice([1.0, 5.0]),
    }
    study["claims"] = rng.choice([[], [claim]])


EDITS = {
    "split": lambda study, rng: toggle(study, "split_evaluation", True),
    "batch size": lambda study, rng: study.update(batch_size=rng.choice([2, 4, 8])),
    "engine": lambda study, rng: toggle(study, "engine", "fast"),
    "BOS": lambda study, rng: toggle(study, "add_bos_token", False),
    "documents": lambda study, rng: study.update(subset={"n": rng.choice([6, 8]), "seed": 0}),
    "ratios": lambda study, rng: study.update(
        pruning_ratios=rng.choice([[0.5], [0.2, 0.5], [0.5, 0.2], [0.2]])
    ),
    "multiple": lambda study, rng: toggle(study, "keep_multiple_of", 8),
    "floors": lambda study, rng: toggle(study, "floors", rng.choice([["permuted"], ["uniform"]])),
    "controls": lambda study, rng: toggle(study, "controls", [copy.deepcopy(RANDOM)]),
    "repeat": lambda study, rng: toggle(study, "aa_batch_size", 1),
    "question": lambda study, rng: toggle(study, "question", "What remains?"),
    "bootstrap": lambda study, rng: toggle(study, "seeds", {"bootstrap": 7}),
    "length": lambda study, rng: toggle(study, "max_length", 256),
    "new tokens": lambda study, rng: toggle(study, "generation", {"max_gen_toks": 12}),
    "claims": edit_claims,
    "metric": other_metric,
    "move task": move_task,
    "add task": add_task,
    "remove task": remove_task,
}


def edited(study: dict, rng: random.Random, folder: Path) -> tuple[str, dict]:
    """A study after one random edit that leaves it valid, and the edit's name."""
    while True:
        name, changed = rng.choice(list(EDITS)), copy.deepcopy(study)
        try:
            EDITS[name](changed, rng)
            write(folder, changed)
            Study.load(folder / FILE)
        except (ParamsError, ValueError, StopIteration):
            continue
        if changed != study:
            return name, changed


def write(folder: Path, study: dict) -> None:
    """Write the study file."""
    (folder / FILE).write_text(yaml.safe_dump(study, sort_keys=False))


def run(folder: Path, *options: str) -> subprocess.CompletedProcess:
    """`ppm run` of the study in a folder."""
    command = [sys.executable, "-m", "ppmlib.cli", "run", FILE, *options]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


def clone(folder: Path) -> None:
    """Replace a study's folder by a copy with neither hidden files nor file times."""
    other = folder.with_name(f"{folder.name}-clone")
    ignored = shutil.ignore_patterns(".*", "logs")
    shutil.copytree(folder, other, ignore=ignored, copy_function=shutil.copyfile)
    shutil.rmtree(folder)
    other.rename(folder)


def numbers(root: Path) -> dict:
    """What must be equal: of every record of the plan its inputs, results and documents' hashes."""
    found = {}
    for key in records.present_keys(root):
        record = records.read(root, key)
        tables = {n: sha for n, sha in record["files"].items() if n.endswith(".parquet")}
        found[key] = (record["fingerprint"], record["results"], tables)
    return found


def trouble(folder: Path, fresh: Path) -> list[str]:
    """What differs between an edited study's record and that of a fresh run; empty if nothing."""
    root = folder / "reports/edited"
    mine, theirs = numbers(root), numbers(fresh / "reports/edited")
    lines = [f"{key}: only in one" for key in sorted(set(mine) ^ set(theirs))]
    for key in sorted(set(mine) & set(theirs)):
        what = ("fingerprint", "results", "documents")
        pairs = zip(what, mine[key], theirs[key], strict=True)
        lines += [f"{key}: {name} differ" for name, a, b in pairs if a != b]
    lines += records.verify(root)
    again = run(folder, "-n")
    lines += [line for line in again.stderr.splitlines() if line.startswith("would ")]
    return lines


def attempt(folder: Path, study: dict, fresh: Path) -> list[str]:
    """Run the edited file over the records there are, and afresh; what is wrong."""
    write(folder, study)
    done = run(folder)
    if done.returncode:
        return [f"exit {done.returncode}: {done.stderr}"]
    shutil.rmtree(fresh, ignore_errors=True)
    fresh.mkdir()
    write(fresh, study)
    done = run(fresh)
    if done.returncode:
        return [f"fresh: exit {done.returncode}: {done.stderr}"]
    return trouble(folder, fresh)


def main() -> None:
    """Edit, run, compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--edits", type=int, default=50)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    rng, study, wrong = random.Random(arguments.seed), copy.deepcopy(STUDY), []
    base = Path(tempfile.mkdtemp(prefix="edited-"))
    folder = base / "study"
    folder.mkdir()
    started = time.perf_counter()
    wrong += attempt(folder, study, base / "fresh")
    for number in range(1, arguments.edits + 1):
        name, study = edited(study, rng, folder)
        cloned = rng.random() < 0.2
        if cloned:
            clone(folder)
        lines = attempt(folder, study, base / "fresh")
        print(f"{number:3d} {name}{', cloned' * cloned}: {'; '.join(lines) or 'equal'}", flush=True)
        if lines:
            wrong += lines
            shutil.copytree(folder, base / f"differs-{number}", symlinks=True)
    summary = {"edits": arguments.edits, "seed": arguments.seed, "wrong": len(wrong)}
    print(json.dumps(summary | {"wall_s": round(time.perf_counter() - started)}))
    if wrong:
        sys.exit(f"kept: {base}")
    shutil.rmtree(base)


if __name__ == "__main__":
    main()
