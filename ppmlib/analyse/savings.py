"""What a narrower model saves: speed, and how much longer its answers may be (notebook 5).

saved_by          the sentences and the figure of a selection
sentences         from which width on it is faster, and the break-even length of answers
answers_table     time per answer, with the lengths that the evaluation saw
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from ppmlib.analyse.responses import generation_tasks
from ppmlib.analyse.study_records import DENSE, Study
from ppmlib.profile import ratios
from ppmlib.record.records import STAGE_VERSIONS
from ppmlib.show.figures import Figure
from ppmlib.show.figures.efficiency import speed

NOTHING = "Nothing was profiled in this study."


def saved_by(
    study: Study, criterion: str, tasks: Sequence[str], root: Path | None = None
) -> tuple[list[str], Figure | None]:
    """What a selection saves: the profiling's own sentences and ours, and speed as a figure.

    Without a profiling record that this version can read: the reason, and no figure. The `tasks`
    with written answers tell how long the answers got.
    """
    record, why_not = profiled(study, criterion)
    if record is None:
        return [why_not], None
    gains = ratios.speed_ups(record["measured"]["rows"], DENSE)
    figure = speed(gains, record["results"]["widths"], dense=DENSE, root=root)
    answered = answer_sentences(answers_table(study, record, criterion, tasks))
    return [*record["measured"]["conclusions"], *sentences(record), *answered], figure


def profiled(study: Study, criterion: str) -> tuple[dict[str, Any] | None, str]:
    """The profiling record of a selection, or None with the reason in words."""
    record = study.profiling.get(criterion)
    if record is None:
        return None, NOTHING
    if record["inputs"]["stage_version"] != STAGE_VERSIONS["4_profiling"]:
        return None, "The profiling was made by another version of its notebook: run it again."
    return record, ""


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
    return {
        width["run"]: width
        for width in widths
        if width["keep_multiple_of"] == widths[0]["keep_multiple_of"]
    }


def sentences(record: Mapping[str, Any]) -> list[str]:
    """From which width on each kind of work is faster, and the break-even length of answers."""
    widths, rows = own_widths(record), record["measured"]["rows"]
    gains = [g for g in ratios.speed_ups(rows, DENSE) if g["run"] in widths]
    narrow_first = sorted(widths, key=lambda run: widths[run]["intermediate_size"])
    said = [_from_where(gains, narrow_first, widths, group) for group in _groups(gains)]
    table = break_even_table(record)
    for _, part in table.groupby(["workload", "batch_size"], sort=False):
        last = part.iloc[-1]
        said.append(
            f"Break-even, {ratios.job_name(last, rows)}: in the time the dense model takes for "
            f"{last['new_tokens']} tokens, {last['run']} makes {last['length_ratio']:.2f} times as "
            f"many [{last['length_ratio_q25']:.2f}, {last['length_ratio_q75']:.2f}]; answers "
            "longer than that take longer than the dense model's."
        )
    return said


def _groups(gains: Sequence[Mapping[str, Any]]) -> list[tuple]:
    return list(dict.fromkeys((ratios.job(g), g["phase"]) for g in gains))


def _from_where(gains, narrow_first: Sequence[str], widths, group: tuple) -> str:
    work, phase = group
    mine = {g["run"]: g for g in gains if (ratios.job(g), g["phase"]) == group}
    first = None
    for run in (run for run in narrow_first if run in mine):
        if not (mine[run]["differs"] and mine[run]["speed_up"] > 1):
            break
        first = run
    name = ratios.job_name({"workload": work[0], "batch_size": work[1]}, gains)
    said = f"{phase.capitalize()}, {name}: "
    if first is None:
        return said + "not even the narrowest width is measurably faster than the dense model."
    removed = 1 - widths[first]["parameters"] / widths[DENSE]["parameters"]
    return (
        f"{said}measurably faster than the dense model from {first} on ({removed:.0%} of the "
        "parameters removed), at every narrower width too."
    )


def answers_table(
    study: Study, record: Mapping[str, Any], criterion: str, tasks: Sequence[str]
) -> pd.DataFrame:
    """Seconds per answer at the lengths the evaluation saw, relative to the dense model's.

    The prompt's time and each later token's are those of the profiled work with the smallest batch
    (its first workload), round by round.

    Returns:
        per task with written answers and profiled width, narrowest last: mean `tokens` and
        `dense_tokens` of an answer, `length_ratio`, and `time_ratio`, the median over rounds.
    """
    rows = record["measured"]["rows"]
    smallest = min(rows, key=lambda row: row["batch_size"])
    timed = {row["run"]: row["repeats"] for row in rows
             if ratios.job(row) == ratios.job(smallest)}  # fmt: skip
    found = []
    for task in generation_tasks(study, tasks):
        dense = float(study.samples(DENSE, task)["response_tokens"].mean())
        base = _answer_s(timed[DENSE], dense)
        for run in study.widths(criterion):
            if run.key not in timed or study.headline(run.key, task) is None:
                continue
            tokens = float(study.samples(run.key, task)["response_tokens"].mean())
            ratio = float(np.median(_answer_s(timed[run.key], tokens) / base))
            found.append({"task": task, "run": run.key, "batch_size": smallest["batch_size"],
                          "tokens": tokens, "dense_tokens": dense, "length_ratio": tokens / dense,
                          "time_ratio": ratio})  # fmt: skip
    return pd.DataFrame(found)


def _answer_s(repeats: Mapping[str, Sequence[float]], tokens: float) -> np.ndarray:
    return np.array(repeats["ttft_s"]) + max(tokens - 1, 0) * np.array(repeats["tpot_s"])


def answer_sentences(table: pd.DataFrame) -> list[str]:
    """Per task: at how many widths an answer takes longer than the dense one, and the extreme."""
    said = []
    for task, part in table.groupby("task", sort=False) if len(table) else ():
        longer = int((part["time_ratio"] > 1).sum())
        worst = part.loc[part["time_ratio"].idxmax()]
        said.append(
            f"{task}, answers as long as they were, batch {worst['batch_size']}: an answer takes "
            f"longer than the dense model's at {longer} of {len(part)} widths; at the most "
            f"{worst['time_ratio']:.2f} times as long at {worst['run']}, where answers hold "
            f"{worst['length_ratio']:.2f} times the tokens ({worst['tokens']:.1f} against "
            f"{worst['dense_tokens']:.1f})."
        )
    return said
