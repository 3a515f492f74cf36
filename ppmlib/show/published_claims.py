"""The paper's claims in words and tables (notebook 6), from `published.verdicts.judge`.

claim_text    the numbers behind one verdict
tested_table, floors_table, others_table, given_table  the claims for a page
judged_plain  the claims as plain JSON, for the record
"""

import json
from collections.abc import Callable, Mapping
from typing import Any

import pandas as pd

from ppmlib.published.verdicts import reproduced
from ppmlib.show.table import DASH, or_dash, table_of
from ppmlib.show.wording import p_text

IN_V3 = {
    "restated": "kept in V3's abstract",
    "withdrawn": "withdrawn: gone from V3's abstract",
    "unknown": "not in V3's abstract; the body was not read",
}
WHERE = {"restated": "V1 and V3", "withdrawn": "V1; withdrawn", "unknown": "V1"}
FIGURES = {
    "% change": "{:+.1f}%",
    "% of dense": "{:.1f}%",
    "points": "{:+.1f} points",
    "r": "{:.3f}",
    "times": "{:.1f} times",
}


def points(value: float) -> str:
    """A fraction as signed points: `+4.8`."""
    return f"{100 * value:+.1f}"


def points_interval(row: Mapping[str, Any], of: str) -> str:
    """`+4.8 [+0.8, +8.8]`: the column `of` and its ends."""
    return f"{points(row[of])} [{points(row['low'])}, {points(row['high'])}]"


def claim_text(claim: Mapping[str, Any]) -> str:
    """The numbers behind the verdict on one claim, a row of `verdicts.judge`."""
    if claim["kind"] == "difference":
        return difference_text(claim)
    if claim["kind"] == "quoted":
        return "the claim states nothing to test"
    numbers = claim["numbers"]
    if claim["kind"] == "correlation":
        return _correlation_text(claim, **numbers)
    if claim["kind"] == "monotonic":
        return _monotonic_text(**numbers)
    if claim["kind"] == "cost":
        return _cost_text(numbers)
    if claim["kind"] == "batching":
        return (
            f"batching gains {numbers['here']:.2f} times here and {numbers['dense']:.2f} times in "
            "the dense model"
        )
    return _catastrophic_text(**numbers) if "pon" in numbers else _specific_text(numbers["vow"])


def difference_text(claim: Mapping[str, Any]) -> str:
    """Difference, interval, z, and the change detectable with 80% power."""
    interval = points_interval(claim, "difference").replace(" ", " points ", 1)
    detectable = f"{100 * claim['detectable']:.1f} points"
    text = f"{interval}, z {claim['z']:+.2f}; detectable with 80% power: {detectable}"
    if claim["peak_of"] > 0:
        text += f"; it is the highest of {claim['peak_of']:.0f} widths, so chance enlarges it"
    return text


def _r_text(row: Mapping[str, Any]) -> str:
    return f"r = {row['r']:.3f} [{row['low']:.2f}, {row['high']:.2f}]"


def _correlation_text(claim, dense_in, dense_out) -> str:
    return (
        f"{_r_text(dense_in)} over {dense_in.points:.0f} points, "
        f"permutation {p_text(dense_in.p_permutation)}; Spearman {dense_in.rho:.2f} "
        f"(permutation {p_text(dense_in.rho_p_permutation)}); without the dense "
        f"{'points' if claim['scope'] == 'pooled' else 'point'} r = {dense_out.r:.3f} "
        f"({p_text(dense_out.p_t)}, permutation {p_text(dense_out.p_permutation)})"
    )


def _monotonic_text(steps: pd.DataFrame, wrong: pd.DataFrame) -> str:
    count = len(steps)
    if wrong.empty:
        largest = steps["z"].abs().max()
        return f"{count} of {count} steps have the claimed sign; largest step z = {largest:.2f}"
    listed = ", ".join(
        f"{row['from']:.0%} to {row['to']:.0%} {points(row['step'])} points (z {row['z']:+.2f})"
        for _, row in wrong.iterrows()
    )
    return f"{len(wrong)} of {count} steps have the opposite sign: {listed}"


def _cost_text(numbers: Mapping[str, float]) -> str:
    longer = f"{numbers['tokens'] - 1:+.1%}"
    spread = f"Welch over {numbers['sets']} prompt sets {p_text(numbers['p_welch'])}"
    if "share" in numbers:
        return (
            f"tokens per answer {longer}, time per token {numbers['per_token'] - 1:+.1%}: "
            f"{numbers['share']:.0%} of the rise is length; {spread}"
        )
    return (
        f"kg of CO2 read as kWh: joules are {1 / numbers['unit_factor']:.2f} times the published; "
        f"per answer {numbers['joules'] - 1:+.1%} as answers grow by {longer}; {spread}"
    )


def _catastrophic_text(ratios: pd.DataFrame, pon: pd.Series, z: Mapping[str, float]) -> str:
    return (
        f"LAMBADA perplexity {ratios.min().min():.0f} to {ratios.max().max():.0f} times "
        f"that of PPM in 3 runs of one model at 10%, without error bars; PIQA z {z['vow']:+.1f} "
        f"(VOW), {z['pon']:+.1f} (PON); PON's LAMBADA perplexity ranges from "
        f"{pon.min():.0f} to {pon.max():.0f} over the runs; no control"
    )


def _specific_text(vow) -> str:
    return (
        "no other selection was run beyond 10% or on IFEval, MUSR, MC2, MMLU or GSM8K, and "
        f"none at random; BoolQ at 10%: VOW minus PPM {points(vow.difference)} points "
        f"(z {vow.z:+.2f})"
    )


def _level_text(levels: list[dict[str, Any]]) -> str:
    texts = [
        f"{level['floor']} ({level['floor_value']:.4f}): "
        f"{points_interval(level, 'above').replace(' ', ' points ', 1)}, {level['level']}"
        for level in levels
    ]
    return "; ".join(texts) or "no measured baseline"


def judged_plain(judged: pd.DataFrame) -> list[dict]:
    """The claims as plain JSON objects with their texts; what does not apply is left out."""
    plain = judged.drop(columns="numbers")
    plain["text"] = [claim_text(claim) for claim in judged.to_dict("records")]
    tested = plain["kind"] == "difference"
    plain.loc[tested, "level"] = plain.loc[tested, "levels"].map(_level_text)
    rows = json.loads(plain.to_json(orient="records", double_precision=15))
    return [{key: value for key, value in row.items() if value is not None} for row in rows]


def tested_table(claims: pd.DataFrame) -> pd.DataFrame:
    """The claims with a p-value: verdict, size with interval, p-values, detectable change."""

    def size(row: Mapping[str, Any]) -> str:
        if row["kind"] == "correlation":
            return _r_text(row["numbers"]["dense_in"])
        best = f", highest of {row['peak_of']:.0f} widths" if row["peak_of"] > 0 else ""
        return points_interval(row, "difference") + best

    columns = {
        "claim": "{what}",
        "in": lambda row: WHERE[row["v3"]],
        "verdict": "{verdict}",
        "difference, points": size,
        "z": "{z:+.2f}",
        "p": "{p_value:p}",
        "p (Holm)": "{p_holm:p}",
        "detectable": lambda row: or_dash(row["detectable"], lambda x: f"{100 * x:.1f} points"),
        "standard errors": lambda row: or_dash(
            row["se_source"], lambda source: f"{source}, {documents(row)}"
        ),
    }
    return table_of(claims[claims["p_holm"].notna()], "claim", columns)


def documents(row: Mapping[str, Any]) -> str:
    """`n 541`, with a warning where the number was not verified."""
    return f"n {row['n']:.0f}{'' if row['n_verified'] else ' (UNVERIFIED)'}"


def floors_table(claims: pd.DataFrame) -> pd.DataFrame:
    """Each claimed score with every baseline of its task, and the verdict on its level."""

    def cells(row: tuple[Mapping, Mapping | None]) -> dict[str, str]:
        claim, level = row
        cells = {"claim": claim["what"], "score": f"{claim['value']:.4f}"}
        if level is None:
            return cells | {"baseline": "none", "above it, points": DASH, "level": DASH}
        return cells | {
            "baseline": f"{level['floor']} {level['floor_value']:.4f}",
            "above it, points": points_interval(level, "above"),
            "level": level["level"],
        }

    tested = claims[claims["kind"] == "difference"].to_dict("records")
    pairs = [(claim, level) for claim in tested for level in claim["levels"] or [None]]
    return table_of(pairs, "claim", cells)


def others_table(claims: pd.DataFrame) -> pd.DataFrame:
    """The claims without a p-value: verdict and numbers."""
    columns = {
        "claim": "{what}",
        "in": lambda row: WHERE[row["v3"]],
        "verdict": "{verdict}",
        "numbers": claim_text,
        **FIGURE_COLUMNS,
    }
    return table_of(claims[claims["p_holm"].isna()], "claim", columns)


def given_table(claims: pd.DataFrame) -> pd.DataFrame:
    """Figures the paper gives, and the same figures computed from its own tables."""
    claims = claims[claims["published"].notna()]
    columns = {"claim": "{what}", "in V3": lambda row: IN_V3[row["v3"]], **FIGURE_COLUMNS}
    follows = reproduced(claims).map({True: "yes", False: "no"})
    return table_of(claims.assign(follows=follows), "claim", columns | {"follows": "{follows}"})


def _figure(name: str) -> Callable[[Mapping[str, Any]], str]:
    """The cell of a published or recomputed figure in the claim's unit."""
    return lambda row: or_dash(row[name], FIGURES.get(row["unit"], "{}").format)


FIGURE_COLUMNS = {"published": _figure("published"), "recomputed": _figure("recomputed")}
