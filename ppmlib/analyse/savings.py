"""What a narrower model saves, and how much longer its answers may be (notebook 5)."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from ppmlib.analyse.responses import generation_tasks
from ppmlib.analyse.study_records import DENSE, Study
from ppmlib.profile import ratios
from ppmlib.record.records import STAGE_VERSIONS


def profiled(study: Study, criterion: str) -> dict[str, Any] | None:
    """The profiling record of a selection; None without one that this version can read."""
    record = study.profiling.get(criterion)
    if record is None or record["inputs"]["stage_version"] != STAGE_VERSIONS["4_profiling"]:
        return None
    return record


def break_even_table(record: Mapping[str, Any]) -> pd.DataFrame:
    """`ratios.break_even` of a record, the study's own widths only, narrowest last."""
    widths = own_widths(record)
    rows = ratios.break_even(record["measured"]["rows"], DENSE)
    table = pd.DataFrame([row for row in rows if row["run"] in widths])
    removed = {run: width["pruning_ratio"] for run, width in widths.items()}
    return table.assign(removed=table["run"].map(removed)).sort_values("removed")


def own_widths(record: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The profiled widths by run, without those of further multiples."""
    widths = record["results"]["widths"]
    own = widths[0]["keep_multiple_of"]
    return {width["run"]: width for width in widths if width["keep_multiple_of"] == own}


def answers_table(
    study: Study, record: Mapping[str, Any], criterion: str, tasks: Sequence[str]
) -> pd.DataFrame:
    """Seconds per answer at the lengths the evaluation saw, relative to the dense model's.

    The prompt's time and each later token's are those of the profiled work with the smallest batch
    (its first workload), round by round.

    Returns:
        per task with written answers and profiled width, narrowest last: mean tokens of an answer,
        their ratio, and `time_ratio`, the median over rounds.
    """
    rows = record["measured"]["rows"]
    smallest = min(rows, key=lambda row: row["batch_size"])
    work = ratios.job(smallest)
    timed = {row["run"]: row["repeats"] for row in rows if ratios.job(row) == work}
    found = []
    for task in generation_tasks(study, tasks):
        dense = float(study.samples(DENSE, task)["response_tokens"].mean())
        base = _answer_s(timed[DENSE], dense)
        for run in study.widths(criterion):
            if run.key not in timed or study.headline(run.key, task) is None:
                continue
            tokens = float(study.samples(run.key, task)["response_tokens"].mean())
            found.append(
                {
                    "task": task,
                    "run": run.key,
                    "batch_size": smallest["batch_size"],
                    "tokens": tokens,
                    "dense_tokens": dense,
                    "length_ratio": tokens / dense,
                    "time_ratio": float(np.median(_answer_s(timed[run.key], tokens) / base)),
                }
            )
    return pd.DataFrame(found)


def _answer_s(repeats: Mapping[str, Sequence[float]], tokens: float) -> np.ndarray:
    return np.array(repeats["ttft_s"]) + max(tokens - 1, 0) * np.array(repeats["tpot_s"])
