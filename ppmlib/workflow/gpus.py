"""On one machine, a job that needs a GPU leases one by a file lock, which a killed job frees.

Snakemake starts no more such jobs than there are GPUs; the lock chooses the GPU and prevents other
studies from using it. Only visible GPUs count: a scheduler gives all jobs of a run the same ones.
"""

import contextlib
import fcntl
import os
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

POLL_S = 0.5
VARIABLE = "CUDA_VISIBLE_DEVICES"


def visible_gpus() -> dict[str, str]:
    """GPUs this process may use, as {name in the variable: UUID, or the name again}.

    Those of `CUDA_VISIBLE_DEVICES` as torch reads it: entries after the first that is not a GPU are
    ignored, and a GPU named twice leaves none. If it is not set, all that nvidia-smi lists.
    """
    listed = _list_gpus()
    named = os.environ.get(VARIABLE)
    if named is None:
        return {name: uuid for name, uuid in listed.items() if name.isdigit()}
    find = _by_uuid if named.startswith(("GPU-", "MIG-")) else _by_index
    found: dict[str, str] = {}
    for entry in named.split(","):
        uuid = find(entry, listed)
        if uuid is None or (find is _by_uuid and entry[:4] != named[:4]):
            break
        if uuid in found.values():
            return {}
        found[entry.strip()] = uuid
    return found


def _by_index(entry: str, listed: dict[str, str]) -> str | None:
    digits = re.match(r"\s*\+?(\d+)", entry)
    index = str(int(digits[1])) if digits else ""
    return listed.get(index) if listed else index or None


def _by_uuid(entry: str, listed: dict[str, str]) -> str | None:
    """The only UUID that begins like an entry."""
    if not listed:
        return entry
    found = [uuid for uuid in listed.values() if uuid.startswith(entry)]
    return found[0] if len(found) == 1 else None


def _list_gpus() -> dict[str, str]:
    """Index to UUID of nvidia-smi's GPUs, to the index where it gives no UUID.

    A slice of a GPU (MIG), which has no index, is listed by its UUID.
    """
    if shutil.which("nvidia-smi") is None:
        return {}
    output = subprocess.run(
        ["nvidia-smi", "-L"], capture_output=True, text=True, check=False
    ).stdout
    gpus = [line for line in output.splitlines() if line.startswith("GPU ")]
    uuids = [re.search(r"\(UUID: ([^)\s]+)\)", line) for line in gpus]
    listed = {str(i): uuid[1] if uuid else str(i) for i, uuid in enumerate(uuids)}
    slices = re.findall(r"^\s+MIG .*\(UUID: (MIG-[^)\s]+)\)", output, re.MULTILINE)
    return listed | {uuid: uuid for uuid in slices}


@contextlib.contextmanager
def gpu_lease(folder: Path | None = None) -> Iterator[str | None]:
    """Hold one GPU during the block and make it the only visible one; None where there is none.

    The lock is named by the GPU's UUID: an index can mean another GPU in another job of a cluster.
    """
    gpus = visible_gpus()
    if not gpus:
        yield None
        return
    folder = folder or Path(tempfile.gettempdir(), f"ppm-gpu-leases-{os.getuid()}")
    folder.mkdir(parents=True, exist_ok=True)
    while True:
        for gpu, uuid in gpus.items():
            handle = open(folder / f"gpu-{uuid.replace('/', '_')}", "w")
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                handle.close()
                continue
            with handle:
                os.environ[VARIABLE] = gpu
                yield gpu
                return
        time.sleep(POLL_S)
