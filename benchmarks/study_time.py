"""Where the time of a finished study went: starting, importing, loading, computing, rendering.

    python benchmarks/study_time.py reports/bench

Reads the executed notebooks and their logs; prints a table per stage in seconds, summed over its
notebooks (jobs run side by side, so the sum exceeds the wall time), and one JSON line.
"""

import json
import re
import sys
from pathlib import Path

import nbformat
import pandas as pd

# Cells by what they do; all others compute.
IMPORTING, LOADING = {"setup"}, {"model", "plan", "widths", "load", "records"}
PAGE = re.compile(r": notebook [\d.]+ s, page ([\d.]+) s")


def parts(executed: Path, log: Path) -> dict[str, float]:
    """Seconds of one notebook by kind of work."""
    notebook = nbformat.read(executed, as_version=4)
    seconds = {"start": 0.0, "import": 0.0, "load": 0.0, "compute": 0.0}
    for cell in notebook.cells:
        took = cell.metadata.get("papermill", {}).get("duration") or 0.0
        kind = "compute"
        if cell.get("id") in IMPORTING:
            kind = "import"
        elif cell.get("id") in LOADING:
            kind = "load"
        seconds[kind] += took
    seconds["start"] = notebook.metadata.papermill.duration - sum(seconds.values())
    seconds["render"] = float(PAGE.findall(log.read_text())[-1])
    return seconds


def table(root: Path) -> pd.DataFrame:
    """Seconds by stage and kind of work, summed over a study's notebooks; the last row is all."""
    jobs = json.loads((root / "study.json").read_text())["jobs"]
    rows = [
        {"stage": job["stage"], "notebooks": 1}
        | parts(root / f"{key}.ipynb", root / "logs" / f"{key}.log")
        for key, job in jobs.items()
    ]
    found = pd.DataFrame(rows).groupby("stage").sum()
    found.loc["all"] = found.sum()
    return found


def main(root: Path) -> None:
    """Print the table and the JSON line of one study."""
    found = table(root)
    print(found.round(1).to_string())
    print(json.dumps(found.loc["all"].round(2).to_dict()))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
