"""How much a score changed between two models on the same documents, and how surely.

Everything is a fraction here (0.03, not 3 points); scipy and statsmodels do the work. Documents
are taken as independent draws from the task's population; where they are not, give `clusters`.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
from scipy import optimize, stats

from ppmlib.statistics import resampling
from ppmlib.statistics.proportions import (
    LEVEL,
    POWER,
    detectable_binary,
    mcnemar_p,
    score_statistic,
    tango_interval,
)
from ppmlib.statistics.resampling import column_of, is_binary, pair_of


@dataclass(frozen=True)
class Change:
    """A paired change (pruned minus dense) with its 95% and 90% intervals.

    `n` documents, `units` independent units among them, `gained` and `lost` documents that scored
    higher and lower. `p_value` is two-sided, for no change. `resampled` holds the bootstrap where
    there is one; `scale` the effective over the real number of documents.
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
    resampled: resampling.Resampled | None = field(default=None, repr=False, compare=False)

    def p_above(self, bound: float = 0.0) -> float:
        """One-sided p-value of 'the true change is at most `bound`' (small: it lies above).

        At 0 it comes from the test of `p_value`; elsewhere it inverts the interval: the score
        statistic (right/wrong), or the more cautious of BCa bootstrap and Student's t (others).
        """
        return self._p_beyond(bound, 1)

    def p_below(self, bound: float = 0.0) -> float:
        """One-sided p-value of 'the true change is at least `bound`' (small: it lies below)."""
        return self._p_beyond(bound, -1)

    def _p_beyond(self, bound: float, side: int) -> float:
        if bound == 0:
            half = self.p_value / 2
            return half if side * self.difference > 0 else 1 - half
        if self.resampled is None:
            return float(stats.norm.sf(side * score_statistic(bound, *self._table())))
        return self.resampled.p_beyond(bound, side)

    def interval(self, confidence: float) -> tuple[float, float]:
        """The interval at any confidence; `low` and `high` are that of 95%."""
        if self.resampled is None:
            return tango_interval(*self._table(), confidence)
        return self.resampled.interval(confidence)

    def _table(self) -> tuple[float, float, float]:
        return tuple(self.scale * count for count in (self.gained, self.lost, self.n))

    def p_equivalent(self, margin: float) -> float:
        """TOST: the larger one-sided p-value of a change beyond -margin or +margin.

        Raises:
            ValueError: unless margin > 0.
        Source: Schuirmann 1987, Journal of Pharmacokinetics and Biopharmaceutics 15:657-680.
        """
        if margin <= 0:
            raise ValueError("an equivalence margin must be above 0")
        return max(self.p_above(-margin), self.p_below(margin))


def _ends(interval: Callable[[float], tuple[float, float]]) -> dict[str, float]:
    """Both intervals of a `Change` by name, from a function of the confidence."""
    (low, high), (low90, high90) = interval(0.95), interval(0.90)
    return {"low": low, "high": high, "low90": low90, "high90": high90}


def stratified_gain(change: np.ndarray, strata: Sequence) -> float:
    """Variance of a mean over strata of fixed sizes, relative to one drawn from all documents.

    Between 0 and 1: differences between strata (subjects of MMLU) are not sampling error. 1 where
    nothing varies. A stratum of one document adds its squared distance from the overall mean.
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


def compare_binary(
    dense: Sequence[float], pruned: Sequence[float], strata: Sequence | None = None
) -> Change:
    """Change of the share of right answers: Tango's interval and McNemar's exact test.

    The test is exact at every size: its level never exceeds the nominal one. With no discordant
    pair p is 1 and the interval says how much could have been missed.

    Args:
        dense, pruned: 0 or 1 for each document, in the same order.
        strata: a name per document where the sizes of the strata are fixed. The interval is then
            Tango's at the effective sample size; the test stays exact.
    Raises:
        ValueError: for fewer than 2 documents, unequal lengths, or values other than 0 and 1.
    Source: McNemar 1947; Tango 1998; statsmodels.stats.contingency_tables.mcnemar; effective
        sample sizes Korn and Graubard 1998, Survey Methodology 24:193-201.
    """
    first, second = pair_of(dense, pruned)
    if not is_binary(first, second):
        raise ValueError("compare_binary needs values 0 and 1; use compare_means for other scores")
    n, gained, lost = first.size, int(np.sum(second > first)), int(np.sum(second < first))
    scale = 1.0 if strata is None else 1 / max(stratified_gain(second - first, strata), 0.1)
    return Change(
        n=n,
        units=n,
        difference=(gained - lost) / n,
        **_ends(partial(tango_interval, gained * scale, lost * scale, n * scale)),
        p_value=mcnemar_p(gained, lost),
        gained=gained,
        lost=lost,
        detectable=detectable_binary(n, (gained + lost) / n),
        method="Tango score interval, exact McNemar test" + ", stratified" * (strata is not None),
        scale=scale,
    )


def compare_means(
    dense: Sequence[float],
    pruned: Sequence[float],
    *,
    weights: Sequence[float] | None = None,
    clusters: Sequence | None = None,
    bounded: bool = True,
    seed: int,
) -> Change:
    """Change of a weighted mean: sum(pruned - dense) / sum(weights), paired by document.

    Scores of any kind (weights 1), lists of outcomes per document (sums, weighted by their
    lengths: a ratio estimator) and log-likelihoods (weighted by words). BCa bootstrap interval
    over units, widened where few changed (`resampling.Resampled`); sign-flip permutation test.
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
    if not np.any(change):
        unchanged = partial(tango_interval, 0, 0, units) if bounded else lambda _: (0.0, 0.0)
        return Change(
            **common,
            **_ends(unchanged),
            p_value=1.0,
            detectable=detectable_binary(units, 0.0) if bounded else None,
            method="no document changed",
            scale=units / n,
            resampled=None if bounded else resampling.UNCHANGED,
        )
    resampled = resampling.resample(change, unit_weight, seed, bounded=bounded)
    z = stats.norm.isf(LEVEL / 2) + stats.norm.isf(1 - POWER)
    return Change(
        **common,
        **_ends(resampled.interval),
        p_value=resampling.sign_flip_p(change, seed),
        detectable=float(z * max(resampled.replicates.std(ddof=1), resampled.error)),
        method="BCa bootstrap interval, sign-flip permutation test",
        resampled=resampled,
    )


def compare(
    dense, pruned, *, seed: int, weights=None, clusters=None, strata=None, bounded: bool = True
) -> Change:
    """`compare_binary` for independent right/wrong documents, `compare_means` for all else.

    Strata only sharpen the former; clusters go before strata where documents have both.
    """
    if weights is None and clusters is None and is_binary(dense, pruned):
        return compare_binary(dense, pruned, strata)
    return compare_means(
        dense, pruned, weights=weights, clusters=clusters, bounded=bounded, seed=seed
    )


@dataclass(frozen=True)
class Combined:
    """A weighted sum of changes of several tasks, with intervals and a p-value.

    The square-and-add method (MOVER): the distances of each change to its own limits are added in
    squares, so that few changed documents are allowed for (a percentile bootstrap of the sum
    covers as little as 62% in simulations). Changes of one group answered the same documents:
    their distances are added as they are, the worst case.

    Args:
        coefficients: one per change. groups: one name per change.
    Source: Zou and Donner 2008, Statistics in Medicine 27:1693-1702.
    """

    changes: Sequence[Change]
    coefficients: Sequence[float]
    groups: Sequence

    @property
    def difference(self) -> float:
        """The sum itself."""
        pairs = zip(self.coefficients, self.changes, strict=True)
        return float(sum(c * change.difference for c, change in pairs))

    def interval(self, confidence: float = 1 - LEVEL) -> tuple[float, float]:
        """The two-sided interval."""
        below, above = dict.fromkeys(self.groups, 0.0), dict.fromkeys(self.groups, 0.0)
        for change, c, group in zip(self.changes, self.coefficients, self.groups, strict=True):
            low, high = sorted(c * end for end in change.interval(confidence))
            below[group] += max(0.0, c * change.difference - low)
            above[group] += max(0.0, high - c * change.difference)
        return (
            self.difference - math.hypot(*below.values()),
            self.difference + math.hypot(*above.values()),
        )

    def p_value(self) -> float:
        """Two-sided, for a sum of 0, by inverting the interval; at least 1e-7."""

        def nearest(confidence: float) -> float:
            low, high = self.interval(confidence)
            return low if self.difference > 0 else -high

        least, most = 1e-3, 1 - 1e-7
        if self.difference == 0 or nearest(least) <= 0:
            return 1.0
        if nearest(most) > 0:
            return 1 - most
        return 1 - float(optimize.brentq(nearest, least, most, xtol=1e-9))
