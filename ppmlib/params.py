"""The study file: strict, with units; and the names of runs."""

from decimal import Decimal


def _decimal_text(value: float) -> str:
    exact = Decimal(repr(float(value)))
    decimals = max(2, -exact.normalize().as_tuple().exponent)
    return f"{exact:.{decimals}f}"


def selection_slug(criterion: str, seed: int = 0) -> str:
    """Folder name of a selection: `ppm`, `random-s0`, `my_score.score` for `my_score.py:score`."""
    if criterion == "random":
        return f"random-s{seed}"
    return criterion.rsplit("/", 1)[-1].replace(".py:", ".")


def width_slug(pruning_ratio: float | None = None, expansion_ratio: float | None = None) -> str:
    """Folder name of a requested width: `r0.40`, `r0.125`, or `e2.40` for an expansion target.

    Raises:
        ValueError: unless exactly one of the two is given.
    """
    if (pruning_ratio is None) == (expansion_ratio is None):
        raise ValueError("give either pruning_ratio or expansion_ratio (set the other to None)")
    if expansion_ratio is None:
        return f"r{_decimal_text(pruning_ratio)}"
    return f"e{_decimal_text(expansion_ratio)}"


def run_key(
    criterion: str,
    seed: int = 0,
    pruning_ratio: float | None = None,
    expansion_ratio: float | None = None,
) -> str:
    """Name of a run: `ppm/r0.40`, `random-s0/e2.40`; `dense/r0.00` for the unpruned model."""
    width = width_slug(pruning_ratio, expansion_ratio)
    if pruning_ratio == 0:
        return f"dense/{width}"
    return f"{selection_slug(criterion, seed)}/{width}"
