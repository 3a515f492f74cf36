"""On one machine a job that needs a GPU leases one, by a file lock the system frees.

Snakemake starts no more such jobs than there are GPUs; the lock says which one, and keeps other
studies away.
"""

import contextlib
import fcntl
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

POLL_S = 0.5


def visible_gpus() -> list[str]:
    """GPUs this process may use: `CUDA_VISIBLE_DEVICES` if set, else all that nvidia-smi lists."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    if named is not None:
        return [gpu for gpu in named.split(",") if gpu.strip() and not gpu.startswith("-")]
    if shutil.which("nvidia-smi") is None:
        return []
    listed = subprocess.run(["nvidia-smi", "-L"], capture_output=True, text=True, check=False)
    return [str(i) for i, line in enumerate(listed.stdout.splitlines()) if line.startswith("GPU ")]


@contextlib.contextmanager
def gpu_lease(folder: Path | None = None) -> Iterator[str | None]:
    """Hold one GPU for the length of the block and make it the only visible one.

    Nothing is leased where there is none, or under Slurm, which pins GPUs itself.
    """
    gpus = visible_gpus()
    if not gpus or "SLURM_JOB_ID" in os.environ:
        yield gpus[0] if gpus else None
        return
    folder = folder or Path(tempfile.gettempdir(), f"ppm-gpu-leases-{os.getuid()}")
    folder.mkdir(parents=True, exist_ok=True)
    while True:
        for gpu in gpus:
            handle = open(folder / f"gpu-{gpu.replace('/', '_')}", "w")
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                handle.close()
                continue
            with handle:
                os.environ["CUDA_VISIBLE_DEVICES"] = gpu
                yield gpu
                return
        time.sleep(POLL_S)
