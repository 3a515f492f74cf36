"""Tables of notebook 5: verdicts, baselines, claims, controls, the dichotomy, the trade-off."""

from collections.abc import Mapping

import pandas as pd

from ppmlib.show.table import or_dash, table_of
from ppmlib.show.wording import (
    DASH,
    MARKS,
    counted,
    difference_text,
    fold_text,
    interval_text,
    p_number,
    percent,
    score_text,
    signed,
    whole,
)

HOLDS = {True: "yes", False: "not shown", None: "not tested"}


def tabulate_verdicts(rows: pd.DataFrame) -> pd.DataFrame:
    """Verdict rows by task and metric; perplexities change in percent."""

    def cells(row: Mapping) -> dict:
        unit = _unit(row)
        interval = interval_text(row["ci_low_points"], row["ci_high_points"], unit)
        return {
            "task": row["task"],
            "metric": row["metric"],
            "dense": score_text(row["dense_value"], row["unit"]),
            "pruned": score_text(row["value"], row["unit"]),
            "change, points": signed(row["diff_points"]) + unit,
            "95% interval": whole(interval),
            "change": row["change"],
            "level": whole(row["level"]),
            "gained / lost": whole(f"{row['gained']} / {row['lost']}"),
            "p adjusted": or_dash(row["p_adjusted"], lambda p: whole(p_number(p))),
            "detectable": or_dash(row["mde_points"], lambda size: f"{size:.1f}{unit}"),
        }

    return table_of(rows, ["task", "metric"], cells)


def _unit(row: Mapping) -> str:
    return "%" if row["unit"] == "percent" else ""


def tabulate_floors(rows: pd.DataFrame) -> pd.DataFrame:
    """Headline scores minus their baselines in points: tasks by widths, `°` where not above.

    `▽` marks a score below its baseline. Tasks without a baseline are left out.
    """
    known = rows[rows["floor_kind"] != "none"].sort_values("expansion_ratio", ascending=False)
    if known.empty:
        return pd.DataFrame()
    cells = pd.DataFrame(
        {
            "task": row["task"],
            "baseline": row["floor_kind"],
            "ratio": row["pruning_ratio"],
            "cell": whole(signed(row["own_minus_floor_points"]) + MARKS[row["level"]]),
        }
        for row in known.to_dict("records")
    )
    table = cells.pivot(index=["task", "baseline"], columns="ratio", values="cell")
    table = table[list(dict.fromkeys(cells["ratio"]))].rename(columns=percent)
    order = list(rows["task"].unique())
    table = table.loc[sorted(table.index, key=lambda index: order.index(index[0]))]
    return table.rename_axis(columns="neurons removed")


def tabulate_dichotomy(table: pd.DataFrame) -> pd.DataFrame:
    """The dichotomy test per width."""

    def cells(row: Mapping) -> dict:
        interval = interval_text(row["low"], row["high"])
        odds = f"{row['log_odds']:+.2f} [{row['log_odds_low']:+.2f}, {row['log_odds_high']:+.2f}]"
        return {
            "neurons removed": percent(row["pruning_ratio"]),
            f"{row['knowledge']}, points": signed(row["knowledge_points"]),
            f"{row['instruction']}, points": signed(row["instruction_points"]),
            "difference [95% interval]": f"{signed(row['difference_points'])} {interval}",
            "p Holm": p_number(row["p_holm"]),
            "in log-odds": odds.replace("-", "−"),
        }

    return table_of(table, "neurons removed", cells)


def tabulate_claims(table: pd.DataFrame) -> pd.DataFrame:
    """The declared claims: what was declared, what was found, whether it holds."""

    def cells(row: Mapping) -> dict:
        tested = row["holds"] is not None
        margin = f", margin {row['margin_points']:g}" if row["margin_points"] else ""
        return {
            "task": row["task"],
            "declared": f"{row['direction']} at {percent(row['pruning_ratio'])}{margin}",
            "found": difference_text(row) if tested else row["reason"],
            "p": p_number(row["p_value"]) if tested else DASH,
            "p Holm": p_number(row["p_holm"]) if tested else DASH,
            "holds": HOLDS[row["holds"]],
        }

    return table_of(table, "task", cells)


def tabulate_controls(compared: pd.DataFrame, run: str) -> pd.DataFrame:
    """The criterion against every other selection at one width."""

    def cells(row: Mapping) -> dict:
        random = f"random, {counted(row['seeds'], 'seed')}"
        low, high = (score_text(row[f"control_{end}"], row["unit"]) for end in ("low", "high"))
        return {
            "task": row["task"],
            "control": random if row["control"] == "random" else row["control"],
            "score": score_text(row["value"], row["unit"]),
            "of the control": low if low == high else f"{low} to {high}",
            "lead": fold_text(row["lead"])
            if row["unit"] == "percent" and row["lead"] > 900
            else signed(row["lead"]) + _unit(row),
            "95% interval": or_dash(
                row.get("lead_low"), lambda low: interval_text(low, row["lead_high"], _unit(row))
            ),
            "p": or_dash(row.get("p_value"), p_number),
        }

    rows = compared[compared["run"] == run] if len(compared) else compared
    return table_of(rows, ["task", "control"], cells)


def tabulate_trade_off(rows: pd.DataFrame, found: Mapping) -> pd.DataFrame:
    """Knowledge at every width: the loss that is not excluded, and whether the width passes."""
    margin = found["margin_points"]

    def cells(row: Mapping) -> dict:
        return {
            "neurons removed": percent(row["pruning_ratio"]),
            "task": row["task"],
            "change, points": signed(row["diff_points"]),
            "90% interval": interval_text(row["low90_points"], row["high90_points"]),
            "margin": f"{margin:g}",
            "loss beyond it excluded": "yes" if row["low90_points"] > -margin else "no",
        }

    rows = rows[rows["task"].isin(found["tasks"])].sort_values("pruning_ratio")
    return table_of(rows, ["neurons removed", "task"], cells)


def tabulate_noise(flips: pd.DataFrame) -> pd.DataFrame:
    """The A/A repeat: the dense model against itself with another batch size, by metric."""

    def cells(row: Mapping) -> dict:
        return {
            "task": row["task"],
            "metric": row["metric"],
            "documents": row["n"],
            "different outcome": row["flips"],
            "gained / lost": f"{row['gained']} / {row['lost']}",
            "difference": signed(row["difference"], 2) + _unit(row),
            "A/A difference": f"{row['noise']:.2f}{_unit(row)}",
        }

    return table_of(flips, ["task", "metric"], cells)


ESCAPES = {
    "_": r"\_",
    "%": r"\%",
    "&": r"\&",
    "#": r"\#",
    "−": "$-$",
    "\u00a0": "~",
    "–": "--",
}


def write_latex(table: pd.DataFrame, caption: str) -> str:
    """A table for reading as LaTeX (booktabs), its text escaped."""
    shown = table.reset_index().map(lambda cell: _escape(str(cell)))
    shown.columns = [_escape(str(name)) for name in shown.columns]
    return shown.to_latex(index=False, escape=False, caption=_escape(caption))


def _escape(text: str) -> str:
    return text.translate(str.maketrans(ESCAPES))
