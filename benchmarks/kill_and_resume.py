"""Kill a study with -9 at random moments, resume it, and compare its numbers with a quiet run's.

    python benchmarks/kill_and_resume.py --engine-kills 20 --kernel-kills 10

A study is killed up to four times, then run to its end: its numbers must be those of the quiet run,
`ppm verify` must find nothing, no temporary file may be left. Prints a table (records: finished at
the kill; idle after: seconds until no process worked in the study's folder) and one JSON line; exit
status 1 if a process went on computing or a study differs. Studies that differ are kept.
"""

import argparse
import contextlib
import functools
import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import yaml

from ppmlib.record import records

STUDY = {
    "study": "killed",
    "model": {"id": "bench-small"},
    "pruning_ratios": [0.3, 0.6],
    "floors": ["permuted"],
    "tasks": [
        {"name": "bench_knowledge", "num_fewshot": 0, "metric": "acc", "axis": "knowledge"},
        {
            "name": "bench_arithmetic",
            "num_fewshot": 0,
            "metric": "exact_match",
            "axis": "mathematics",
        },
    ],
    "subset": {"n": 60, "seed": 0},
    "batch_size": 16,
    "profiling": {"prompt_tokens": 8, "new_tokens": 4, "batch_sizes": [1], "repeats": 2},
}
GRACE_S = 10.0
LIMIT_S = 900.0  # a run that takes longer hangs


def start(folder: Path) -> subprocess.Popen:
    """`ppm run` of the study in a folder, its output kept in ppm.log."""
    command = [sys.executable, "-m", "ppmlib.cli", "run", "killed.yaml"]
    with open(folder / "ppm.log", "a") as log:
        return subprocess.Popen(command, cwd=folder, stdout=log, stderr=log, start_new_session=True)


def processes_in(folder: Path) -> list[psutil.Process]:
    """Processes that work inside a folder."""
    found = []
    for process in psutil.process_iter():
        try:
            if Path(process.cwd()).is_relative_to(folder) and process.status() != "zombie":
                found.append(process)
        except (psutil.NoSuchProcess, psutil.AccessDenied, psutil.ZombieProcess):
            continue
    return found


def kernels_in(folder: Path) -> list[psutil.Process]:
    """Kernels that work inside a folder."""
    found = []
    for process in processes_in(folder):
        with contextlib.suppress(psutil.NoSuchProcess):
            if "ppmlib.workflow.kernel" in process.cmdline():
                found.append(process)
    return found


def numbers(root: Path) -> dict:
    """Every record's fingerprint and results; measured time is not a number of the study."""
    found = {}
    for path in sorted((root / "records").rglob("*.json")):
        record = json.loads(path.read_text())
        found[record["key"]] = (record["fingerprint"], record["results"])
    return found


def fresh(base: Path, name: str) -> Path:
    """A new folder that holds only the study file."""
    folder = base / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    (folder / "killed.yaml").write_text(yaml.safe_dump(STUDY))
    return folder


def wait_until_idle(folder: Path) -> float | None:
    """Seconds until no process works in the folder, or None if some still do after the grace."""
    started = time.perf_counter()
    while time.perf_counter() - started < GRACE_S:
        if not processes_in(folder):
            return time.perf_counter() - started
        time.sleep(0.1)
    return None


def kill_one(
    begin: Callable[[], subprocess.Popen], folder: Path, what: str, now: Callable[[], bool]
) -> tuple[str, float | None]:
    """Start or resume a study, kill the engine or a kernel when it is time.

    Args:
        now: asked all the time; a kernel is killed when there is one, from then on.
    Returns:
        what happened, and the seconds until nothing worked in the folder any more (None: still).
    """
    run = begin()
    outcome = "finished before the kill"
    while run.poll() is None:
        if now() and what == "engine":
            run.kill()
            outcome = "killed"
        elif now() and (kernels := kernels_in(folder)):
            kernels[0].kill()
            outcome = "killed"
        if outcome == "killed":
            break
        time.sleep(0.02)
    run.communicate()
    return outcome, wait_until_idle(folder)


def unsound(root: Path, expected: dict) -> str:
    """What is wrong with a report that was run to its end; empty if nothing is."""
    if numbers(root) != expected:
        return "other numbers"
    if problems := records.verify(root):
        return f"verify: {problems[0]}"
    left = [path.name for path in root.rglob("*") if path.suffix == ".tmp"]
    return f"left behind: {left[0]}" if left else ""


def main() -> int:
    """Run all kills; returns the exit status."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--engine-kills", type=int, default=20)
    parser.add_argument("--kernel-kills", type=int, default=10)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    rng = random.Random(arguments.seed)
    base = Path(tempfile.mkdtemp(prefix="ppm-kills-")).resolve()

    quiet = fresh(base, "quiet")
    started = time.perf_counter()
    if start(quiet).wait(LIMIT_S):
        print((quiet / "ppm.log").read_text())
        return 1
    whole_s = time.perf_counter() - started
    expected = numbers(quiet / "reports" / STUDY["study"])
    print(f"uninterrupted: {whole_s:.1f} s, {len(expected)} records")
    print(f"{'kill':>4} {'study':>5}  {'killed':6} {'at':>7}  {'records':>7}  {'idle after':>10}")

    left = {"engine": arguments.engine_kills, "kernel": arguments.kernel_kills}
    orphans = studies = kills = 0
    wrong = []
    while sum(left.values()):
        folder = fresh(base, f"killed-{studies}")
        studies += 1
        for _ in range(4):  # as many in a study as there are thirds of it, and one more
            what = rng.choice([name for name, count in left.items() if count] or ["none"])
            if what == "none":
                break
            moment = rng.uniform(0.5, whole_s / 3)
            due = time.perf_counter() + moment
            outcome, idle = kill_one(
                functools.partial(start, folder),
                folder,
                what,
                functools.partial(lambda due: time.perf_counter() > due, due),
            )
            orphans += idle is None
            if outcome == "killed":
                left[what] -= 1
                kills += 1
                finished = len(list(folder.glob("reports/*/records/**/*.json")))
                ended = "STILL THERE" if idle is None else f"{idle:.1f} s"
                row = f"{kills:4d} {studies:5d}  {what:6} {moment:5.1f} s  {finished:7d}"
                print(f"{row}  {ended:>10}", flush=True)
        failed = start(folder).wait(LIMIT_S)
        trouble = (
            f"exit status {failed}"
            if failed
            else unsound(folder / "reports" / STUDY["study"], expected)
        )
        wrong += [trouble] if trouble else []
        print(f"     {studies:5d}  resumed to its end: {trouble or 'equal, verified'}", flush=True)
        if not trouble:
            shutil.rmtree(folder)
    if not wrong:
        shutil.rmtree(base)
    summary = {
        "engine_kills": arguments.engine_kills,
        "kernel_kills": arguments.kernel_kills,
        "studies": studies,
        "uninterrupted_s": round(whole_s, 1),
        "still_computing": orphans,
        "studies_that_differ": len(wrong),
    }
    print(json.dumps(summary))
    return int(bool(orphans or wrong))


if __name__ == "__main__":
    sys.exit(main())
