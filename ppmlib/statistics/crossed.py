"""A mean over documents and random selections of neurons, both drawn."""

import numpy as np
from scipy import stats

from ppmlib.statistics.proportions import LEVEL, tango_interval
from ppmlib.statistics.resampling import RESAMPLES, per_unit, replicate_interval

BATCH_REPLICATES = 200


def over_documents_and_seeds(
    values: np.ndarray, weight: np.ndarray, clusters=None, *, seed: int, bounded: bool = True
) -> tuple[float, float, float]:
    """95% interval and two-sided p-value of a mean over units and random selections, both drawn.

    Percentile bootstrap over both, or the crossed random-effects t interval where that is wider:
    with five selections the bootstrap covers 90% in simulations, and where few documents differ
    from 0 as little as 63%. The t interval has the two pseudo-documents of `Resampled`.

    Args:
        values: totals, (selections, documents). weight: of each document, (documents,).
        clusters: a name per document; documents of one cluster are kept together.
        bounded: whether totals lie in [-weight, weight]: then all zeros are not certain either,
            and have Tango's interval for no discordant pair.
    Source: Owen 2007, Annals of Applied Statistics 1:386-411 (both redrawn); Satterthwaite 1946;
        Agresti and Min 2005.
    """
    *rows, weight = per_unit(clusters, *np.asarray(values, float), weight)
    values = np.array(rows)
    if not values.any():
        low, high = tango_interval(0, 0, weight.size) if bounded else (0.0, 0.0)
        return low, high, 1.0
    low, high, p = replicate_interval(_replicates(values, weight, seed))
    (seeds, units), size = values.shape, weight.mean()
    estimate = values.sum() / weight.sum() / seeds
    cells = (values - estimate * weight) / size
    changed = np.count_nonzero(values.any(axis=0))
    largest = np.max(np.abs(values / size))
    total, freedom = cell_variance(cells, largest, min(units - 1, changed + 2))
    centre = estimate * units / (units + 2)
    error = np.sqrt(total / (seeds * (units + 2)))
    reach = stats.t.isf(LEVEL / 2, freedom) * error
    low, high = min(low, centre - reach), max(high, centre + reach)
    if bounded:
        low, high = max(low, -1.0), min(high, 1.0)
    return float(low), float(high), float(max(p, 2 * stats.t.sf(abs(centre) / error, freedom)))


def _replicates(values: np.ndarray, weight: np.ndarray, seed: int) -> np.ndarray:
    """Bootstrap replicates of the mean, selections and units redrawn, (RESAMPLES,)."""
    generator, (seeds, units), made = np.random.default_rng(seed), values.shape, []
    for _ in range(-(-RESAMPLES // BATCH_REPLICATES)):
        drawn = generator.integers(0, units, (BATCH_REPLICATES, units))
        picked = generator.multinomial(seeds, [1 / seeds] * seeds, BATCH_REPLICATES) / seeds
        totals = np.take_along_axis(picked @ values, drawn, axis=1)
        made.append(totals.sum(axis=1) / weight[drawn].sum(axis=1))
    return np.concatenate(made)[:RESAMPLES]


def cell_variance(cells: np.ndarray, extra: float, units_freedom: int) -> tuple[float, float]:
    """Variance of a cell of selections x units, both random, and its degrees of freedom.

    Selections + units - residual mean square, at least that of selections or units alone.

    Args:
        cells: deviations from the mean, (selections, units). extra: of pseudo-units.
        units_freedom: of the units' mean square.
    """
    seeds, units = cells.shape
    of_seed, of_unit = cells.mean(axis=1, keepdims=True), cells.mean(axis=0, keepdims=True)
    rest = cells - of_seed - of_unit
    by_seed = units * np.sum(of_seed**2) / (seeds - 1)
    by_unit = seeds * (np.sum(of_unit**2) + extra**2) / (units - 1)
    by_rest = np.sum(rest**2) / ((seeds - 1) * (units - 1))
    squares = np.array([by_seed, by_unit, by_rest])
    total = max(by_seed + by_unit - by_rest, by_seed, by_unit)
    freedom = np.array([seeds - 1, units_freedom, (seeds - 1) * (units - 1)])
    return float(total), float(total**2 / np.sum(squares**2 / freedom))
