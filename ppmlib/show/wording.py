"""Numbers as text, in sentences and in tables: one format for each."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

LARGE_PERCENT = 900  # above this a rise is given as a factor
DASH = "–"  # where there is no value
MARKS = {"above floor": "", "not above floor": " °", "below floor": " ▽"}  # after a score


def percent(share: float) -> str:
    """0.4 -> `40%`."""
    return f"{100 * share:.3g}%"


def p_number(p: float) -> str:
    """`0.012`, `< 0.0001`."""
    return "< 0.0001" if p < 1e-4 else f"{p:.2g}"


def p_text(p: float) -> str:
    """`p = 0.012`, `p < 0.0001`."""
    return f"p {'' if p < 1e-4 else '= '}{p_number(p)}"


def joined(parts: Sequence[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    parts = list(parts)
    return " and ".join([", ".join(parts[:-1]), parts[-1]]) if len(parts) > 1 else "".join(parts)


def counted(number: int, noun: str) -> str:
    """`1 task`, `2 tasks`."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def span(low: float, high: float, decimals: int = 0) -> str:
    """`300 to 541`, or `541` where both are the same as printed."""
    first, last = f"{low:.{decimals}f}", f"{high:.{decimals}f}"
    return first if first == last else f"{first} to {last}"


def widths_text(ratios: Collection[float], all_ratios: Collection[float]) -> str:
    """Ratios as ranges of neighbours in the study: `10-30% and 50% removed`."""
    order, runs = sorted(all_ratios), []
    for at in sorted(order.index(ratio) for ratio in ratios):
        if runs and at == runs[-1][-1] + 1:
            runs[-1].append(at)
        else:
            runs.append([at])
    texts = [
        percent(order[run[0]])
        if len(run) == 1
        else f"{100 * order[run[0]]:.3g}-{percent(order[run[-1]])}"
        for run in runs
    ]
    return f"{joined(texts)} removed"


def score_text(value: float, unit: str) -> str:
    """A share as `73.2%`, a perplexity as `12.31`."""
    return f"{value:.2f}" if unit == "percent" else f"{100 * value:.1f}%"


def signed(value: float, decimals: int = 1) -> str:
    """`+5.0`, `−16.2`, and `0.0` without a sign; a true minus."""
    rounded = round(value, decimals)
    return f"{rounded:+.{decimals}f}".replace("-", "−") if rounded else f"{0:.{decimals}f}"


def interval_text(low: float, high: float, unit: str = "") -> str:
    """`[−20.6, −12.3]`."""
    return f"[{signed(low)}{unit}, {signed(high)}{unit}]"


def fold_text(percent_more: float) -> str:
    """A large rise as a factor: +1900% is `20 times`."""
    return (
        f"{1 + percent_more / 100:,.3g} times"
        if percent_more < 99900
        else (f"{1 + percent_more / 100:,.0f} times")
    )


def difference_text(row: Mapping[str, Any]) -> str:
    """`−16.0 points [−20.6, −12.3]`, or `+63.7% perplexity [+59.2%, +67.5%]`."""
    ends = row["ci_low_points"], row["ci_high_points"]
    if row["unit"] == "percent" and row["diff_points"] > LARGE_PERCENT:
        low, high = (fold_text(end) for end in ends)
        return f"{fold_text(row['diff_points'])} the perplexity [{low}, {high}]"
    if row["unit"] == "percent":
        return f"{signed(row['diff_points'])}% perplexity {interval_text(*ends, '%')}"
    return f"{signed(row['diff_points'])} points {interval_text(*ends)}"


def whole(text: str) -> str:
    """Kept on one line in a table cell."""
    return text.replace(" ", "\u00a0")
