"""Planted truths in words: what was declared, what was found."""

from collections.abc import Sequence

import pandas as pd

from ppmlib.analyse.verdicts import PlantedTruth, permuted_everywhere
from ppmlib.show.wording import difference_text, interval_text, p_text, percent, signed


def planted_table(truths: Sequence[PlantedTruth]) -> pd.DataFrame:
    """The truths with what was found, as recorded: task, expected, declared, found, held."""
    return pd.DataFrame(
        {
            "task": truth.task,
            "expected": truth.expected,
            "declared": truth.declared,
            "found": _describe(truth),
            "held": truth.held,
        }
        for truth in truths
    )


def describe_planted(table: pd.DataFrame) -> list[str]:
    """Each planted truth: declared, found, and whether the instrument detected it."""
    return [
        f"Planted {row.expected} ({row.task}): {'' if row.held else 'NOT '}found as declared: "
        f"{row.found}."
        for row in table.itertuples()
    ]


def tabulate_planted(table: pd.DataFrame) -> pd.DataFrame:
    """`planted_table` for a page."""
    names = {"expected": "planted", "declared": "declared beforehand", "held": "as declared"}
    shown = table.assign(held=table["held"].map({True: "yes", False: "NO"}))
    return shown.rename(columns=names).set_index("task")


def _describe(truth: PlantedTruth) -> str:
    if truth.rows.empty:
        return f"{truth.task} ({truth.metric}) was not evaluated"
    return DESCRIBED[truth.expected](truth.rows)


def _describe_null(rows: pd.DataFrame) -> str:
    changed = int((rows["fallen"] | rows["risen"]).sum())
    largest = rows.loc[rows["diff_points"].abs().idxmax()]
    return (
        f"significant change at {changed} of {len(rows)} widths; the largest is "
        f"{signed(largest['diff_points'])} points at {percent(largest['pruning_ratio'])} removed "
        f"({p_text(largest['p_value'])}, Holm {p_text(largest['p_holm'])})"
    )


def _describe_fall(rows: pd.DataFrame) -> str:
    last = rows.iloc[-1]
    return (
        f"worse at {int(rows['fallen'].sum())} of {len(rows)} widths; at "
        f"{percent(last['pruning_ratio'])} removed {difference_text(last)}, "
        f"Holm {p_text(last['p_holm'])}"
    )


def _describe_trap(rows: pd.DataFrame) -> str:
    if not permuted_everywhere(rows):
        return "the permuted baseline was not measured, so the trap could not be detected"
    last = rows.iloc[-1]
    fallen, risen, above = (int(rows[name].sum()) for name in ("fallen", "risen", "above_permuted"))
    return (
        f"the raw score falls at {fallen} and rises at {risen} of {len(rows)} widths; "
        f"own minus permuted responses is above zero at {above}; at "
        f"{percent(last['pruning_ratio'])} removed the score is {last['value']:.3f}, permuted "
        f"{last['floor']:.3f}, difference {signed(last['own_minus_floor_points'])} points "
        + interval_text(last["own_minus_floor_low"], last["own_minus_floor_high"])
    )


DESCRIBED = {"null": _describe_null, "fall": _describe_fall, "trap": _describe_trap}
