"""Tables of claims, controls and the trade-off as readers see them (notebook 5)."""

import pandas as pd

from ppmlib.show.wording import (
    counted,
    difference_text,
    fold_text,
    interval_text,
    p_number,
    percent,
    score_text,
    signed,
)

DASH = "–"


def claims(table: pd.DataFrame) -> pd.DataFrame:
    """The declared claims: what was declared, what was found, whether it holds."""
    return (
        pd.DataFrame(
            {
                "task": row["task"],
                "declared": f"{row['direction']} at {percent(row['pruning_ratio'])}"
                + (f", margin {row['margin_points']:g}" if row["margin_points"] else ""),
                "found": row["reason"] if row["holds"] is None else difference_text(row),
                "p": DASH if row["holds"] is None else p_number(row["p_value"]),
                "p Holm": DASH if row["holds"] is None else p_number(row["p_holm"]),
                "holds": {True: "yes", False: "not shown", None: "not tested"}[row["holds"]],
            }
            for row in table.to_dict("records")
        ).set_index("task")
        if len(table)
        else pd.DataFrame()
    )


def controls(compared: pd.DataFrame, run: str) -> pd.DataFrame:
    """The criterion against every other selection at one width."""
    rows = compared[compared["run"] == run] if len(compared) else compared
    if rows.empty:
        return pd.DataFrame()
    return pd.DataFrame(
        {
            "task": row["task"],
            "control": row["control"]
            if row["control"] != "random"
            else f"random, {counted(row['seeds'], 'seed')}",
            "score": score_text(row["value"], row["unit"]),
            "of the control": _range(row),
            "lead": _lead(row),
            "95% interval": _interval(row),
            "p": DASH if pd.isna(row.get("p_value")) else p_number(row["p_value"]),
        }
        for row in rows.to_dict("records")
    ).set_index(["task", "control"])


def _range(row: dict) -> str:
    low, high = (score_text(row[f"control_{end}"], row["unit"]) for end in ("low", "high"))
    return low if low == high else f"{low} to {high}"


def _lead(row: dict) -> str:
    if row["unit"] == "percent":
        return fold_text(row["lead"]) if row["lead"] > 900 else f"{signed(row['lead'])}%"
    return signed(row["lead"])


def _interval(row: dict) -> str:
    if pd.isna(row.get("lead_low")):
        return DASH
    return interval_text(row["lead_low"], row["lead_high"], "%" * (row["unit"] == "percent"))


def trade_off(rows: pd.DataFrame, found: dict) -> pd.DataFrame:
    """Knowledge at every width: the loss that is not excluded, and whether the width passes."""
    rows = rows[rows["task"].isin(found["tasks"])].sort_values("pruning_ratio")
    return (
        pd.DataFrame(
            {
                "neurons removed": percent(row["pruning_ratio"]),
                "task": row["task"],
                "change, points": signed(row["diff_points"]),
                "90% interval": interval_text(row["low90_points"], row["high90_points"]),
                "margin": f"{found['margin_points']:g}",
                "loss beyond it excluded": "yes"
                if row["low90_points"] > -found["margin_points"]
                else "no",
            }
            for row in rows.to_dict("records")
        ).set_index(["neurons removed", "task"])
        if len(rows)
        else pd.DataFrame()
    )


def noise(flips: pd.DataFrame) -> pd.DataFrame:
    """The dense model against itself in other batches, metric by metric."""
    return (
        pd.DataFrame(
            {
                "task": row["task"],
                "metric": row["metric"],
                "documents": row["n"],
                "with another outcome": row["flips"],
                "gained / lost": f"{row['gained']} / {row['lost']}",
                "difference": signed(row["difference"], 2) + "%" * (row["unit"] == "percent"),
                "largest change they could make": f"{row['noise']:.2f}"
                + "%" * (row["unit"] == "percent"),
            }
            for row in flips.to_dict("records")
        ).set_index(["task", "metric"])
        if len(flips)
        else pd.DataFrame()
    )


def noise_sentences(flips: pd.DataFrame, headlines: pd.DataFrame) -> list[str]:
    """Whether anything was called a change that other batches alone could make.

    Args:
        flips: `noise_floor.flips`. headlines: verdict rows with `within_noise`.
    """
    if flips.empty:
        return [
            "The dense model was not run again in other batches: how many documents flip by "
            "themselves is not known."
        ]
    flipped = flips[flips["flips"] > 0]
    text = (
        f"Run again in other batches, the dense model gives another outcome in "
        f"{int(flips['flips'].sum())} of {int(flips['n'].sum())} outcomes "
        f"({len(flipped)} of {len(flips)} metrics)."
    )
    sure = headlines[headlines["change"].isin(["better", "worse"])]
    small = sure[sure["within_noise"] == True]  # noqa: E712 - None where no noise was measured
    if small.empty:
        return [f"{text} No change called better or worse is that small."]
    named = [f"{row.task} at {percent(row.pruning_ratio)} removed" for row in small.itertuples()]
    return [f"{text} Called better or worse, but no larger than that: {', '.join(named)}."]
