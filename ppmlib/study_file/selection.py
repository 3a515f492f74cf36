"""A selection of neurons, and the names of its folders and records."""

import math
from collections.abc import Iterable
from dataclasses import dataclass, replace
from decimal import Decimal
from typing import Any

from ppmlib.record.evaluation_records import task_slug

CRITERIA = ("ppm", "l2", "vow", "pon", "random", "inverse")
NOISE = "noise"  # a control at full width, damaged instead of narrowed
CHECK = "inverse"  # only for a bench model: for no other is the right result known
WIDTH_FLOORS = ("permuted",)  # computed at every width from its own answers
# Trivial baselines: answers without a model, and the kind of task each can answer.
RESPONDERS = {
    "constant": "generate_until",
    "repeated_token": "generate_until",
    "echo": "generate_until",
    "empty": "generate_until",
    "uniform": "multiple_choice",
    "majority": "multiple_choice",
}
RESPONDER_PREFIX = "floor-"
SETTINGS = ("criterion", "seed", "pruning_ratio", "expansion_ratio", "keep_multiple_of")


@dataclass(frozen=True)
class Selection:
    """Which neurons stay in every layer: those with the highest scores, as many as one ratio says.

    Args:
        criterion: ppm, l2, vow, pon, random, inverse, noise, `file.py:function`, or a trivial
            baseline's `floor-<kind>`, which has no width.
        seed: of `random` and `noise` only.
        pruning_ratio: share of the neurons to remove, 0 is the dense model; or
        expansion_ratio: intermediate_size / hidden_size to reach.
        keep_multiple_of: the number of neurons is rounded down to a multiple of this.
    """

    criterion: str = "ppm"
    seed: int = 0
    pruning_ratio: float | None = None
    expansion_ratio: float | None = None
    keep_multiple_of: int = 1

    @property
    def is_dense(self) -> bool:
        """Whether all neurons stay."""
        return self.pruning_ratio == 0

    @property
    def name(self) -> str:
        """Folder of its runs, `ppm` or `random-s0`: `selection_slug`."""
        return selection_slug(self.criterion, self.seed)

    @property
    def width(self) -> str:
        """Folder of its width, `r0.40` or `e2.40`: `width_slug`."""
        return width_slug(self.pruning_ratio, self.expansion_ratio)

    @property
    def key(self) -> str:
        """Name of its run: `ppm/r0.40`, `random-s0/e2.40`; `dense/r0.00` for the unpruned model.

        A trivial baseline has no width; its run is `floor-constant/r0.00`.
        """
        if responder_kind(self.criterion):
            return f"{self.criterion}/{width_slug(0.0)}"
        return f"{'dense' if self.is_dense else self.name}/{self.width}"

    def with_ratios(
        self, pruning_ratios: Iterable[float], expansion_ratios: Iterable[float] = ()
    ) -> list["Selection"]:
        """The same selection at each of these ratios."""
        return [
            *(replace(self, pruning_ratio=ratio) for ratio in pruning_ratios),
            *(replace(self, expansion_ratio=ratio) for ratio in expansion_ratios),
        ]

    def settings(self) -> dict[str, Any]:
        """Its five values by name, as in a notebook's parameters."""
        return {name: getattr(self, name) for name in SETTINGS}

    def keep_count(self, intermediate_size: int, hidden_size: int) -> int:
        """How many neurons of a layer stay, in exact decimal arithmetic.

        I - floor(pruning_ratio * I), or ceil(expansion_ratio * hidden_size); then down to a
        multiple of `keep_multiple_of`, at least one. The dense model is never rounded.

        Raises:
            ValueError: unless exactly one ratio is given and the model can have that width.
        Source: the paper's rule, which all 15 published pruned widths follow.
        """
        _check_one_given(self.pruning_ratio, self.expansion_ratio)
        multiple = self.keep_multiple_of
        if multiple < 1:
            raise ValueError(f"keep_multiple_of {multiple} is not a positive whole number")
        if self.pruning_ratio is not None:
            if not 0 <= self.pruning_ratio < 1:
                raise ValueError(f"pruning_ratio {self.pruning_ratio} is not in [0, 1)")
            k = intermediate_size - math.floor(_multiply(self.pruning_ratio, intermediate_size))
            dense = self.is_dense
        else:
            if not 0 < self.expansion_ratio < math.inf:
                raise ValueError(f"expansion_ratio {self.expansion_ratio} is not a positive number")
            target = _multiply(self.expansion_ratio, hidden_size)
            if target > intermediate_size:
                own = intermediate_size / hidden_size
                raise ValueError(
                    f"expansion_ratio {self.expansion_ratio} is above the model's own {own:g}"
                )
            k = math.ceil(target)
            dense = target == intermediate_size
        if dense:
            return intermediate_size
        if multiple > intermediate_size:
            raise ValueError(
                f"nothing would be left: keep_multiple_of {multiple} is more than the "
                f"{intermediate_size} neurons of a layer"
            )
        return max(k // multiple, 1) * multiple


def _check_one_given(pruning_ratio: float | None, expansion_ratio: float | None) -> None:
    if (pruning_ratio is None) == (expansion_ratio is None):
        raise ValueError("give either pruning_ratio or expansion_ratio (set the other to None)")


def _multiply(ratio: float, size: int) -> Decimal:
    # 77 / 48 as a float is a little more than 77 / 48: who writes it means 77 of 48.
    whole = round(ratio * size)
    return Decimal(whole) if whole / size == ratio else Decimal(repr(float(ratio))) * size


def selection_slug(criterion: str, seed: int = 0) -> str:
    """Folder name of a selection: `ppm`, `random-s0`, `my_score.score` for `my_score.py:score`.

    Only a score file's name has a dot, so no two kinds share a name.
    """
    if criterion == "random":
        return f"random-s{seed}"
    return task_slug(criterion.rsplit("/", 1)[-1].replace(".py:", "."))


def is_random(selection: str, seed: int) -> bool:
    """Whether a selection's name is that of the random control with this seed."""
    return selection == selection_slug("random", seed)


def responder_slug(kind: str) -> str:
    """Folder name, and in a notebook the criterion, of a trivial responder: `floor-constant`."""
    return f"{RESPONDER_PREFIX}{kind}"


def responder_kind(criterion: str) -> str | None:
    """The trivial responder that a criterion names, or None."""
    kind = criterion.removeprefix(RESPONDER_PREFIX)
    return kind if kind in RESPONDERS and criterion != kind else None


def width_slug(pruning_ratio: float | None = None, expansion_ratio: float | None = None) -> str:
    """Folder name of a width: `r0.40`, `r0.125`, or `e2.40` for an expansion ratio."""
    _check_one_given(pruning_ratio, expansion_ratio)
    letter, ratio = ("r", pruning_ratio) if expansion_ratio is None else ("e", expansion_ratio)
    exact = Decimal(repr(float(ratio)))
    decimals = max(2, -exact.normalize().as_tuple().exponent)
    return f"{letter}{exact:.{decimals}f}"


def ratio_of(slug: str) -> float | None:
    """The pruning ratio in a `width_slug`; None for an expansion ratio."""
    return float(slug[1:]) if slug.startswith("r") else None
