"""Settings of every process of a study: it dies with its parent, uses its threads, is quiet."""

import ctypes
import os
import signal
import sys
from pathlib import Path

QUIET = {
    "TQDM_DISABLE": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TRANSFORMERS_VERBOSITY": "error",
    "TRANSFORMERS_NO_ADVISORY_WARNINGS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "PYDEVD_DISABLE_FILE_VALIDATION": "1",
}
SMALLEST_FREE_BYTES = 1 << 20
_PR_SET_PDEATHSIG = 1


def die_with_parent(signum: int = signal.SIGTERM) -> None:
    """Have Linux send `signum` to this process when its parent dies; elsewhere do nothing.

    If the parent died before this call, `PPM_PARENT` is not the parent any more: stop at once.
    """
    if sys.platform != "linux":
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signum))
    if os.environ.pop("PPM_PARENT", str(os.getppid())) != str(os.getppid()):
        os.kill(os.getpid(), signum)


def child_environment(**changes: str) -> dict[str, str]:
    """The environment for a process that calls `die_with_parent`: it names this one as parent."""
    return {**os.environ, **changes, "PPM_PARENT": str(os.getpid())}


def folder_trouble(folder: Path) -> str | None:
    """Why a folder cannot be written (full or read-only), as a message; None if it can be."""
    state = os.statvfs(folder)
    if state.f_flag & os.ST_RDONLY or not os.access(folder, os.W_OK):
        return "the folder is read-only: make it writable, then run the same command"
    if state.f_bavail * state.f_frsize < SMALLEST_FREE_BYTES:
        return "no space left on the disk: free some, then run the same command"
    return None


def skip_slow_imports() -> None:
    """Leave out jsonschema's optional check of IRIs, which nbformat has not: a second per job."""
    sys.modules.setdefault("rfc3987_syntax", None)


def notebook_environment(threads: int) -> dict[str, str]:
    """Environment of a notebook's process and kernel: thread counts set, progress bars off."""
    counts = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    return child_environment(**QUIET, **dict.fromkeys(counts, str(threads)))
