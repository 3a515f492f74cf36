"""The bench study, split, on Slurm: jobs and GPUs watched, a job cancelled, the controller killed.

    benchmarks/slurm_toy.sh up; python benchmarks/slurm_study.py; benchmarks/slurm_toy.sh down

1. `ppm run --profile slurm` starts; the first evaluation that runs is cancelled with scancel.
2. When another evaluation is done, `ppm` and its Snakemake are killed with -9; the Slurm
   jobs go on.
3. The same command again, to its end; `ppm verify`; every record is there.
4. The same study by `ppm run` without Slurm: the same numbers in every record.

All the while it is noted which jobs hold which GPU: two at once on one is a failure. Prints what it
sees and one JSON line; exit status 1 if anything is not as it should be.
"""

import argparse
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

import yaml

from ppmlib.workflow import rerun

STUDY = {
    "extends": "bench.yaml",
    "study": "on-slurm",
    "split_evaluation": True,
    "limits": {"notebook_minutes": 20, "memory_mb": 1500},
}
OPTIONS = (
    "--profile slurm --slurm-status-command squeue --slurm-no-account --jobs 4 "
    "--slurm-init-seconds-before-status-checks 3 --seconds-between-status-checks 3 "
    "--default-resources slurm_partition=main"
).split()
LONGEST_S = 1800
BENCH = Path(__file__).parent.parent / "params" / "bench.yaml"


def slurm_jobs() -> list[dict[str, str]]:
    """Every job Slurm still knows: its fields as `scontrol` shows them."""
    shown = subprocess.run(
        ["scontrol", "-d", "-o", "show", "job"], capture_output=True, text=True, check=True
    ).stdout
    return [
        dict(re.findall(r"(\S+?)=(\S*)", line)) for line in shown.splitlines() if "JobId=" in line
    ]


def gpus_of(job: dict[str, str]) -> set[tuple[str, str]]:
    """(node, index) of the GPUs a job holds, from `GRES=gpu:1(IDX:0)`."""
    found = re.search(r"IDX:([\d,-]+)", job.get("GRES", ""))
    return {(job["Nodes"], index) for index in found[1].split(",")} if found else set()


class Watch:
    """What was seen of Slurm's jobs: GPUs in use, and any GPU in use twice."""

    def __init__(self) -> None:
        self.twice: list[tuple] = []
        self.used: set[tuple[str, str]] = set()
        self.most_at_once = 0

    def look(self) -> list[dict[str, str]]:
        """Note the running jobs; returns all jobs."""
        jobs = slurm_jobs()
        holders: dict[tuple[str, str], list[str]] = {}
        for job in jobs:
            if job["JobState"] == "RUNNING":
                for gpu in gpus_of(job):
                    holders.setdefault(gpu, []).append(job["JobId"])
        self.twice += [(gpu, ids) for gpu, ids in holders.items() if len(ids) > 1]
        self.used |= set(holders)
        self.most_at_once = max(self.most_at_once, len(holders))
        return jobs


def start(folder: Path, options: Sequence[str] = ()) -> subprocess.Popen:
    """`ppm run` of the study in a folder, in a separate process group."""
    command = [sys.executable, "-m", "ppmlib.cli", "run", "study.yaml", *options]
    return subprocess.Popen(command, cwd=folder, start_new_session=True)


def lay_out(folder: Path, widths: Sequence[float]) -> Path:
    """Write the study into a folder; returns where its report will be."""
    folder.mkdir()
    shutil.copyfile(BENCH, folder / "bench.yaml")
    study = STUDY | ({"pruning_ratios": list(widths)} if widths else {})
    (folder / "study.yaml").write_text(yaml.safe_dump(study))
    return folder / "reports" / STUDY["study"]


def records_of(root: Path) -> set[str]:
    """Keys of the evaluation records that are there."""
    return {p.stem for p in root.rglob("records/*/*/3_evaluation-*.json")}


def evaluations(jobs: list[dict[str, str]]) -> list[dict[str, str]]:
    """Running jobs that hold a GPU: the evaluations."""
    return [job for job in jobs if job["JobState"] == "RUNNING" and gpus_of(job)]


def wait(watch: Watch, until, what: str):
    """Look every second until `until(jobs)` is true; its value."""
    started = time.monotonic()
    while time.monotonic() - started < LONGEST_S:
        found = until(watch.look())
        if found:
            return found
        time.sleep(1)
    raise SystemExit(f"{what}: not seen within {LONGEST_S} s")


def descendants(pid: int) -> list[int]:
    """A process and all below it, from /proc."""
    below: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            text = stat.read_text()
        except OSError:  # it has just ended
            continue
        below.setdefault(int(text.rpartition(")")[2].split()[1]), []).append(int(stat.parent.name))
    found = [pid]
    for one in found:
        found += below.get(one, [])
    return found


def main() -> None:
    """Run, disturb, resume, report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--widths", type=float, nargs="*", help="instead of all of bench.yaml")
    asked = parser.parse_args()
    watch, began = Watch(), time.monotonic()
    with tempfile.TemporaryDirectory(prefix="ppm-slurm-") as name:
        folder = Path(name) / "slurm"
        root = lay_out(folder, asked.widths)
        first = start(folder, OPTIONS)
        (job, *_) = wait(watch, evaluations, "an evaluation on Slurm")
        subprocess.run(["scancel", job["JobId"]], check=True)
        print(f"cancelled job {job['JobId']} on {gpus_of(job)}", flush=True)
        wait(watch, lambda jobs: records_of(root), "a finished evaluation")
        for pid in reversed(descendants(first.pid)):
            os.kill(pid, signal.SIGKILL)
        first.wait()
        left = [job["JobId"] for job in slurm_jobs() if job["JobState"] in ("RUNNING", "PENDING")]
        before = records_of(root)
        print(f"killed ppm and Snakemake; {len(before)} evaluations done, {len(left)} jobs go on",
              flush=True)  # fmt: skip
        wait(watch, lambda jobs: not [j for j in jobs if j["JobState"] == "RUNNING"], "the rest")
        kept = {p: p.stat().st_mtime_ns for p in root.rglob("records/*/*/3_evaluation-*.json")}
        second = start(folder, OPTIONS)
        wait(watch, lambda jobs: second.poll() is not None, "the resumed run's end")
        again = [p.name for p, stamp in kept.items() if p.stat().st_mtime_ns != stamp]
        verified = subprocess.run(
            [sys.executable, "-m", "ppmlib.cli", "verify", str(root)], cwd=folder, check=False
        )
        jobs = json.loads((root / "study.json").read_text())["jobs"]
        missing = [key for key in jobs if not (root / "records" / f"{key}.json").exists()]
        wall_s = round(time.monotonic() - began)
        here = lay_out(Path(name) / "here", asked.widths)
        start(Path(name) / "here").wait()
        differing = [line for key in jobs for line in rerun.compare(root, here, key)]
    seen = {
        "resumed_exit": second.returncode, "verify_exit": verified.returncode,
        "missing_records": missing, "evaluated_again": again, "gpu_used_twice": watch.twice,
        "gpus_used": sorted(" ".join(gpu) for gpu in watch.used),
        "most_gpus_at_once": watch.most_at_once, "jobs": len(jobs),
        "differing": differing, "wall_s": wall_s,
    }  # fmt: skip
    print(json.dumps(seen))
    wrong = second.returncode or verified.returncode or missing or again or watch.twice or differing
    raise SystemExit(bool(wrong))


if __name__ == "__main__":
    main()
