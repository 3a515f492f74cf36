"""What a narrower model saves in words and as a figure."""

from collections.abc import Mapping, Sequence
from typing import Any

import pandas as pd

from ppmlib.analyse.savings import answers_table, break_even_table, own_widths, profiled
from ppmlib.analyse.study_records import DENSE, Study
from ppmlib.profile import ratios
from ppmlib.show.figures import Figure
from ppmlib.show.figures.efficiency import draw_speed

NOTHING = "Nothing was profiled in this study."


OTHER_VERSION = "The profiling record is from another version of its notebook: run it again."


def describe_savings(study: Study, criterion: str, tasks: Sequence[str]) -> list[str]:
    """What a selection saves: the profiling's own sentences, break-even, time per answer.

    Args:
        tasks: those with written answers say how long the answers got.
    """
    record = profiled(study, criterion)
    if record is None:
        return [OTHER_VERSION if criterion in study.profiling else NOTHING]
    answered = describe_answer_times(answers_table(study, record, criterion, tasks))
    return [*record["measured"]["conclusions"], *describe_speed(record), *answered]


def draw_savings(study: Study, criterion: str) -> Figure | None:
    """Speed of every width against the dense model; None where nothing was profiled."""
    record = profiled(study, criterion)
    if record is None:
        return None
    gains = ratios.speed_ups(record["measured"]["rows"], DENSE)
    return draw_speed(gains, record["results"]["widths"], dense=DENSE)


def describe_speed(record: Mapping[str, Any]) -> list[str]:
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
            f"{last['new_tokens']} tokens, {last['run']} generates {last['length_ratio']:.2f} "
            f"times as many [{last['length_ratio_q25']:.2f}, {last['length_ratio_q75']:.2f}]; "
            "answers longer than that take longer than the dense model's."
        )
    return said


def describe_answer_times(table: pd.DataFrame) -> list[str]:
    """Per task: at how many widths an answer takes longer than the dense one, and the extreme."""
    said = []
    for task, part in table.groupby("task", sort=False) if len(table) else ():
        longer = int((part["time_ratio"] > 1).sum())
        worst = part.loc[part["time_ratio"].idxmax()]
        said.append(
            f"{task}, answers of the measured length, batch {worst['batch_size']}: an answer takes "
            f"longer than the dense model's at {longer} of {len(part)} widths; at the most "
            f"{worst['time_ratio']:.2f} times as long at {worst['run']}, where answers have "
            f"{worst['length_ratio']:.2f} times the tokens ({worst['tokens']:.1f} against "
            f"{worst['dense_tokens']:.1f})."
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
        return said + "the narrowest width is not measurably faster than the dense model."
    removed = 1 - widths[first]["parameters"] / widths[DENSE]["parameters"]
    return (
        f"{said}measurably faster than the dense model from {first} on ({removed:.0%} of the "
        "parameters removed), at every narrower width too."
    )
