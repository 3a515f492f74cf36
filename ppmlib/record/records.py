"""The record of a study: fingerprints, atomic files, verified reading, provenance.

A record is one JSON file, `records/<key>.json` under the study's folder, where the key names the
stage and the run (`1_scoring`, `ppm/r0.40/3_evaluation`). It holds

    inputs    everything that can change the numbers; its hash is the fingerprint
    results   the numbers, equal wherever the inputs are equal
    measured  seconds, bytes and joules, which differ between equal runs
    files     sha256 of every data file the stage wrote

A stage is done when its verified record exists.
"""

import hashlib
import json
import os
import platform
import re
import subprocess
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

SCHEMA = 1
STAGE_VERSIONS = {
    "0_bench_model": 1,
    "1_scoring": 1,
    "2_pruning": 1,
    "3_evaluation": 2,
    "4_profiling": 3,
    "5_analysis": 4,
    "6_published": 1,
    "7_models": 1,
    "8_simulations": 2,
}
BARE_FOLDER = "ppm-out"
MANIFEST = "manifest.json"
PLAN_FILE = "study.json"
PLAN_PARTS = ("parameters", "static")
SHOWN = ("tables", "figures")  # folders of a record's tables and figures
REPOSITORY = Path(__file__).resolve().parents[2]
PACKAGES = ("torch", "transformers", "lm_eval", "tokenizers", "numpy", "pandas", "scipy")


class RecordError(Exception):
    """A record is missing, damaged, or does not belong here; the message names the file."""


def sha256_file(path: Path) -> str:
    """SHA-256 of a file's bytes, in hexadecimal."""
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def canonical(value: Any) -> str:
    """JSON text of a value: sorted keys, no spaces. ValueError for NaN or infinity."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def stage_of(key: str) -> str:
    """The stage of a record key: `3_evaluation` of `ppm/r0.40/3_evaluation-mmlu`."""
    return key.rpartition("/")[2].partition("-")[0]


def fingerprint(inputs: Mapping[str, Any]) -> str:
    """SHA-256 of the canonical JSON of a stage's inputs."""
    return hashlib.sha256(canonical(inputs).encode()).hexdigest()


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a temporary path in the same folder; on success it is fsynced and renamed to `path`."""
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    os.close(descriptor)
    temporary = path.with_name(Path(name).name)  # not absolute: errors name it
    try:
        yield temporary
        with open(temporary, "rb+") as handle:
            os.fsync(handle.fileno())
        umask = os.umask(0)
        os.umask(umask)
        temporary.chmod(0o666 & ~umask)
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def clear_temporaries(root: Path) -> None:
    """Delete what a killed writer left in a study's folder. Only while no job writes there."""
    for path in Path(root).rglob(".*.tmp"):
        path.unlink()


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text atomically."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, value: Any) -> None:
    """Write readable JSON atomically. ValueError if a number in it is NaN or infinite."""
    text = json.dumps(value, sort_keys=True, indent=1, allow_nan=False, ensure_ascii=False)
    write_text(path, text + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file. RecordError naming the file if it is missing or not JSON."""
    try:
        return json.loads(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise RecordError(f"{path}: no such record") from None
    except OSError as error:
        raise RecordError(f"{path}: cannot be read ({error.strerror})") from None
    except (UnicodeDecodeError, json.JSONDecodeError, RecursionError) as error:
        raise RecordError(f"{path}: damaged, not JSON ({error})") from None


def write_parquet(path: Path, table) -> None:
    """Write a DataFrame atomically as Parquet, the same bytes for the same table."""
    with atomic(path) as temporary:
        table.to_parquet(temporary, index=False, compression="zstd")


def open_folder(record_dir: str) -> Path:
    """Create and return the folder that a notebook writes to; `./ppm-out` for an empty name."""
    root = Path(record_dir or BARE_FOLDER)
    root.mkdir(parents=True, exist_ok=True)
    return root


def record_path(root: Path, key: str) -> Path:
    """Where the record of a key lies: `<root>/records/<key>.json`."""
    return Path(root) / "records" / f"{key}.json"


def failure_path(root: Path, key: str) -> Path:
    """Where the note of a failed or stopped notebook lies: `<root>/logs/<key>.failed.json`."""
    return Path(root) / "logs" / f"{key}.failed.json"


def describe_failure(
    key: str, error: str, cell: int | None = None, interrupted: bool = False
) -> dict[str, Any]:
    """The note of a failed notebook: one line, the number of its cell, whether a signal did it."""
    return {"run": key, "cell": cell, "error": error, "interrupted": interrupted}


def package_versions(names: Iterable[str] = PACKAGES) -> dict[str, str]:
    """Installed versions, without local suffixes such as `+cpu`."""
    return {name: metadata.version(name).split("+")[0] for name in names}


def _git(*arguments: str) -> str | None:
    try:
        return subprocess.run(
            ["git", *arguments], cwd=REPOSITORY, capture_output=True, text=True, check=True
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def _git_state() -> dict[str, Any]:
    commit = _git("rev-parse", "HEAD") if (REPOSITORY / ".git").exists() else None
    if commit is None:
        return {"commit": "not a git checkout", "modified": None}
    # Regenerating a committed report does not modify the code.
    changed = _git("status", "--porcelain", "-uno", "--", ":/", ":(top,exclude)reports")
    return {"commit": commit, "modified": bool(changed)}


def processor() -> str:
    """Name of this machine's processor, as the system gives it."""
    info = Path("/proc/cpuinfo")
    names = re.findall(r"^model name\s*:\s*(.*\S)", info.read_text(), re.M) if info.exists() else []
    return names[0] if names else platform.processor() or platform.machine()


def provenance() -> dict[str, Any]:
    """Versions, commit and device of this process. No host or user name."""
    import torch

    device = torch.cuda.get_device_name() if torch.cuda.is_available() else processor()
    return {
        "ppmlib": metadata.version("ppmlib"),
        **_git_state(),
        "python": platform.python_version(),
        "packages": package_versions(),
        "system": f"{platform.system()} {platform.machine()}",
        "device": device,
        "threads": torch.get_num_threads(),
    }


def relative_files(root: Path, files: Iterable[Path]) -> dict[str, str]:
    """sha256 of each file, keyed by its path relative to the study's folder."""
    return {Path(f).relative_to(root).as_posix(): sha256_file(f) for f in sorted(map(Path, files))}


def write(
    root: Path,
    key: str,
    *,
    inputs: Mapping[str, Any],
    results: Mapping[str, Any],
    measured: Mapping[str, Any] | None = None,
    files: Iterable[Path] = (),
) -> dict[str, Any]:
    """Write and return the record of one stage, after everything that it names is on disk.

    Args:
        key: `<run>/<stage>`, `<run>/<stage>-<part>` or `<stage>`.
        inputs: what can change the numbers; versions of the stage and packages are added here.
        results: the numbers, plain JSON; NaN or infinity is a ValueError.
        measured: seconds, bytes, joules.
        files: data files this stage wrote, under `root`.
    """
    stage = stage_of(key)
    full_inputs = {
        **inputs,
        "stage": stage,
        "stage_version": STAGE_VERSIONS[stage],
        "versions": package_versions(),
    }
    record = {
        "schema": SCHEMA,
        "key": key,
        "stage": stage,
        "fingerprint": fingerprint(full_inputs),
        "inputs": full_inputs,
        "results": dict(results),
        "measured": dict(measured or {}),
        "files": relative_files(root, files),
        "provenance": provenance(),
        "written": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    return _seal(root, record)


def add_to_record(root: Path, key: str, name: str, value: Any) -> None:
    """Add a value to a record that a notebook wrote. RecordError if the record is damaged."""
    record = {**read(root, key), name: value}
    del record["sha256"]
    _seal(root, record)


def _seal(root: Path, record: dict[str, Any]) -> dict[str, Any]:
    record["sha256"] = fingerprint(record)
    write_json(record_path(root, record["key"]), record)
    return record


def read(root: Path, key: str) -> dict[str, Any]:
    """Read and verify a record and every file it names. RecordError names the wrong file."""
    path = record_path(root, key)
    record = read_json(path)
    if not isinstance(record, dict) or record.get("schema") != SCHEMA:
        raise RecordError(f"{path}: not a ppmlib record of schema {SCHEMA}")
    content = {name: value for name, value in record.items() if name != "sha256"}
    if record.get("sha256") != fingerprint(content):
        raise RecordError(f"{path}: changed after it was written (its own hash does not fit)")
    if record["key"] != key:
        raise RecordError(f"{path}: is the record of {record['key']}")
    for name, digest in record["files"].items():
        file = Path(root) / name
        if not file.is_file():
            raise RecordError(f"{file}: named by {path} but missing")
        if sha256_file(file) != digest:
            raise RecordError(f"{file}: changed after {path} was written")
    return record


def remove(root: Path, key: str) -> None:
    """Delete a record, if there is one, also a damaged one, with its tables and figures."""
    path = record_path(root, key)
    try:
        record = read_json(path)
    except RecordError:
        record = None
    named = record.get("files") if isinstance(record, dict) else None
    for name in named if isinstance(named, dict) else ():
        parts = Path(name).parts
        if parts[0] in SHOWN and ".." not in parts:
            Path(root, name).unlink(missing_ok=True)
    path.unlink(missing_ok=True)


def read_stage(root: Path, stage: str) -> dict[str, dict[str, Any]]:
    """All verified records of a stage, by key; where the folder has a plan, only of its jobs.

    A width that was removed from the study file still has a record but is no longer in the study.
    """
    return {key: read(root, key) for key in present_keys(root) if stage_of(key) == stage}


def read_plan(root: Path) -> dict[str, Any]:
    """The plan of a study's last run. RecordError if there is none that can be used."""
    path = Path(root) / PLAN_FILE
    plan = read_json(path)
    jobs = plan.get("jobs") if isinstance(plan, dict) else None
    if not isinstance(jobs, dict) or not all(
        isinstance(job, dict) and all(isinstance(job.get(part, {}), dict) for part in PLAN_PARTS)
        for job in jobs.values()
    ):
        raise RecordError(f"{path}: damaged, not a study's plan; `ppm run` writes it again")
    return plan


def read_manifest(root: Path) -> dict[str, str]:
    """The sha256 of each file in a study's manifest. RecordError if it cannot be used."""
    path = Path(root) / MANIFEST
    manifest = read_json(path)
    if isinstance(manifest, dict) and isinstance(manifest.get("files"), dict):
        return manifest["files"]
    raise RecordError(f"{path}: damaged, lists no files; delete it and `ppm run` writes it again")


def read_failure(root: Path, key: str) -> dict[str, Any] | None:
    """The note of a failed or stopped notebook, as `describe_failure`; None if there is none."""
    path = failure_path(root, key)
    if not path.exists():
        return None
    try:
        note = read_json(path)
    except RecordError:
        note = None
    known = isinstance(note, dict) and {"cell", "error", "interrupted"} <= set(note)
    if known and isinstance(note["error"], str):
        return note
    error = f"logs/{key}.failed.json: damaged; the error is in logs/{key}.log"
    return describe_failure(key, error)


def present_keys(root: Path) -> list[str]:
    """The keys of all records; where the folder has a plan, of those of its jobs."""
    folder, plan = Path(root) / "records", Path(root) / PLAN_FILE
    keys = {p.relative_to(folder).with_suffix("").as_posix() for p in folder.rglob("*.json")}
    if plan.exists():
        keys &= set(read_plan(root)["jobs"])
    return sorted(keys)


def record_files(root: Path) -> list[Path]:
    """The files of a study that the manifest lists: all but itself, logs and hidden files."""
    found = []
    # A part of a study may lie on another disk, behind a link.
    for folder, inner, names in os.walk(root, followlinks=True):
        inner[:] = [name for name in inner if not name.startswith(".") and name != "logs"]
        found += [Path(folder, name) for name in names if not name.startswith(".")]
    return sorted(path for path in found if path.is_file() and path.name != MANIFEST)


def write_manifest(root: Path) -> Path:
    """Write `manifest.json`: the sha256 of every file of the study."""
    path = Path(root) / MANIFEST
    write_json(path, {"schema": SCHEMA, "files": relative_files(root, record_files(root))})
    return path


def verify(root: Path) -> list[str]:
    """Compare a folder with its manifest, a line per difference. RecordError if it has none."""
    root = Path(root)
    listed = read_manifest(root)
    present = relative_files(root, record_files(root))
    problems = [
        f"{name}: changed" for name in listed if present.get(name, listed[name]) != listed[name]
    ]
    problems += [f"{name}: missing" for name in listed if name not in present]
    problems += [f"{name}: not in the manifest" for name in present if name not in listed]
    for key in present_keys(root):
        try:
            read(root, key)
        except RecordError as error:
            problems.append(str(error))
    return sorted(problems)


def provenance_table(record: Mapping[str, Any]):
    """A record's provenance as a two-column DataFrame, for the foot of a notebook."""
    import pandas as pd

    origin = record["provenance"]
    modified = " (modified)" if origin["modified"] else ""
    rows = [
        ("record", f"records/{record['key']}.json"),
        ("fingerprint", record["fingerprint"]),
        ("ppmlib", f"{origin['ppmlib']}, commit {origin['commit']}{modified}"),
        ("Python", origin["python"]),
        *origin["packages"].items(),
        ("system", origin["system"]),
        ("device", origin["device"]),
        ("CPU threads", str(origin["threads"])),
        ("written", record["written"]),
        *(
            (name, f"{value:.1f} s")
            for name, value in record["measured"].items()
            if name.endswith("_s") and isinstance(value, float)
        ),
    ]
    return pd.DataFrame(rows, columns=["what", "value"]).set_index("what")
