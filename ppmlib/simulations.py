"""Do the intervals cover and the tests keep their level? Simulations of the study's statistics.

coverage_table        score intervals of right/wrong documents, beside the percentile bootstrap
graded_table          bootstrap intervals and sign-flip tests of graded scores
false_positive_table  McNemar, equivalence and Holm over declared claims, where nothing is there
power_table           what can be shown: the claims' power and the smallest detectable change
holds, sentences      the bounds that the procedures must keep, and whether they did

Documents gain, lose or keep their answer with known chances; the functions under test are those of
the analysis (`ppmlib.stats`). Everything seeded; shares of simulations carry their own error.
"""

from functools import cache

import numpy as np
import pandas as pd

from ppmlib import resampling, stats

ALWAYS, BAND, ENOUGH_PAIRS = 0.93, (0.93, 0.97), 10
FAMILY_LEVEL = 0.05
RATES = ((0.01, 0.01), (0.03, 0.0), (0.03, 0.005), (0.02, 0.08), (0.05, 0.05), (0.10, 0.10))
GRADES = (-1.0, -0.5, -0.5, 0.5)
MARGIN = 0.05
BOOTSTRAPS = 999


@cache
def change_of(gained: int, lost: int, n: int) -> stats.Change:
    """The analysis's tests of n documents of which so many were gained and lost; no intervals."""
    difference = (gained - lost) / n
    return stats.Change(
        n=n, units=n, difference=difference, low=-1.0, high=1.0, low90=-1.0, high90=1.0,
        p_value=stats.mcnemar_p(gained, lost), gained=gained, lost=lost, detectable=None,
        method="tests only",
    )  # fmt: skip


def simulation_error(share: float, draws: int) -> float:
    """Standard error of a share of simulations."""
    return float(np.sqrt(max(share * (1 - share), 1 / draws / 4) / draws))


def coverage_table(sizes, *, rates=RATES, draws: int, seed: int) -> pd.DataFrame:
    """How often the 95% score interval holds the true difference of two shares.

    Args:
        sizes: numbers of documents. rates: (chance of a gain, of a loss) per document.
        draws: simulated studies per row.
    Returns:
        n, gain, loss, expected discordant pairs, coverage, its simulation error, coverage of the
        percentile bootstrap of the same studies, and the mean width of both in points.
    """
    rows = []
    for n in sizes:
        for gain, loss in rates:
            rng = np.random.default_rng([seed, n, int(1e4 * gain), int(1e4 * loss)])
            counts = rng.multinomial(n, [gain, loss, 1 - gain - loss], size=draws)[:, :2]
            tables, index = np.unique(counts, axis=0, return_inverse=True)
            ends = np.array([stats.tango_interval(g, m, n) for g, m in tables])
            boot = np.array([_percentile(g, m, n, rng) for g, m in tables])
            index, truth = index.ravel(), gain - loss
            covered, other = (((e[:, 0] <= truth) & (truth <= e[:, 1]))[index].mean()
                              for e in (ends, boot))  # fmt: skip
            rows.append({
                "n": n, "gain": gain, "loss": loss, "expected_pairs": n * (gain + loss),
                "coverage": float(covered), "error": simulation_error(covered, draws),
                "bootstrap_coverage": float(other), "draws": draws,
                "width_points": 100 * float((ends[:, 1] - ends[:, 0])[index].mean()),
                "bootstrap_width_points": 100 * float((boot[:, 1] - boot[:, 0])[index].mean()),
            })  # fmt: skip
    return pd.DataFrame(rows)


def _percentile(gained: int, lost: int, n: int, rng: np.random.Generator) -> tuple[float, float]:
    drawn = rng.multinomial(n, [gained / n, lost / n, (n - gained - lost) / n], size=BOOTSTRAPS)
    low, high = np.quantile((drawn[:, 0] - drawn[:, 1]) / n, (0.025, 0.975))
    return float(low), float(high)


def graded_table(sizes, *, rates=(0.02, 0.05, 0.20), draws: int, seed: int) -> pd.DataFrame:
    """The same for graded scores of which a share of documents changes, by steps of a half.

    `false_positives`: the sign-flip test at 5% where each change has either sign equally often.
    """
    rows = []
    for n in sizes:
        for rate in rates:
            rng = np.random.default_rng([seed, n, int(1e4 * rate)])
            covered, false = 0, 0
            for at in range(draws):
                moved = rng.random(n) < rate
                step = rng.choice(GRADES, size=n)
                low, high = _graded_interval(np.where(moved, step, 0.0), at)
                covered += low <= rate * np.mean(GRADES) <= high
                null = np.where(moved, np.abs(step) * rng.choice((-1, 1), size=n), 0.0)
                false += resampling.sign_flip_p(null, at) <= stats.LEVEL
            share = covered / draws
            rows.append({"n": n, "changed": rate, "expected_pairs": n * rate, "coverage": share,
                         "error": simulation_error(share, draws), "draws": draws,
                         "false_positives": false / draws})  # fmt: skip
    return pd.DataFrame(rows)


def _graded_interval(change: np.ndarray, seed: int) -> tuple[float, float]:
    """The interval of `stats.paired_mean`, without its tests."""
    if not np.ptp(change):
        return stats.tango_interval(0, 0, change.size)
    weight = np.ones(change.size)
    found = resampling.bootstrap(change, weight, seed, 0.95)
    return resampling.widened(change, weight, found, 0.95)


def false_positive_table(sizes, *, claims=(1, 3, 6), draws: int, seed: int) -> pd.DataFrame:
    """How often a study with nothing to find shows at least one declared claim.

    Claims of `better` and `worse` where gains and losses are equally likely, and of `equivalent`
    where the true change lies just on the margin: the hardest null. Claims of one study share
    their dense answers, as widths do. p-values and Holm are those of the analysis.

    Returns:
        n, claims, kind, the share of studies with any claim shown (`family`), with the first
        claim shown without correction (`single`), and their simulation errors.
    """
    rows = []
    for n in sizes:
        for count in claims:
            for kind in ("change", "equivalence"):
                rng = np.random.default_rng([seed, n, count, len(kind)])
                family = single = 0
                for tables in _null_counts(rng, n, count, kind, draws):
                    p = [_claim_p(kind, at, *table, n) for at, table in enumerate(tables)]
                    single += p[0] <= stats.LEVEL
                    family += bool((stats.holm(p) <= stats.LEVEL).any())
                share = family / draws
                rows.append({"n": n, "claims": count, "kind": kind, "family": share,
                             "error": simulation_error(share, draws), "single": single / draws,
                             "draws": draws})  # fmt: skip
    return pd.DataFrame(rows)


def _null_counts(rng, n: int, count: int, kind: str, draws: int):
    """(claims, 2) gained and lost documents per simulated study; dense answers are shared."""
    flip = 0.10
    shift = MARGIN if kind == "equivalence" else 0.0
    for _ in range(draws):
        right = rng.random(n) < 0.5
        chance = np.where(right, flip + shift, flip - shift)  # of right: a loss, of wrong: a gain
        moved = rng.random((count, n)) < chance
        yield [(int((row & ~right).sum()), int((row & right).sum())) for row in moved]


def _claim_p(kind: str, at: int, gained: int, lost: int, n: int) -> float:
    change = change_of(gained, lost, n)
    if kind == "equivalence":
        return change.p_equivalent(MARGIN)
    return min(1.0, 2 * (change.p_above() if at % 2 == 0 else change.p_below()))


def power_table(sizes, *, effects=(0.02, 0.05, 0.10), share=0.15, draws: int, seed: int):
    """How often a true fall is shown: alone at 5%, and as one of three claims after Holm.

    Args:
        effects: true falls of the share of right answers. share: of discordant documents (the
            effect itself where that is larger).
    Returns:
        n, effect, share, power alone and under Holm beside two claims about nothing, the smallest
        change 80% power could show, and how often no change is called equivalent within 5 points.
    """
    rows = []
    for n in sizes:
        for effect in effects:
            rng = np.random.default_rng([seed, n, int(1e4 * effect)])
            pairs = max(share, effect)
            chances = [(pairs - effect) / 2, (pairs + effect) / 2, 1 - pairs]
            real, none = (rng.multinomial(n, c, size=draws)[:, :2] for c in (
                chances, [share / 2, share / 2, 1 - share]))  # fmt: skip
            other = rng.permutation(none)
            p = np.array([[change_of(*row, n).p_value for row in map(tuple, counts)]
                          for counts in (real, none, other)]).T  # fmt: skip
            alone = float((p[:, 0] <= stats.LEVEL).mean())
            held = float(np.mean([stats.holm(row)[0] <= stats.LEVEL for row in p]))
            same = np.mean([change_of(*row, n).p_equivalent(MARGIN) <= stats.LEVEL
                            for row in map(tuple, none)])  # fmt: skip
            detectable = stats.detectable_binary(n, share)
            rows.append({"n": n, "effect": effect, "share": pairs, "power": alone,
                         "power_holm": held, "error": simulation_error(alone, draws),
                         "equivalent": float(same), "draws": draws,
                         "detectable_points": None if detectable is None
                         else 100 * detectable})  # fmt: skip
    return pd.DataFrame(rows)


def holds(coverage: pd.DataFrame, graded: pd.DataFrame, false: pd.DataFrame) -> pd.DataFrame:
    """The bounds of the design, each with its worst row; two simulation errors are allowed.

    Returns:
        bound, worst, error, holds.
    """
    enough = coverage[coverage["expected_pairs"] >= ENOUGH_PAIRS]
    checks = [
        ("score intervals cover at least 93%", coverage, "coverage", ALWAYS, True),
        ("score intervals cover at most 97% with 10 expected discordant pairs", enough, "coverage",
         BAND[1], False),
        ("bootstrap intervals of graded scores cover at least 93%", graded, "coverage", ALWAYS,
         True),
        ("any false claim after Holm in at most 5%", false, "family", FAMILY_LEVEL, False),
    ]  # fmt: skip
    rows = []
    for bound, table, column, limit, at_least in checks:
        worst = table.loc[table[column].idxmin() if at_least else table[column].idxmax()]
        slack = 2 * worst["error"]
        kept = worst[column] >= limit - slack if at_least else worst[column] <= limit + slack
        where = f"n = {worst['n']:.0f}" + (
            f", {worst['expected_pairs']:.3g} expected pairs" if "expected_pairs" in worst
            else f", {worst['claims']:.0f} claims of {worst['kind']}")  # fmt: skip
        rows.append({"bound": bound, "worst": float(worst[column]), "error": float(worst["error"]),
                     "where": where, "holds": bool(kept)})  # fmt: skip
    return pd.DataFrame(rows)


def sentences(bounds: pd.DataFrame, coverage: pd.DataFrame, power: pd.DataFrame) -> list[str]:
    """Whether the bounds hold, what the bootstrap would have done, what can be shown."""
    broken = bounds[~bounds["holds"]]
    said = [f"{len(bounds) - len(broken)} of {len(bounds)} bounds hold"
            + (f"; not: {', '.join(broken['bound'])}." if len(broken) else ".")]  # fmt: skip
    for row in bounds.to_dict("records"):
        said.append(f"Bound: {row['bound']}. The worst is {row['worst']:.1%} ± "
                    f"{row['error']:.1%} ({row['where']}).")  # fmt: skip
    worst = coverage.loc[coverage["bootstrap_coverage"].idxmin()]
    said.append(
        f"The percentile bootstrap, which the analysis does not use for right or wrong, covers as "
        f"little as {worst['bootstrap_coverage']:.1%} (n = {worst['n']:.0f}, "
        f"{worst['expected_pairs']:.3g} expected pairs)."
    )
    shown = power[power["power"] >= stats.POWER]
    for n, rows in power.groupby("n"):
        best = shown[shown["n"] == n]["effect"].min()
        seen = "none of the falls tried" if np.isnan(best) else f"a fall of {100 * best:.3g} points"
        said.append(f"With {n} documents {seen} is shown with 80% power; the smallest that could "
                    f"be is {rows['detectable_points'].iloc[0]:.1f} points, and no change is "
                    f"called equivalent within {100 * MARGIN:g} points in "
                    f"{rows['equivalent'].mean():.0%} of studies.")  # fmt: skip
    return said


def _share(value: float, error: float) -> str:
    return f"{value:.1%} ± {error:.1%}"


def coverage_for_reading(table: pd.DataFrame) -> pd.DataFrame:
    """Coverage for a page."""
    return pd.DataFrame({
        "documents": table["n"], "gained / lost": [f"{r.gain:.1%} / {r.loss:.1%}"
                                                   for r in table.itertuples()],
        "expected pairs": table["expected_pairs"].map("{:.3g}".format),
        "score interval covers": [_share(r.coverage, r.error) for r in table.itertuples()],
        "percentile bootstrap": table["bootstrap_coverage"].map("{:.1%}".format),
        "mean width, points": table["width_points"].map("{:.1f}".format),
    }).set_index("documents")  # fmt: skip


def graded_for_reading(table: pd.DataFrame) -> pd.DataFrame:
    """Graded scores for a page."""
    return pd.DataFrame({
        "documents": table["n"], "changed": table["changed"].map("{:.0%}".format),
        "interval covers": [_share(r.coverage, r.error) for r in table.itertuples()],
        "false positives": table["false_positives"].map("{:.1%}".format),
        "simulated studies": table["draws"],
    }).set_index("documents")  # fmt: skip


def false_for_reading(table: pd.DataFrame) -> pd.DataFrame:
    """False claims for a page."""
    return pd.DataFrame({
        "documents": table["n"], "claims": table["claims"], "of": table["kind"],
        "any shown after Holm": [_share(r.family, r.error) for r in table.itertuples()],
        "the first, uncorrected": table["single"].map("{:.1%}".format),
    }).set_index("documents")  # fmt: skip


def power_for_reading(table: pd.DataFrame) -> pd.DataFrame:
    """Power for a page."""
    return pd.DataFrame({
        "documents": table["n"], "true fall, points": (100 * table["effect"]).map("{:.3g}".format),
        "shown alone": [_share(r.power, r.error) for r in table.itertuples()],
        "one of three claims": table["power_holm"].map("{:.1%}".format),
        "smallest for 80%, points": ["–" if pd.isna(v) else f"{v:.1f}"
                                     for v in table["detectable_points"]],
        "no change called equivalent": table["equivalent"].map("{:.0%}".format),
    }).set_index("documents")  # fmt: skip


def bounds_for_reading(table: pd.DataFrame) -> pd.DataFrame:
    """The bounds for a page."""
    return pd.DataFrame({
        "bound": table["bound"], "worst": [_share(r.worst, r.error) for r in table.itertuples()],
        "where": table["where"], "holds": table["holds"].map({True: "yes", False: "NO"}),
    }).set_index("bound")  # fmt: skip
