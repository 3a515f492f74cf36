"""Do the intervals cover and the tests keep their level? Simulations of the study's statistics.

coverage_table        score intervals of right/wrong documents, and the percentile bootstrap
losses_table          the same where documents are only lost, exactly
graded_table          bootstrap intervals, sign-flip and equivalence tests of graded scores
combined_table        differences of the changes of two tasks, as in the dichotomy
seeds_table           means over documents and random selections
false_positive_table  McNemar, equivalence and Holm over declared claims, where nothing is there
power_table           what can be shown: the claims' power and the smallest detectable change

Documents gain, lose or keep their answer with known chances; the functions under test are those of
the analysis (`ppmlib.statistics.paired`). Everything seeded; shares of simulations carry their own
error.
"""

from dataclasses import replace
from functools import cache

import numpy as np
import pandas as pd
from scipy import special

from ppmlib.statistics import crossed, multiplicity, paired, proportions, resampling
from ppmlib.statistics.proportions import LEVEL

RATES = ((0.01, 0.01), (0.03, 0.0), (0.03, 0.005), (0.02, 0.08), (0.05, 0.05), (0.10, 0.10))
LOSSES = (
    *((100, 0.01, 1000, 0.01), (100, 0.03, 1000, 0.03)),
    *((400, 0.005, 400, 0.01), (300, 0.05, 300, 0.20)),
)
SEED_CASES = ((0.0, 0.0), (0.02, 0.0), (0.05, 0.0), (0.10, 0.0), (0.0, 0.005), (0.0, 0.02))
GRADES = (-1.0, -0.5, -0.5, 0.5)
MARGIN = 0.05
BOOTSTRAPS = 999


@cache
def change_of(gained: int, lost: int, n: int) -> paired.Change:
    """The analysis's tests of n documents of which so many were gained and lost; no intervals."""
    difference = (gained - lost) / n
    return paired.Change(
        n=n,
        units=n,
        difference=difference,
        low=-1.0,
        high=1.0,
        low90=-1.0,
        high90=1.0,
        p_value=proportions.mcnemar_p(gained, lost),
        gained=gained,
        lost=lost,
        detectable=None,
        method="tests only",
    )


def simulation_error(share: float, draws: int) -> float:
    """Standard error of a share of simulations."""
    return float(np.sqrt(max(share * (1 - share), 1 / draws / 4) / draws))


def _share(name: str, share: float, draws: int, error: str = "error") -> dict[str, float]:
    """A share of simulations under its name, with its simulation error."""
    return {name: float(share), error: simulation_error(share, draws)}


def coverage_table(sizes, *, rates=RATES, draws: int, seed: int) -> pd.DataFrame:
    """How often the 95% score interval holds the true difference of two shares.

    Args:
        sizes: numbers of documents. rates: (chance of a gain, of a loss) per document.
        draws: simulated studies per row, which the percentile bootstrap judges too.
    """
    rows = []
    for n in sizes:
        for gain, loss in rates:
            rng = np.random.default_rng([seed, n, int(1e4 * gain), int(1e4 * loss)])
            counts = rng.multinomial(n, [gain, loss, 1 - gain - loss], size=draws)[:, :2]
            tables, index = np.unique(counts, axis=0, return_inverse=True)
            ends = np.array([proportions.tango_interval(g, m, n) for g, m in tables])
            boot = np.array([_percentile(g, m, n, rng) for g, m in tables])
            index, truth = index.ravel(), gain - loss
            covered, other = (
                ((e[:, 0] <= truth) & (truth <= e[:, 1]))[index].mean() for e in (ends, boot)
            )
            width, boot_width = (
                100 * float((e[:, 1] - e[:, 0])[index].mean()) for e in (ends, boot)
            )
            rows.append(
                {"n": n, "gain": gain, "loss": loss, "expected_pairs": n * (gain + loss)}
                | _share("coverage", covered, draws)
                | {"bootstrap_coverage": float(other), "draws": draws}
                | {"width_points": width, "bootstrap_width_points": boot_width}
            )
    return pd.DataFrame(rows)


def _percentile(gained: int, lost: int, n: int, rng: np.random.Generator) -> tuple[float, float]:
    drawn = rng.multinomial(n, [gained / n, lost / n, (n - gained - lost) / n], size=BOOTSTRAPS)
    low, high = np.quantile((drawn[:, 0] - drawn[:, 1]) / n, (0.025, 0.975))
    return float(low), float(high)


def losses_table(sizes, *, most: float = 20.0, step: float = 0.25) -> pd.DataFrame:
    """Exact coverage of the 95% score interval where documents are only lost, nothing drawn.

    Args:
        most, step: of the grid of expected losses.
    """
    rows = []
    for n in sizes:
        counts = np.arange(min(n, int(4 * most)) + 1)
        ends = -np.array([proportions.tango_interval(0, lost, n) for lost in counts])
        for expected in np.arange(step, min(most, n / 2) + step / 2, step):
            held = (ends[:, 1] <= expected / n) & (expected / n <= ends[:, 0])
            chance = special.bdtr(counts, n, expected / n)
            coverage = float(np.diff(chance, prepend=0.0)[held].sum())
            rows.append({"n": n, "expected_pairs": float(expected), "coverage": coverage})
    return pd.DataFrame(rows)


def graded_table(sizes, *, rates=(0.02, 0.05, 0.20), draws: int, seed: int) -> pd.DataFrame:
    """The same for graded scores of which a share of documents changes, by steps of a half.

    `level_coverage`: intervals of the score itself where that share of documents has one above 0.
    `false_positives`: the sign-flip test at 5% where each change has either sign equally often.
    `false_equivalences`: the equivalence test at 5% where the true change lies just on the margin.
    """
    rows = []
    for n in sizes:
        for rate in rates:
            rng = np.random.default_rng([seed, n, int(1e4 * rate)])
            covered, level, false, equivalent, truth = 0, 0, 0, 0, rate * np.mean(GRADES)
            for at in range(draws):
                moved = rng.random(n) < rate
                step = rng.choice(GRADES, size=n)
                change = _graded_change(np.where(moved, step, 0.0), at)
                low, high = change.interval(0.95)
                covered += low <= truth <= high
                _, low, high = resampling.mean_interval(np.where(moved, np.abs(step), 0.0), seed=at)
                level += low <= rate * np.mean(np.abs(GRADES)) <= high
                equivalent += change.p_equivalent(-truth) <= LEVEL
                null = np.where(moved, np.abs(step) * rng.choice((-1, 1), size=n), 0.0)
                false += resampling.sign_flip_p(null, at) <= LEVEL
            rows.append(
                {"n": n, "changed": rate, "expected_pairs": n * rate}
                | _share("coverage", covered / draws, draws)
                | {"draws": draws}
                | _share("level_coverage", level / draws, draws, "level_error")
                | {"false_positives": false / draws}
                | _share("false_equivalences", equivalent / draws, draws, "equivalence_error")
            )
    return pd.DataFrame(rows)


def _graded_change(change: np.ndarray, seed: int) -> paired.Change:
    """`paired.compare_means` without its permutation test."""
    if not change.any():
        return change_of(0, 0, change.size)
    resampled = resampling.resample(change, np.ones(change.size), seed)
    return replace(change_of(0, 0, change.size), difference=change.mean(), resampled=resampled)


def combined_table(losses=LOSSES, *, draws: int, seed: int) -> pd.DataFrame:
    """How often the 95% interval of the difference of two tasks' changes contains the truth.

    Args:
        losses: (documents and chance of a loss per document) of either task.
    """
    rows = []
    for n, loss, other_n, other_loss in losses:
        rng = np.random.default_rng([seed, n, other_n, int(1e4 * (loss + other_loss))])
        lost = np.stack([rng.binomial(n, loss, draws), rng.binomial(other_n, other_loss, draws)], 1)
        covered = other = 0
        for first, second in lost:
            found = paired.Combined(
                [change_of(0, int(first), n), change_of(0, int(second), other_n)], [1, -1], "ab"
            )
            low, high = found.interval()
            drawn = (
                rng.binomial(other_n, second / other_n, BOOTSTRAPS) / other_n
                - rng.binomial(n, first / n, BOOTSTRAPS) / n
            )
            ends = np.quantile(drawn, (0.025, 0.975))
            covered += low <= other_loss - loss <= high
            other += ends[0] <= other_loss - loss <= ends[1]
        rows.append(
            {"n": n, "loss": loss, "other_n": other_n, "other_loss": other_loss}
            | _share("coverage", covered / draws, draws)
            | {"bootstrap_coverage": other / draws, "draws": draws}
        )
    return pd.DataFrame(rows)


def seeds_table(selections=(5, 10), *, n=300, cases=SEED_CASES, draws: int, seed: int):
    """How often a 95% interval over documents and random selections contains the truth.

    Every document has a difficulty that all models share; the quality of random selections has a
    standard deviation of `spread` around that of the criterion, so its true lead is 0. Or it has a
    `lead`: a share of the documents that it alone answers, and no other document differs.

    Args:
        cases: (spread, lead), of which one is 0.
    """
    rows = []
    for count in selections:
        for spread, lead in cases:
            rng = np.random.default_rng([seed, count, int(1e4 * spread), int(1e4 * lead)])
            covered = 0
            for at in range(draws):
                if lead:
                    gaps = np.tile(rng.random(n) < lead, (count, 1)).astype(float)
                else:
                    gaps = _gaps_of_spread(rng, count, n, spread)
                low, high, _ = crossed.over_documents_and_seeds(gaps, np.ones(n), seed=at)
                covered += low <= lead <= high
            rows.append(
                {"n": n, "selections": count, "spread": spread, "lead": lead}
                | _share("coverage", covered / draws, draws)
                | {"draws": draws}
            )
    return pd.DataFrame(rows)


def _gaps_of_spread(rng, count: int, n: int, spread: float) -> np.ndarray:
    hard = rng.uniform(0, 1, n)
    quality = 0.5 + np.r_[0.0, rng.normal(0, spread, count)]
    right = hard + rng.normal(0, 0.1, (count + 1, n)) < quality[:, None]
    return right[0].astype(float) - right[1:]


def false_positive_table(sizes, *, claims=(1, 3, 6), draws: int, seed: int) -> pd.DataFrame:
    """How often a study with nothing to find shows at least one declared claim.

    Claims of `better` and `worse` where gains and losses are equally likely, and of `equivalent`
    where the true change lies just on the margin: the hardest null. Claims of one study share
    their dense answers, as widths do. p-values and Holm are those of the analysis. `family`: the
    share of studies with any claim shown; `single`: with the first claim shown without correction.
    """
    rows = []
    for n in sizes:
        for count in claims:
            for kind in ("change", "equivalence"):
                rng = np.random.default_rng([seed, n, count, len(kind)])
                family = single = 0
                for tables in _null_counts(rng, n, count, kind, draws):
                    p = [_claim_p(kind, at, *table, n) for at, table in enumerate(tables)]
                    single += p[0] <= LEVEL
                    family += bool((multiplicity.holm(p) <= LEVEL).any())
                rows.append(
                    {"n": n, "claims": count, "kind": kind}
                    | _share("family", family / draws, draws)
                    | {"single": single / draws, "draws": draws}
                )
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
    """
    rows = []
    for n in sizes:
        for effect in effects:
            rng = np.random.default_rng([seed, n, int(1e4 * effect)])
            pairs = max(share, effect)
            chances = [(pairs - effect) / 2, (pairs + effect) / 2, 1 - pairs]
            null = [share / 2, share / 2, 1 - share]
            real, none = (rng.multinomial(n, c, size=draws)[:, :2] for c in (chances, null))
            other = rng.permutation(none)
            p = np.stack([_p_values(counts, n) for counts in (real, none, other)], axis=1)
            alone = float((p[:, 0] <= LEVEL).mean())
            held = float(np.mean([multiplicity.holm(row)[0] <= LEVEL for row in p]))
            same = np.mean([_claim_p("equivalence", 0, *row, n) <= LEVEL for row in none.tolist()])
            detectable = proportions.detectable_binary(n, share)
            points = None if detectable is None else 100 * detectable
            rows.append(
                {"n": n, "effect": effect, "share": pairs, "power": alone, "power_holm": held}
                | {"error": simulation_error(alone, draws), "equivalent": float(same)}
                | {"draws": draws, "detectable_points": points}
            )
    return pd.DataFrame(rows)


def _p_values(counts: np.ndarray, n: int) -> list[float]:
    return [change_of(*row, n).p_value for row in counts.tolist()]
