"""Run a recorded notebook, or a whole study, again and compare the numbers.

The new run uses a folder next to the study's, so that relative paths in the recorded parameters
stay valid. Measured seconds, bytes and joules are not compared.
"""

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ppmlib.data import data_root
from ppmlib.record import records
from ppmlib.workflow import launch
from ppmlib.workflow.unfinished import ALONE

COPIED = (".models", "records", "samples", "figures", "tables")


def find_study(path: Path) -> tuple[Path, str | None]:
    """The study's folder of an executed notebook or a folder, and the notebook's key (or None).

    RecordError if the path is not in a study.
    """
    path = Path(path).resolve()
    root = next((p for p in (path, *path.parents) if (p / records.PLAN_FILE).is_file()), None)
    if root is None:
        raise records.RecordError(f"{path.name}: not inside a study (no {records.PLAN_FILE} above)")
    if path == root:
        return root, None
    key = path.relative_to(root).with_suffix("").as_posix()
    if path.suffix != ".ipynb" or key not in records.read_plan(root)["jobs"]:
        raise records.RecordError(f"{path.name}: not an executed notebook of study {root.name}")
    return root, key


@contextmanager
def workspace(root: Path, key: str | None) -> Iterator[Path]:
    """A folder next to the study's: its plan and, for one notebook, the records it may read."""
    folder = Path(tempfile.mkdtemp(prefix=f".rerun-{root.name}-", dir=root.parent))
    try:
        shutil.copy(root / records.PLAN_FILE, folder)
        for part in (".models",) if key is None else COPIED:
            if (root / part).is_dir():
                shutil.copytree(root / part, folder / part, symlinks=True)
        stored = data_root.read_link(root)
        if stored is not None:
            data_root.write_link(folder, stored)
        if key is not None and records.stage_of(key) == "3_evaluation":
            # Otherwise the notebook would find finished tasks and compute nothing.
            shutil.rmtree(folder / "samples" / Path(key).parent)
        yield folder
    finally:
        shutil.rmtree(folder)


def find_differences(old: Any, new: Any, where: str = "") -> list[str]:
    """Every leaf at which two records' results differ, as `path: old -> new`."""
    pairs = None
    if isinstance(old, Mapping) and isinstance(new, Mapping):
        names = sorted({*old, *new})
        pairs = [(f"{where}.{name}".lstrip("."), old.get(name), new.get(name)) for name in names]
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        pairs = [(f"{where}[{i}]", *pair) for i, pair in enumerate(zip(old, new, strict=True))]
    if pairs is None:
        return [] if old == new else [f"{where}: {old!r} -> {new!r}"]
    return [line for place, a, b in pairs for line in find_differences(a, b, place)]


def count_flips(old: Path, new: Path) -> list[str]:
    """Per-document outcomes that differ between two tables of a task, counted by column."""
    import pandas as pd

    before, after = pd.read_parquet(old), pd.read_parquet(new)
    if list(before.columns) != list(after.columns) or len(before) != len(after):
        return [f"{old.name}: other columns or another number of documents"]
    changed = {
        name: sum(str(a) != str(b) for a, b in zip(before[name], after[name], strict=True))
        for name in before.columns
    }
    return [f"{old.name}: {n} of {len(before)} flip in {name}" for name, n in changed.items() if n]


def compare_records(root: Path, again: Path, key: str) -> list[str]:
    """What differs between the recorded and the repeated run of one notebook; empty if equal."""
    old, new = records.read(root, key), records.read(again, key)
    lines = [f"{key}: {line}" for line in find_differences(old["results"], new["results"])]
    for name in old["files"]:
        if name.endswith(".parquet"):
            lines += [f"{key}: {line}" for line in count_flips(root / name, again / name)]
        elif name.endswith(".safetensors") and old["files"][name] != new["files"].get(name):
            lines.append(f"{key}: {name} differs")
    return lines


def rerun_notebook(root: Path, key: str) -> list[str]:
    """Run one recorded notebook again from its own parameters; what differs, empty if equal.

    RecordError if it fails, with its error.
    """
    records.read(root, key)
    with workspace(root, key) as folder:
        if launch.run_job(folder, key):
            note = records.read_failure(folder, key) or {"error": "it left no note"}
            raise records.RecordError(f"{key} failed: {note['error']}")
        return compare_records(root, folder, key)


def rerun_study(root: Path) -> list[str]:
    """Run a whole study again; what differs, empty if equal. RecordError if a notebook fails."""
    plan = records.read_plan(root)
    keys = list(plan["jobs"])
    if any(job["stage"] in ALONE for job in plan["jobs"].values()):  # Snakemake did not run it
        return [line for key in keys for line in rerun_notebook(root, key)]
    for key in keys:
        records.read(root, key)
    with workspace(root, None) as folder:
        if launch.snakemake(folder, "local", (), plan, to_run=dict.fromkeys(keys, "again")):
            raise records.RecordError(f"{root.name}: a notebook failed in the repeated run")
        return [line for key in keys for line in compare_records(root, folder, key)]
