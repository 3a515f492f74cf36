"""Instruction scores at equal perplexity: are they those of any damage of the same size?"""

from collections.abc import Collection, Mapping

import pandas as pd

from ppmlib.analyse.damage import MATCHED
from ppmlib.show.table import table_of
from ppmlib.show.wording import counted, fill, percent, score_text, signed, widths_text
from ppmlib.statistics.proportions import LEVEL


def describe_damage(matched: pd.DataFrame, damage: pd.DataFrame, criterion: str) -> list[str]:
    """Whether the criterion's instruction scores are those of any damage of the same size."""
    if damage.empty:
        return [
            "Instruction scores are not compared at equal perplexity: no width was evaluated on "
            "both an instruction task in points and a perplexity."
        ]
    if matched.empty:
        return [
            "No other damage was evaluated with a perplexity and an instruction score, so "
            f"{criterion} cannot be compared with it."
        ]
    said, ratios = [], set(damage.loc[damage["selection"] == criterion, "pruning_ratio"])
    for (task, control), rows in matched.groupby(["task", "control"], sort=False):
        near = rows[rows["matched"]]
        name = {"noise": "weight noise at full width", "random": "random selections"}[control]
        if near.empty:
            said.append(
                f"{task}: no comparison at equal damage with {name}: none raises the log "
                f"perplexity as much as a width of {criterion}, within "
                f"{MATCHED:.0%}."
            )
            continue
        said.append(
            f"{task} at equal damage (rise of log perplexity, within {MATCHED:.0%}), "
            f"{criterion} against {name}: {_found(near, ratios)}"
        )
    return said


def _found(near: pd.DataFrame, ratios: Collection[float]) -> str:
    tested = near[near["p_adjusted"].notna()]
    if tested.empty:
        seeds = int(near["seeds"].max())
        top = near.loc[near["difference_points"].abs().idxmax()]
        return (
            f"{signed(top['difference_points'])} points at {percent(top['pruning_ratio'])} "
            f"removed; with {counted(seeds, 'seed')} this is a difference, not a test."
        )
    sure = tested[tested["p_adjusted"] <= LEVEL]
    parts = [
        f"{word} at {widths_text(part['pruning_ratio'], ratios)}"
        for word, part in (
            ("higher", sure[sure["difference_points"] > 0]),
            ("lower", sure[sure["difference_points"] < 0]),
            ("not distinguishable", tested.drop(sure.index)),
        )
        if len(part)
    ]
    return fill(
        "{found} (the other widths have no control of equal damage). The largest difference is "
        "{difference_points:signed} points [{low:signed}, {high:signed}] at "
        "{pruning_ratio:percent} removed (perplexities {perplexity:.2f} and "
        "{control_perplexity:.2f}, adjusted {p_adjusted:p=}).",
        tested.loc[tested["difference_points"].abs().idxmax()],
        found="; ".join(parts),
    )


def tabulate_damage(matched: pd.DataFrame) -> pd.DataFrame:
    """The comparisons with other damage of about the same perplexity."""

    def control(row: Mapping) -> str:
        random = "random {control_ratio:percent}, seeds: {seeds}"
        return fill("noise at full width" if row["control"] == "noise" else random, row)

    def difference(row: Mapping) -> str:
        interval = "" if pd.isna(row["low"]) else " [{low:signed}, {high:signed}]"
        return fill("{difference_points:signed}" + interval, row)

    columns = {
        "task": "{task}",
        "neurons removed": "{pruning_ratio:percent}",
        "score (perplexity)": lambda row: _pair(row["value"], row["perplexity"]),
        "against": control,
        "its score (perplexity)": lambda row: _pair(
            row["control_value"], row["control_perplexity"]
        ),
        "its damage": "{share_of_damage:.0%}, {equal}",
        "difference, points": difference,
        "p adjusted": "{p_adjusted:p}",
    }
    equal = ["equal" if row.matched else "unequal" for row in matched.itertuples()]
    return table_of(matched.assign(equal=equal), ["task", "neurons removed"], columns)


def _pair(value: float, perplexity: float) -> str:
    shown = f"{perplexity:.2f}" if perplexity < 1000 else f"{perplexity:,.0f}"
    return f"{score_text(value, 'points')} ({shown})"
