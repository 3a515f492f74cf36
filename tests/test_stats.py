"""The paired statistics: published examples, edges, and coverage by simulation on fixed seeds."""

import numpy as np
import pandas as pd
import pytest
from scipy.stats import t as student

from ppmlib.statistics import crossed, multiplicity, paired, proportions, resampling
from ppmlib.statistics.verdicts import level_verdict


def outcomes(gained, lost, n):
    """Paired 0/1 columns with the given discordant counts; the rest is right in both."""
    same = np.ones(n - gained - lost)
    dense = np.concatenate([np.zeros(gained), np.ones(lost), same])
    pruned = np.concatenate([np.ones(gained), np.zeros(lost), same])
    return dense, pruned


def test_tango_interval_of_the_airway_example():
    # Bentur 2009 as analysed by Fagerland, Lydersen and Laake 2014: -0.517 to -0.026
    assert proportions.tango_interval(1, 7, 21) == pytest.approx((-0.517, -0.026), abs=5e-4)


def test_tango_interval_without_discordant_pairs_has_its_closed_form():
    z2 = 1.959963984540054**2
    low, high = proportions.tango_interval(0, 0, 300)
    assert (-low, high) == pytest.approx((z2 / (300 + z2),) * 2)


def test_tango_interval_mirrors_and_holds_the_estimate():
    for gained, lost, n in [(0, 1, 5), (3, 40, 200), (30, 0, 30), (0, 30, 30), (150, 150, 300)]:
        low, high = proportions.tango_interval(gained, lost, n)
        assert -1 <= low <= (gained - lost) / n <= high <= 1
        assert proportions.tango_interval(lost, gained, n) == pytest.approx((-high, -low), abs=1e-9)


def test_mcnemar_is_the_binomial_test_of_the_discordant_pairs():
    from scipy.stats import binomtest

    change = paired.compare_binary(*outcomes(4, 15, 300))
    assert change.p_value == pytest.approx(binomtest(4, 19).pvalue)
    assert (change.n, change.gained, change.lost) == (300, 4, 15)
    assert change.difference == pytest.approx(-11 / 300)


@pytest.mark.parametrize("gained,lost,n", [(0, 0, 300), (300, 0, 300), (0, 300, 300), (0, 0, 2)])
def test_extreme_tables_give_finite_results(gained, lost, n):
    change = paired.compare_binary(*outcomes(gained, lost, n))
    numbers = [change.low, change.high, change.low90, change.high90, change.p_value]
    assert np.isfinite(numbers).all()
    assert change.low <= change.difference <= change.high
    assert change.p_value == 1 or gained != lost


@pytest.mark.parametrize(
    "pair", [paired.compare_binary, lambda d, p: paired.compare_means(d, p, seed=0)]
)
def test_bad_columns_are_clear_errors(pair):
    with pytest.raises(ValueError, match="1 document"):
        pair([1], [0])
    with pytest.raises(ValueError, match="not paired: 3 dense and 2 pruned"):
        pair([1, 0, 1], [1, 0])
    with pytest.raises(ValueError, match="pruned: 1 values are not finite"):
        pair([1, 0], [1, float("nan")])


def test_paired_mean_agrees_with_the_t_interval_on_a_plain_case():
    from scipy.stats import ttest_1samp

    rng = np.random.default_rng(3)
    dense, pruned = rng.random(400), rng.random(400) - 0.05
    change = paired.compare_means(dense, pruned, seed=0)
    reference = ttest_1samp(pruned - dense, 0)
    low, high = reference.confidence_interval()
    assert change.difference == pytest.approx(np.mean(pruned - dense))
    assert (change.low, change.high) == pytest.approx((low, high), abs=0.003)
    assert change.p_value == pytest.approx(reference.pvalue, abs=0.01)
    assert change == paired.compare_means(dense, pruned, seed=0)


def test_paired_mean_of_lists_is_the_ratio_of_sums():
    totals, counts = np.array([1.0, 2, 0, 3]), np.array([1.0, 3, 2, 3])
    change = paired.compare_means(np.zeros(4), totals, weights=counts, seed=0)
    assert change.difference == pytest.approx(6 / 9)


def graded(n, seed, rate=0.3):
    rng = np.random.default_rng(seed)
    weight = rng.integers(1, 9, n).astype(float)
    return weight * rng.choice([-1, -0.5, 0.5], n) * (rng.random(n) < rate), weight


@pytest.mark.parametrize("n", [40, 300])
def test_the_bca_interval_is_scipys(n):
    from scipy.stats import bootstrap

    change, weight = graded(n, 1)
    expected = bootstrap(
        (change, weight), resampling.ratio, paired=True, vectorized=True, confidence_level=0.9,
        n_resamples=resampling.RESAMPLES, method="BCa", rng=np.random.default_rng(5),
        batch=resampling.BATCH_CELLS // n,
    ).confidence_interval  # fmt: skip
    found = resampling.resample(change, weight, 5)
    assert found.bca(0.9) == pytest.approx(tuple(expected), abs=1e-12)
    low, high = found.interval(0.9)
    assert low <= expected.low and expected.high <= high


def test_p_values_of_resampled_changes_invert_their_intervals():
    for seed, rate in ((1, 0.3), (2, 0.02), (3, 1.0)):
        found = resampling.resample(*graded(200, seed, rate), seed)
        low, high = found.interval(0.90)
        assert found.p_beyond(low, 1) == pytest.approx(0.05, abs=0.002)
        assert found.p_beyond(high, -1) == pytest.approx(0.05, abs=0.002)
        assert found.p_beyond(low - 0.01, 1) < 0.05 < found.p_beyond(low + 0.01, 1)
    edge = resampling.resample(np.full(5, 1.0), np.ones(5), 0, bounded=True)
    assert edge.interval(0.95)[1] == 1 < resampling.resample(np.ones(5), np.ones(5), 0).interval(
        0.95
    )[1]  # fmt: skip
    with pytest.raises(ValueError, match="nothing changed"):
        resampling.resample(np.zeros(9), np.ones(9), 0)


def test_few_equal_changes_have_an_interval_of_some_width():
    change = paired.compare_means([0.5] * 5, [0.6] * 5, seed=0)
    assert change.low < 0.05 and change.high > 0.1 == pytest.approx(change.difference)


def test_a_sum_of_changes_has_the_limits_of_square_and_add():
    first, second = paired.compare_binary(*outcomes(3, 20, 200)), paired.compare_binary(
        *outcomes(8, 12, 300)
    )  # fmt: skip
    apart = paired.Combined([first, second], [1, -1], ["a", "b"])
    low = apart.difference - np.hypot(first.difference - first.low, second.high - second.difference)
    assert apart.difference == pytest.approx(-17 / 200 + 4 / 300)
    assert apart.interval()[0] == pytest.approx(low)
    p = apart.p_value()
    assert apart.interval(1 - p)[1] == pytest.approx(0, abs=1e-6) and p < 0.05
    same = paired.Combined([first, second], [1, -1], ["a", "a"])
    assert same.interval()[0] < low and same.p_value() > p
    alone = paired.Combined([first], [1], ["a"])
    assert alone.interval() == pytest.approx((first.low, first.high))
    none = paired.Combined([paired.compare_binary(*outcomes(0, 0, 50))] * 2, [1, -1], "ab")
    assert none.p_value() == 1 and none.interval()[0] < 0 < none.interval()[1]


def test_random_selections_are_units_beside_documents():
    from statsmodels.formula.api import ols
    from statsmodels.stats.anova import anova_lm

    rng = np.random.default_rng(0)
    cells = rng.normal(0.1, 0.5, 5)[:, None] + rng.normal(0, 0.4, 40) + rng.normal(0, 0.3, (5, 40))
    table = pd.DataFrame({"value": cells.ravel(), "seed": np.repeat(range(5), 40).astype(str),
                          "document": np.tile(range(40), 5).astype(str)})  # fmt: skip
    fit = anova_lm(ols("value ~ C(seed) + C(document)", table).fit())
    squares = fit["mean_sq"].to_numpy()
    total = squares[0] + squares[1] - squares[2]
    freedom = total**2 / np.sum(squares**2 / fit["df"])
    assert crossed.cell_variance(cells - cells.mean(), 0.0, 39) == pytest.approx((total, freedom))
    low, high, p = crossed.over_documents_and_seeds(cells, np.ones(40), seed=0)
    reach = student.isf(0.025, freedom) * np.sqrt(total / 200)
    assert high - low == pytest.approx(2 * reach, rel=0.03) and 0 < p <= 1
    assert low < cells.mean() - reach * 0.95 and cells.mean() + reach * 0.95 < high
    clustered = crossed.over_documents_and_seeds(cells, np.ones(40), np.repeat(range(8), 5), seed=0)
    halves = crossed.over_documents_and_seeds(
        cells.reshape(5, 8, 5).sum(axis=2), np.full(8, 5.0), seed=0
    )
    assert clustered == halves


def test_random_selections_that_all_answer_alike_are_not_called_certain():
    same, weight = np.zeros((5, 100)), np.ones(100)
    low, high, p = crossed.over_documents_and_seeds(same, weight, seed=0)
    assert (low, high, p) == (*proportions.tango_interval(0, 0, 100), 1.0)
    logs = crossed.over_documents_and_seeds(same, weight, seed=0, bounded=False)
    assert logs == (0, 0, 1)
    one = same.copy()
    one[:, 0] = 1.0
    low, high, p = crossed.over_documents_and_seeds(one, weight, seed=0)
    assert low < 0 and high > 0.04 and p > 0.05
    low, high, p = crossed.over_documents_and_seeds(same + 1, weight, seed=0)
    assert 0.9 < low < 0.99 and high == 1 and p < 0.05


def test_all_wrong_in_lists_of_answers_is_not_certain():
    from statsmodels.stats.proportion import proportion_confint

    counts = [2.0, 3.0, 1.0, 2.0]
    assert resampling.mean_interval([0.0] * 4, weights=counts, seed=0)[2] == pytest.approx(
        proportion_confint(0, 4, method="wilson")[1]
    )
    assert resampling.mean_interval(counts, weights=counts, seed=0)[1] < 0.6


def test_clusters_are_resampled_whole():
    rng = np.random.default_rng(0)
    effect = np.repeat(rng.normal(0, 1, 20), 10)
    alone = paired.compare_means(np.zeros(200), effect, seed=0)
    whole = paired.compare_means(
        np.zeros(200), effect, clusters=np.repeat(np.arange(20), 10), seed=0
    )
    assert (whole.n, whole.units) == (200, 20)
    assert whole.high - whole.low > 2 * (alone.high - alone.low)
    with pytest.raises(ValueError, match="one cluster"):
        paired.compare_means([0, 1], [1, 1], clusters=["a", "a"], seed=0)


@pytest.mark.parametrize("units", [8, 60])
def test_sign_flips_agree_with_scipy(units):
    from scipy.stats import permutation_test

    change = np.random.default_rng(units).normal(0.3, 1, units)
    reference = permutation_test(
        (change,), lambda values, axis: values.sum(axis=axis), permutation_type="samples",
        vectorized=True, n_resamples=9999, rng=np.random.default_rng(0),
    )  # fmt: skip
    tolerance = 1e-12 if units == 8 else 0.015
    assert resampling.sign_flip_p(change, 0) == pytest.approx(reference.pvalue, abs=tolerance)


def test_unchanged_scores_are_not_called_certain():
    change = paired.compare_means([0.5] * 300, [0.5] * 300, seed=0)
    assert change.p_value == 1 and change.high == pytest.approx(0.0126, abs=1e-3)
    shifted = paired.compare_means([0.5] * 5, [0.6] * 5, seed=0)
    assert shifted.p_value == pytest.approx(2 / 32)
    logs = paired.compare_means([-5.0, -6.0], [-5.0, -6.0], weights=[2, 3], bounded=False, seed=0)
    assert (logs.low, logs.high, logs.p_value) == (0, 0, 1)


def test_equivalence_needs_enough_documents():
    few, many = (paired.compare_binary(*outcomes(0, 0, n)) for n in (20, 300))
    assert many.p_equivalent(0.03) < 0.05 < few.p_equivalent(0.03)


def test_a_level_is_above_its_floor_where_the_whole_interval_is():
    assert [level_verdict(*pair) for pair in [(0.01, 0.1), (-0.1, 0.1), (-0.2, -0.1)]] == [
        "above floor", "not above floor", "below floor",
    ]  # fmt: skip


def test_one_sided_p_values_are_halves_of_the_two_sided_one():
    for change in (
        paired.compare_binary(*outcomes(5, 20, 100)),
        paired.compare_means(np.zeros(50), np.linspace(-1, 0.5, 50), seed=0),
    ):
        assert change.p_below() == pytest.approx(change.p_value / 2)
        assert change.p_above() == pytest.approx(1 - change.p_value / 2)
        assert change.p_above(-0.9) < 0.01 < 0.9 < change.p_above(0.5)


def test_detectable_difference_has_the_power_it_says():
    n, share = 300, 0.10
    effect = proportions.detectable_binary(n, share)
    rng = np.random.default_rng(1)
    chances = [(share + effect) / 2, (share - effect) / 2, 1 - share]
    draws = rng.multinomial(n, chances, size=2000)
    from scipy.stats import binom

    p = 2 * binom.cdf(np.minimum(draws[:, 0], draws[:, 1]), draws[:, 0] + draws[:, 1], 0.5)
    assert np.mean(p <= 0.05) == pytest.approx(0.80, abs=0.025)
    assert proportions.detectable_binary(5, 0.0) is None


@pytest.mark.parametrize("n", [100, 200, 400])
@pytest.mark.parametrize("gain,loss", [(0.01, 0.01), (0.03, 0.005), (0.02, 0.08), (0.10, 0.10)])
def test_tango_interval_covers_and_mcnemar_keeps_its_level(n, gain, loss):
    rng = np.random.default_rng(n)
    draws = rng.multinomial(n, [gain, loss, 1 - gain - loss], size=1500)
    tables, index = np.unique(draws[:, :2], axis=0, return_inverse=True)
    bounds = np.array([proportions.tango_interval(g, m, n) for g, m in tables])[index.ravel()]
    covered = (bounds[:, 0] <= gain - loss) & (gain - loss <= bounds[:, 1])
    assert covered.mean() >= 0.93
    if gain == loss:
        from scipy.stats import binom

        fewer, pairs = draws[:, :2].min(axis=1), draws[:, :2].sum(axis=1)
        assert np.mean(2 * binom.cdf(fewer, pairs, 0.5) <= 0.05) <= 0.05


@pytest.mark.parametrize("n,rate", [(100, 0.02), (100, 0.05), (300, 0.05)])
def test_intervals_of_graded_scores_cover_when_few_documents_change(n, rate, monkeypatch):
    monkeypatch.setattr(resampling, "RESAMPLES", 999)
    monkeypatch.setattr(resampling, "PERMUTATIONS", 99)
    rng, sizes = np.random.default_rng(n), [-1, -0.5, -0.5, 0.5]
    covered = []
    for seed in range(200):
        change = np.where(rng.random(n) < rate, rng.choice(sizes, size=n), 0)
        found = paired.compare_means(np.zeros(n), change, seed=seed)
        covered.append(found.low <= rate * np.mean(sizes) <= found.high)
    assert np.mean(covered) >= 0.93


def test_corrections_are_statsmodels_ones():
    assert multiplicity.holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert multiplicity.benjamini_hochberg([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.04, 0.04])
    assert multiplicity.holm([]).size == 0
    from statsmodels.stats.multitest import multipletests

    p = np.random.default_rng(0).random(40) ** 3
    assert multiplicity.holm(p) == pytest.approx(multipletests(p, method="holm")[1])
    assert multiplicity.benjamini_hochberg(p) == pytest.approx(multipletests(p, method="fdr_bh")[1])
    with pytest.raises(ValueError, match="not finite"):
        multiplicity.holm([0.1, float("nan")])


def test_levels_of_graded_scores_stay_within_their_bounds():
    few, most = np.zeros(60), np.ones(60)
    few[:2], most[:2] = 0.5, 0.5
    for scores in (few, most):
        mean, low, high = resampling.mean_interval(scores, seed=0)
        assert 0 <= low < mean < high <= 1 and high - low > 0.03
    mean, low, high = resampling.mean_interval(few - 5, seed=0)
    alone = resampling.resample(few - 5, np.ones(60), 0).bca(0.95)
    assert (low, high) == alone


def test_levels_of_one_score():
    from statsmodels.stats.proportion import proportion_confint

    mean, low, high = resampling.mean_interval([1, 0, 0, 1, 1], seed=0)
    assert (mean, low, high) == pytest.approx((0.6, *proportion_confint(3, 5, method="wilson")))
    mean, low, high = resampling.mean_interval(np.random.default_rng(0).random(200), seed=0)
    assert low < mean < high


def test_replicates_of_one_seed_are_paired():
    column = np.random.default_rng(0).random(100)
    first = resampling.mean_replicates(column, seed=5)
    second = resampling.mean_replicates(column + 0.25, seed=5)
    assert second - first == pytest.approx(np.full(resampling.RESAMPLES, 0.25))
    low, high, p = resampling.replicate_interval(second)
    assert 0 < low < high and p == pytest.approx(2 / (1 + resampling.RESAMPLES))
