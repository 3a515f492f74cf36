"""What a change and a level are called: the only place where intervals and p-values become words.

Changes and margins are in one unit (points, or percent of a perplexity).
"""

from ppmlib.statistics.proportions import LEVEL


def change_verdict(p_value: float, change: float, within_margin: bool) -> str:
    """Whether a score is better, worse, equivalent, or none of these (`inconclusive`).

    Args:
        p_value: two-sided, adjusted if the change is one of a family.
        change: above 0 where the score got better.
        within_margin: whether its 90% interval lies inside the equivalence margin.
    """
    if p_value <= LEVEL and change != 0:
        return "better" if change > 0 else "worse"
    return "equivalent" if within_margin else "inconclusive"


def level_verdict(low: float, high: float) -> str:
    """Where the 95% interval of (score minus floor) lies: above, below, or not above the floor."""
    if low > 0:
        return "above floor"
    return "below floor" if high < 0 else "not above floor"
