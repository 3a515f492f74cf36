"""What every process of a study sets for itself: no orphans, no fighting over cores, quiet."""

import ctypes
import os
import signal
import sys

QUIET = {
    "TQDM_DISABLE": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TRANSFORMERS_VERBOSITY": "error",
    "TRANSFORMERS_NO_ADVISORY_WARNINGS": "1",
    "TOKENIZERS_PARALLELISM": "false",
    "PYDEVD_DISABLE_FILE_VALIDATION": "1",
}
_PR_SET_PDEATHSIG = 1


def die_with_parent(signum: int = signal.SIGTERM) -> None:
    """Ask the kernel to send `signum` when the parent dies (Linux; elsewhere nothing happens)."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(signum))


def skip_slow_imports() -> None:
    """Leave out an optional check of jsonschema: building its IRI grammar takes over a second.

    nbformat imports jsonschema in every job; the notebook schema has no IRI in it.
    """
    sys.modules.setdefault("rfc3987_syntax", None)


def notebook_environment(threads: int) -> dict[str, str]:
    """Environment of a notebook's process and kernel: thread counts set, progress bars off."""
    counts = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
    return {**os.environ, **QUIET, **dict.fromkeys(counts, str(threads))}
