"""The permuted baseline: which response goes to which document, and its score there."""

import numpy as np
import pytest
from lm_eval.api.instance import Instance
from lm_eval.api.metrics import mean
from lm_eval.filters import build_filter_ensemble

from ppmlib.evaluation import permuted_baseline as floors
from ppmlib.evaluation.samples import EvaluationError


class ToyTask:
    """A generation task whose documents ask for a word; `share` scores each letter apart."""

    OUTPUT_TYPE = "generate_until"
    task_name = "toy"

    def __init__(self, wanted, responses):
        self._filters = [
            build_filter_ensemble("none", [["take_first", None]]),
            build_filter_ensemble("lower", [["lowercase", None], ["take_first", None]]),
        ]
        self.instances = [
            Instance("generate_until", {"word": word}, ("prompt", {}), 0, resps=[response])
            for word, response in zip(wanted, responses, strict=True)
        ]
        for ensemble in self._filters:
            ensemble.apply(self.instances)

    def process_results(self, doc, results):
        pairs = zip(doc["word"], results[0].ljust(len(doc["word"])), strict=True)
        return {"exact": results[0] == doc["word"], "share": [a == b for a, b in pairs]}

    def aggregation(self):
        return {"exact": mean, "share": lambda items: mean([x for item in items for x in item])}


@pytest.mark.parametrize("n", [2, 3, 7, 300])
def test_every_document_gets_other_responses_and_every_response_is_used_once(n):
    assigned = list(floors.donors(n, seed=0))
    assert len(assigned) == min(floors.PERMUTATIONS, n - 1)
    for donors in assigned:
        assert sorted(donors) == list(range(n))
        assert (donors != np.arange(n)).all()
    for document in range(n):
        assert len({donors[document] for donors in assigned}) == len(assigned)


def test_the_seed_decides():
    first, again, other = (np.array(list(floors.donors(50, seed=s))) for s in (1, 1, 2))
    assert (first == again).all() and (first != other).any()


def test_answers_that_need_their_prompt_earn_nothing_elsewhere():
    words = ["aa", "bb", "cc", "dd", "ee", "ff"]
    columns, scores = floors.score_permuted(ToyTask(words, words))
    assert scores["exact,none"] == scores["share,none"] == 0
    assert columns["exact,none"] == [0.0] * 6


def test_one_answer_for_everything_earns_the_same_elsewhere():
    words = ["aa", "bb", "aa", "cc"]
    columns, scores = floors.score_permuted(ToyTask(words, ["aa"] * 4))
    assert scores["exact,none"] == 0.5
    assert columns["exact,none"] == [1.0, 0.0, 1.0, 0.0]
    assert columns["share,none"] == [[1.0, 1.0], [0.0, 0.0], [1.0, 1.0], [0.0, 0.0]]


def test_filters_are_applied_again():
    _, scores = floors.score_permuted(ToyTask(["aa", "aa"], ["AA", "Aa"]))
    assert scores["exact,none"] == 0 and scores["exact,lower"] == 1


def test_permutations_are_averaged_document_by_document():
    words = ["aa", "aa", "bb"]
    task = ToyTask(words, words)
    columns, scores = floors.score_permuted(task, permutations=2)
    assert columns["exact,none"] == [0.5, 0.5, 0.0]
    assert scores["exact,none"] == pytest.approx(1 / 3)
    assert [instance.resps for instance in task.instances] == [[word] for word in words]


def test_what_cannot_be_permuted_is_an_error():
    with pytest.raises(EvaluationError, match="toy: one document"):
        floors.score_permuted(ToyTask(["aa"], ["aa"]))
    task = ToyTask(["aa", "bb"], ["aa", "bb"])
    task.OUTPUT_TYPE = "multiple_choice"
    with pytest.raises(EvaluationError, match="toy: no responses to permute"):
        floors.score_permuted(task)
