"""Tables of notebook 5: verdicts, baselines, claims, controls, the dichotomy, the trade-off."""

from collections.abc import Mapping

import pandas as pd

from ppmlib.show.table import or_dash, table_of
from ppmlib.show.wording import (
    LARGE_PERCENT,
    MARKS,
    counted,
    difference_text,
    fill,
    fold_text,
    percent,
    score_text,
    signed,
    whole,
)

HOLDS = {True: "yes", False: "not shown", None: "not tested"}


def tabulate_verdicts(rows: pd.DataFrame) -> pd.DataFrame:
    """Verdict rows by task and metric; perplexities change in percent."""
    columns = {
        "task": "{task}",
        "metric": "{metric}",
        "dense": "{dense_value:score}",
        "pruned": "{value:score}",
        "change, points": "{diff_points:change}",
        "95% interval": "[{ci_low_points:change}, {ci_high_points:change}]",
        "change": "{change}",
        "level": "{level}",
        "gained / lost": "{gained} / {lost}",
        "p adjusted": "{p_adjusted:p}",
        "detectable": lambda row: or_dash(
            row["mde_points"], lambda size: f"{size:.1f}{_unit(row)}"
        ),
    }
    one_line = ["95% interval", "level", "gained / lost", "p adjusted"]
    return table_of(rows, ["task", "metric"], columns, one_line)


def _unit(row: Mapping) -> str:
    return "%" if row["unit"] == "percent" else ""


def tabulate_floors(rows: pd.DataFrame) -> pd.DataFrame:
    """Headline scores minus their baselines in points: tasks by widths, `°` where not above.

    `▽` marks a score below its baseline. Tasks without a baseline are left out.
    """
    known = rows[rows["floor_kind"] != "none"].sort_values("expansion_ratio", ascending=False)
    if known.empty:
        return pd.DataFrame()
    cells = [
        whole(signed(row.own_minus_floor_points) + MARKS[row.level]) for row in known.itertuples()
    ]
    known = known.assign(cell=cells, baseline=known["floor_kind"])
    table = known.pivot(index=["task", "baseline"], columns="pruning_ratio", values="cell")
    order = list(rows["task"].unique())
    table = table.loc[sorted(table.index, key=lambda index: order.index(index[0]))]
    table = table[known["pruning_ratio"].unique()].rename(columns=percent)
    return table.rename_axis(columns="neurons removed")


def tabulate_dichotomy(table: pd.DataFrame) -> pd.DataFrame:
    """The dichotomy test per width."""
    if table.empty:
        return table
    odds = "{log_odds:+.2f} [{log_odds_low:+.2f}, {log_odds_high:+.2f}]"
    columns = {
        "neurons removed": "{pruning_ratio:percent}",
        f"{table['knowledge'].iloc[0]}, points": "{knowledge_points:signed}",
        f"{table['instruction'].iloc[0]}, points": "{instruction_points:signed}",
        "difference [95% interval]": "{difference_points:signed} [{low:signed}, {high:signed}]",
        "p Holm": "{p_holm:p}",
        "in log-odds": lambda row: fill(odds, row).replace("-", "−"),
    }
    return table_of(table, "neurons removed", columns)


def tabulate_claims(table: pd.DataFrame) -> pd.DataFrame:
    """The declared claims: what was declared, what was found, whether it holds."""

    def declared(row: Mapping) -> str:
        margin = ", margin {margin_points:g}" if row["margin_points"] else ""
        return fill("{direction} at {pruning_ratio:percent}" + margin, row)

    columns = {
        "task": "{task}",
        "declared": declared,
        "found": lambda row: row["reason"] if row["holds"] is None else difference_text(row),
        "p": "{p_value:p}",
        "p Holm": "{p_holm:p}",
        "holds": lambda row: HOLDS[row["holds"]],
    }
    return table_of(table, "task", columns)


def tabulate_controls(compared: pd.DataFrame, run: str) -> pd.DataFrame:
    """The criterion against every other selection at one width."""

    def control(row: Mapping) -> str:
        random = row["control"] == "random"
        return f"random, {counted(row['seeds'], 'seed')}" if random else row["control"]

    def scores(row: Mapping) -> str:
        low, high = (score_text(row[f"control_{end}"], row["unit"]) for end in ("low", "high"))
        return low if low == high else f"{low} to {high}"

    def lead(row: Mapping) -> str:
        large = row["unit"] == "percent" and row["lead"] > LARGE_PERCENT
        return fold_text(row["lead"]) if large else fill("{lead:change}", row)

    columns = {
        "task": "{task}",
        "control": control,
        "score": "{value:score}",
        "of the control": scores,
        "lead": lead,
        "95% interval": "[{lead_low:change}, {lead_high:change}]",
        "p": "{p_value:p}",
    }
    rows = compared[compared["run"] == run] if len(compared) else compared
    return table_of(rows, ["task", "control"], columns)


def tabulate_trade_off(rows: pd.DataFrame, found: Mapping) -> pd.DataFrame:
    """Knowledge at every width: the loss that is not excluded, and whether the width passes."""
    margin = found["margin_points"]
    columns = {
        "neurons removed": "{pruning_ratio:percent}",
        "task": "{task}",
        "change, points": "{diff_points:signed}",
        "90% interval": "[{low90_points:signed}, {high90_points:signed}]",
        "margin": f"{margin:g}",
        "loss beyond it excluded": lambda row: "yes" if row["low90_points"] > -margin else "no",
    }
    rows = rows[rows["task"].isin(found["tasks"])].sort_values("pruning_ratio")
    return table_of(rows, ["neurons removed", "task"], columns)


def tabulate_noise(flips: pd.DataFrame) -> pd.DataFrame:
    """The A/A repeat: the dense model against itself with another batch size, by metric."""
    columns = {
        "task": "{task}",
        "metric": "{metric}",
        "documents": "{n}",
        "different outcome": "{flips}",
        "gained / lost": "{gained} / {lost}",
        "difference": lambda row: signed(row["difference"], 2) + _unit(row),
        "A/A difference": lambda row: f"{row['noise']:.2f}{_unit(row)}",
    }
    return table_of(flips, ["task", "metric"], columns)


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
