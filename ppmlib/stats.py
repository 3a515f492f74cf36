"""Paired statistics: how much a score changed, how surely, and what could have been seen.

    paired_binary     right/wrong per document: Tango's score interval, exact McNemar test
    paired_mean       other scores, lists and log-likelihoods: bootstrap interval, sign-flip test
    detectable        the smallest change that 80% power could have shown
    holm, benjamini_hochberg
    change_verdict, level_verdict

Everything is a fraction here (0.03, not 3 points); scipy and statsmodels do the work. Documents
are taken as independent draws from the task's population; where they are not, give `clusters`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cache

import numpy as np
from scipy import optimize, special, stats

from ppmlib import resampling
from ppmlib.resampling import LEVEL, column_of, is_binary, pair_of

POWER = 0.80


@dataclass(frozen=True)
class Change:
    """A paired change (pruned minus dense) with its 95% and 90% intervals.

    `n` documents, `units` independent units among them, `gained` and `lost` documents that scored
    higher and lower. `p_value` is two-sided, for no change. `replicates` holds the bootstrap
    distribution where there is one; `scale` the effective over the real number of documents.
    """

    n: int
    units: int
    difference: float
    low: float
    high: float
    low90: float
    high90: float
    p_value: float
    gained: int
    lost: int
    detectable: float | None
    method: str
    scale: float = 1.0
    replicates: np.ndarray | None = field(default=None, repr=False, compare=False)

    def p_above(self, bound: float = 0.0) -> float:
        """One-sided p-value of 'the true change is at most `bound`' (small: it lies above).

        At 0 it comes from the test of `p_value`; elsewhere from the score statistic (right/wrong)
        or the share of bootstrap replicates at or below the bound, one added (other scores).
        """
        if bound == 0:
            half = self.p_value / 2
            return half if self.difference > 0 else 1 - half
        if self.replicates is None:
            return float(stats.norm.sf(self._score(bound)))
        return float((1 + np.sum(self.replicates <= bound)) / (1 + self.replicates.size))

    def p_below(self, bound: float = 0.0) -> float:
        """One-sided p-value of 'the true change is at least `bound`' (small: it lies below)."""
        if bound == 0:
            half = self.p_value / 2
            return half if self.difference < 0 else 1 - half
        if self.replicates is None:
            return float(stats.norm.cdf(self._score(bound)))
        return float((1 + np.sum(self.replicates >= bound)) / (1 + self.replicates.size))

    def _score(self, bound: float) -> float:
        sizes = (self.scale * count for count in (self.gained, self.lost, self.n))
        return _score_statistic(bound, *sizes)

    def p_equivalent(self, margin: float) -> float:
        """TOST: the larger one-sided p-value of a change beyond -margin or +margin (margin > 0)."""
        if margin <= 0:
            raise ValueError("an equivalence margin must be above 0")
        return max(self.p_above(-margin), self.p_below(margin))


def _score_statistic(difference: float, gained: float, lost: float, n: float) -> float:
    """Tango's z for H0: P(gain) - P(loss) = difference; infinite where H0 has no variance."""
    distance = gained - lost - n * difference
    a = 2 * n
    b = -gained - lost + (2 * n - gained + lost) * difference
    c = -lost * difference * (1 - difference)
    loss = (np.sqrt(max(b * b - 4 * a * c, 0.0)) - b) / (2 * a)  # P(loss) under H0
    variance = n * (2 * loss + difference * (1 - difference))
    if variance <= 1e-12:
        return float(np.sign(distance) * np.inf) if abs(distance) > 1e-9 else 0.0
    return float(distance / np.sqrt(variance))


def tango_interval(gained: float, lost: float, n: float, confidence: float = 0.95) -> tuple:
    """Score interval for the difference of two paired proportions.

    Inverts the score test of H0: difference = d; keeps its level with few or no discordant pairs,
    where Wald and percentile bootstrap intervals are too short. Assumes independent documents.

    Args:
        gained, lost: documents wrong then right, right then wrong; n: all documents. They need
            not be whole numbers (effective sample sizes).
    Returns:
        (low, high), fractions in [-1, 1].
    Source: Tango 1998, Statistics in Medicine 17:891-908.
    """
    z = stats.norm.isf((1 - confidence) / 2)
    estimate, edge = (gained - lost) / n, 1 - 1e-10

    def limit(target: float, end: float) -> float:
        def distance(difference: float) -> float:
            return np.clip(_score_statistic(difference, gained, lost, n), -1e6, 1e6) - target

        if abs(estimate) >= edge and np.sign(estimate) == np.sign(end):
            return float(np.sign(end))
        return float(optimize.brentq(distance, min(estimate, end), max(estimate, end)))

    return limit(z, -edge), limit(-z, edge)


@cache
def _needed_wins(n: int) -> np.ndarray:
    """How many of 0..n discordant pairs must go one way for a two-sided exact p of at most 5%."""
    pairs = np.arange(n + 1)
    return (stats.binom.isf(LEVEL / 2, pairs, 0.5) + 1).astype(int)


def detectable_binary(n: int, discordant_share: float) -> float | None:
    """The smallest true difference that the exact McNemar test shows with 80% power.

    The share of discordant documents is taken as seen, or as the difference itself where that is
    larger. None if no difference at all could be shown (fewer than 6 documents).
    """

    needed = _needed_wins(n)

    def power(difference: float) -> float:
        share = min(max(discordant_share, difference), 1.0)
        reach = 6 * np.sqrt(n * share * (1 - share)) + 1
        pairs = np.arange(max(0, int(n * share - reach)), min(n, int(n * share + reach)) + 1)
        chance = special.bdtr(pairs, n, share) - np.where(
            pairs > 0, special.bdtr(np.maximum(pairs - 1, 0), n, share), 0.0
        )
        wins = needed[pairs]
        shown = special.bdtrc(wins - 1, pairs, (1 + difference / share) / 2)
        return float(np.sum(chance * np.where(wins <= pairs, shown, 0.0)))

    if power(1.0) < POWER:
        return None
    return float(optimize.brentq(lambda d: power(d) - POWER, 1e-9, 1.0, xtol=1e-6))


def mcnemar_p(gained: int, lost: int) -> float:
    """Two-sided exact p-value of 'a discordant document is as likely gained as lost'."""
    from statsmodels.stats.contingency_tables import mcnemar

    return min(1.0, float(mcnemar([[0, gained], [lost, 0]], exact=True).pvalue))


def stratified_gain(change: np.ndarray, strata: Sequence) -> float:
    """Variance of a mean over strata of fixed sizes, relative to one drawn from all documents.

    Between 0 and 1: what differs between strata (subjects of MMLU) is no error of the whole. 1
    where nothing varies. A stratum of one document adds its squared distance from the overall mean.
    """
    names, member = np.unique(np.asarray(strata, dtype=str), return_inverse=True)
    if member.size != change.size:
        raise ValueError(f"{member.size} strata for {change.size} documents")
    size = np.bincount(member, minlength=names.size)
    means = np.bincount(member, weights=change) / size
    centre = np.where(size > 1, means, change.mean())
    within = np.bincount(member, weights=(change - centre[member]) ** 2)
    within = np.sum(within * np.where(size > 1, size / np.maximum(size - 1, 1), 1.0))
    total = np.sum((change - change.mean()) ** 2)
    return float(min(1.0, within / total)) if total > 0 else 1.0


def paired_binary(
    dense: Sequence[float], pruned: Sequence[float], strata: Sequence | None = None
) -> Change:
    """Change of the share of right answers: Tango's interval and McNemar's exact test.

    The conditional exact test is used at every size (a binomial test of gained against lost
    pairs): its level never exceeds the nominal one, at little cost in power when pairs are many.
    With no discordant pair p is 1 and the interval says how much could have been missed.

    Args:
        dense, pruned: 0 or 1 for each document, in the same order.
        strata: a name per document where the sizes of the strata are fixed. The interval is then
            Tango's at the effective sample size; the test is exact within strata as well and
            stays as it is.
    Raises:
        ValueError: for fewer than 2 documents, unequal lengths, or values other than 0 and 1.
    Source: McNemar 1947; Tango 1998; statsmodels.stats.contingency_tables.mcnemar; effective
        sample sizes Korn and Graubard 1998, Survey Methodology 24:193-201.
    """
    first, second = pair_of(dense, pruned)
    if not is_binary(first, second):
        raise ValueError("paired_binary needs values 0 and 1; use paired_mean for other scores")
    n, gained, lost = first.size, int(np.sum(second > first)), int(np.sum(second < first))
    scale = 1.0 if strata is None else 1 / max(stratified_gain(second - first, strata), 0.1)
    table_sizes = (gained * scale, lost * scale, n * scale)
    low, high = tango_interval(*table_sizes)
    low90, high90 = tango_interval(*table_sizes, 0.90)
    return Change(
        n=n, units=n, difference=(gained - lost) / n, low=low, high=high, low90=low90,
        high90=high90, p_value=mcnemar_p(gained, lost), gained=gained, lost=lost,
        detectable=detectable_binary(n, (gained + lost) / n),
        method="Tango score interval, exact McNemar test"
        + ("" if strata is None else ", stratified"),
        scale=scale,
    )  # fmt: skip


def paired_mean(
    dense: Sequence[float],
    pruned: Sequence[float],
    *,
    weights: Sequence[float] | None = None,
    clusters: Sequence | None = None,
    bounded: bool = True,
    seed: int,
) -> Change:
    """Change of a weighted mean: sum(pruned - dense) / sum(weights), paired by document.

    Serves scores of any kind (weights 1), lists of outcomes per document (sums, weighted by their
    lengths: a ratio estimator) and log-likelihoods (weighted by words). BCa bootstrap interval
    over units, widened where few changed (`resampling.widened`); sign-flip permutation test over
    units (exact when few, else p with one added): under the null a unit's change is as likely to
    have the other sign.
    When no document changed, the interval of a bounded score is Tango's for no discordant pair;
    of an unbounded one (log-likelihoods, which then come from the same model) it is [0, 0].

    Args:
        dense, pruned: one total per document. weights: its weight, above 0.
        clusters: a name per document; documents of one cluster are kept together.
        bounded: whether totals lie in [0, weight].
    Raises:
        ValueError: for fewer than 2 documents or clusters, unequal lengths, values not finite.
    Source: Efron 1987 (BCa); Phipson and Smyth 2010 (added one); Miller 2024, arXiv:2411.00640.
    """
    first, second = pair_of(dense, pruned)
    weight = np.ones(first.size) if weights is None else column_of("weights", weights)
    if weight.size != first.size or np.any(weight <= 0):
        raise ValueError("weights must be one per document and above 0")
    change, unit_weight = resampling.per_unit(clusters, second - first, weight)
    n, units, estimate = first.size, change.size, float(resampling.ratio(change, unit_weight))
    gained, lost = int(np.sum(second > first)), int(np.sum(second < first))
    common = {"n": n, "units": units, "difference": estimate, "gained": gained, "lost": lost}
    rates = change / unit_weight
    if np.ptp(rates) <= 1e-15 + 1e-12 * abs(estimate):
        none = not np.any(change) and bounded
        wide, narrow = (tango_interval(0, 0, units, c) if none else (estimate, estimate)
                        for c in (0.95, 0.90))  # fmt: skip
        p = 1.0 if estimate == 0 else max(2.0 ** (1 - units), 1 / (1 + resampling.PERMUTATIONS))
        return Change(
            **common, low=wide[0], high=wide[1], low90=narrow[0], high90=narrow[1], p_value=p,
            detectable=detectable_binary(units, 0.0) if none else None,
            method="every document changed by the same amount",
            replicates=None if none else np.full(resampling.RESAMPLES, estimate),
        )  # fmt: skip
    wide = resampling.bootstrap(change, unit_weight, seed, 0.95)
    narrow = resampling.bootstrap(change, unit_weight, seed, 0.90, wide)
    outer, inner = (resampling.widened(change, unit_weight, result, confidence)
                    for result, confidence in ((wide, 0.95), (narrow, 0.90)))  # fmt: skip
    z = stats.norm.isf(LEVEL / 2) + stats.norm.isf(1 - POWER)
    return Change(
        **common, low=outer[0], high=outer[1], low90=inner[0], high90=inner[1],
        p_value=resampling.sign_flip_p(change, seed), detectable=float(z * wide.standard_error),
        method="BCa bootstrap interval, sign-flip permutation test",
        replicates=wide.bootstrap_distribution,
    )  # fmt: skip


def paired(
    dense, pruned, *, seed: int, weights=None, clusters=None, strata=None, bounded: bool = True
) -> Change:
    """`paired_binary` for independent right/wrong documents, `paired_mean` for all else.

    Strata only sharpen the former; clusters go before strata where documents have both.
    """
    if weights is None and clusters is None and is_binary(dense, pruned):
        return paired_binary(dense, pruned, strata)
    return paired_mean(
        dense, pruned, weights=weights, clusters=clusters, bounded=bounded, seed=seed
    )


def holm(p_values: Sequence[float]) -> np.ndarray:
    """p-values adjusted so that the chance of any false claim is at most the level (Holm 1979).

    Own lines: statsmodels' multipletests collects garbage at every call, a fifth of a second.
    """
    column = column_of("p-values", p_values)
    order = np.argsort(column)
    adjusted = np.empty_like(column)
    steps = np.arange(column.size, 0, -1) * column[order]
    adjusted[order] = np.minimum(np.maximum.accumulate(steps), 1.0)
    return adjusted


def benjamini_hochberg(p_values: Sequence[float]) -> np.ndarray:
    """p-values adjusted for the false discovery rate (Benjamini and Hochberg 1995)."""
    column = column_of("p-values", p_values)
    return stats.false_discovery_control(column, method="bh") if column.size else column


def change_verdict(
    change: Change, p_adjusted: float, margin: float | None, higher_is_better: bool = True
) -> str:
    """`better`, `worse`, `equivalent` (90% interval inside the margin) or `inconclusive`.

    A surely seen change is named as such even where it is smaller than the margin.
    """
    if p_adjusted <= LEVEL and change.difference != 0:
        return "better" if (change.difference > 0) == higher_is_better else "worse"
    inside = margin is not None and -margin < change.low90 and change.high90 < margin
    return "equivalent" if inside else "inconclusive"


def level_verdict(low: float, high: float) -> str:
    """Where the 95% interval of (score minus floor) lies: above, below, or not above the floor."""
    if low > 0:
        return "above floor"
    return "below floor" if high < 0 else "not above floor"
