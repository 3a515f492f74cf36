"""The bench study by one worker and by two, and where the time of each went.

    python benchmarks/workers.py --repeats 1

Each run begins in a new folder, turn by turn. Prints wall seconds, the seconds of all
notebooks by kind of work (see study_time.py), and one JSON line.
"""

import argparse
import json
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pandas as pd
import study_time

STUDY = Path(__file__).parent.parent / "params" / "bench.yaml"


def run(workers: int) -> dict[str, float]:
    """One whole study: wall seconds, and the seconds of its notebooks by kind of work."""
    with tempfile.TemporaryDirectory(prefix="ppm-workers-") as name:
        folder = Path(name)
        shutil.copyfile(STUDY, folder / STUDY.name)
        command = [sys.executable, "-m", "ppmlib.cli", "run", STUDY.name, "--cores", str(workers)]
        started = time.perf_counter()
        subprocess.run(command, cwd=folder, check=True, capture_output=True)
        wall_s = time.perf_counter() - started
        parts = study_time.table(folder / "reports" / "bench").loc["all"]
    return {"workers": workers, "wall_s": wall_s, **parts.to_dict()}


def main() -> None:
    """Turn by turn, then the medians."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=1)
    asked = parser.parse_args()
    rows = [run(workers) for _ in range(asked.repeats) for workers in (1, 2)]
    found = pd.DataFrame(rows).groupby("workers").median()
    print(found.round(1).to_string())
    wall_s = found["wall_s"]
    print(json.dumps({"one_s": round(wall_s[1], 1), "two_s": round(wall_s[2], 1),
                      "times_faster": round(wall_s[1] / wall_s[2], 2)}))  # fmt: skip


if __name__ == "__main__":
    main()
