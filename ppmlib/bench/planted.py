"""What the planted tasks are expected to show, declared before any model was pruned."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Planted:
    """A task whose outcome is known beforehand.

    metric is lm-eval's key; expected is 'null', 'fall' or 'trap'; declared says it in words.
    """

    task: str
    metric: str
    expected: str
    declared: str


PLANTED = {
    "bench_null": Planted(
        task="bench_null",
        metric="acc",
        expected="null",
        declared="The labels were drawn at random and training never mentions the questions: "
        "no change from the dense model may be found at any width.",
    ),
    "bench_fall": Planted(
        task="bench_fall",
        metric="acc",
        expected="fall",
        declared="400 arbitrary pairs that nothing implies must be held by the MLPs: "
        "the score must be worse than the dense model's at the largest pruning ratio.",
    ),
    "bench_trap": Planted(
        task="bench_trap",
        metric="acc",
        expected="trap",
        declared="The metric asks for a form that answers meet without reading the limit: "
        "whatever the raw score does (it may rise), own minus permuted responses must not be "
        "above zero at any width (put in this form after a first trial, in which the raw score "
        "fell; the first form also asked that it does not).",
    ),
}
