"""What the planted tasks are expected to show, declared before any model was pruned."""

from dataclasses import dataclass

from ppmlib.bench.words import MATERIAL


@dataclass(frozen=True)
class Planted:
    """A task whose outcome is known beforehand.

    metric is lm-eval's key; expected is 'null', 'fall' or 'trap'; declared says it in words.
    """

    task: str
    metric: str
    expected: str
    declared: str


PLANTED = {each["task"]: Planted(**each) for each in MATERIAL["planted"]}
