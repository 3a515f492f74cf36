"""Numbers as text, in sentences and in tables: one format for each.

`fill` fills a template whose fields may have these formats and those of Python:

percent  0.4 is `40%`; share: 0.732 is `73.2%`; points: 0.012 is `+1.2`
signed   `+5.0`, `−16.2`, and `0.0` without a sign
p        `0.012`, `< 0.0001`; p=: `p = 0.012`, `p < 0.0001`
score    a share or a perplexity, by the row's `unit`; change: signed points, or percent
"""

import string
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
    ends = [(order[run[0]], order[run[-1]]) for run in runs]
    texts = [percent(b) if a == b else f"{100 * a:.3g}-{percent(b)}" for a, b in ends]
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
    return f"{1 + percent_more / 100:{',.3g' if percent_more < 99900 else ',.0f'}} times"


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


FORMATS = {
    "percent": percent,
    "share": lambda value: score_text(value, "points"),
    "signed": signed,
    "points": lambda fraction: f"{100 * fraction:+.1f}",
    "p": p_number,
    "p=": p_text,
}
UNIT_FORMATS = {
    "score": score_text,
    "change": lambda value, unit: signed(value) + "%" * (unit == "percent"),
}


class _Formatter(string.Formatter):
    def __init__(self, unit: str | None) -> None:
        self.unit = unit

    def format_field(self, value: Any, spec: str) -> str:
        if spec in UNIT_FORMATS:
            return UNIT_FORMATS[spec](value, self.unit)
        return FORMATS[spec](value) if spec in FORMATS else super().format_field(value, spec)


def fill(template: str, row: Mapping[str, Any], **more: Any) -> str:
    """`template` with its fields taken from `row` and `more`: `{lead:signed}`, `{p_value:p=}`."""
    fields = {**row, **more}
    return _Formatter(fields.get("unit")).vformat(template, (), fields)


def has_values(template: str, row: Mapping[str, Any]) -> bool:
    """Whether no field of the template is missing in the row (absent, None or NaN)."""
    names = [name for _, name, _, _ in string.Formatter().parse(template) if name]
    values = [row.get(name) for name in names]
    return not any(value is None or value != value for value in values)
