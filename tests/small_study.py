"""A small study of the smaller bench model, and the ppm command run on it as a user would."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import yaml

from ppmlib import bench

KNOWLEDGE = {"name": "bench_knowledge", "num_fewshot": 0, "metric": "acc", "axis": "knowledge"}
INSTRUCTIONS = {
    "name": "bench_instructions",
    "num_fewshot": 0,
    "metric": "prompt_level_strict_acc",
    "axis": "instruction",
}
SMALL = {
    "study": "small",
    "model": {"id": "bench-small"},
    "pruning_ratios": [0.2, 0.5],
    "floors": ["permuted"],
    "tasks": [KNOWLEDGE, INSTRUCTIONS],
    "subset": {"n": 30, "seed": 0},
    "batch_size": 16,
    "profiling": {
        "prompt_tokens": 8,
        "new_tokens": 4,
        "batch_sizes": [1],
        "warmup": 1,
        "repeats": 2,
    },
}
# The smallest study that has all stages, of a model in a folder.
TINY = {
    **SMALL,
    "model": {"id": "./my-model"},
    "floors": [],
    "pruning_ratios": [0.5],
    "tasks": [KNOWLEDGE],
    "subset": {"n": 10, "seed": 0},
}


def write_study(folder: Path, base: dict = SMALL, **changes) -> Path:
    """Write `small.yaml`; a change to None leaves the key out."""
    content = {key: value for key, value in {**base, **changes}.items() if value is not None}
    path = folder / "small.yaml"
    path.write_text(yaml.safe_dump(content))
    return path


def write_local_study(folder: Path, **changes) -> Path:
    """The tiny study, with its model next to it."""
    shutil.copytree(bench.model_dir("bench-small"), folder / "my-model")
    return write_study(folder, TINY, **changes)


def command(*arguments) -> list[str]:
    return [sys.executable, "-m", "ppmlib.cli", *map(str, arguments)]


def environment() -> dict[str, str]:
    return {**os.environ, "HF_HUB_OFFLINE": "1"}


def ppm(*arguments, cwd: Path) -> subprocess.CompletedProcess:
    return subprocess.run(
        command(*arguments),
        cwd=cwd,
        capture_output=True,
        text=True,
        env=environment(),
        timeout=500,
    )
