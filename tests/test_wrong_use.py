"""Too little to measure on: one document, all right, all wrong, no response; never a NaN."""

import json

import numpy as np
import pandas as pd
import pytest
from small_study import write_study
from test_evaluation import run
from toy_tasks import spec

from ppmlib import bench
from ppmlib.evaluation.run import EvaluationError
from ppmlib.model import models
from ppmlib.show import scorecard
from ppmlib.study_file.params import ParamsError, Study

SPECS = [
    spec("bench_knowledge", "acc"),
    spec("bench_truthfulness_mc2", "acc"),
    spec("bench_text", "word_perplexity"),
    spec("bench_instructions", "prompt_level_strict_acc"),
]


@pytest.fixture(scope="module")
def loaded():
    return models.load("bench-small", device="cpu")


@pytest.mark.filterwarnings("error")
def test_one_document_gives_rows_and_sentences_without_nan(loaded, tmp_path):
    subset = {"n": 1, "seed": 0}
    found = run(loaded, SPECS, bench.tasks_dir(), tmp_path, subset=subset, floors=[])
    table = scorecard.headlines(found.rows, found.samples)
    assert table["value"].notna().all()
    assert table[["low", "high"]].isna().all(axis=None) and set(table["level"]) == {"no floor"}
    sentences = scorecard.conclusions(table, found.samples, found.tasks, found.skipped)
    assert "nan" not in " ".join(sentences).lower()
    assert (
        not scorecard.shown_table(table).map(lambda cell: "nan" in str(cell).lower()).any(axis=None)
    )
    json.dumps(found.results(), allow_nan=False)


def test_one_document_has_nowhere_to_permute_its_response_to(loaded, tmp_path):
    settings = {"subset": {"n": 1, "seed": 0}, "floors": ["permuted"]}
    with pytest.raises(EvaluationError, match="bench_instructions: one document, its response"):
        run(loaded, SPECS[3:], bench.tasks_dir(), tmp_path, **settings)
    path = write_study(tmp_path, subset={"n": 1, "seed": 0})
    with pytest.raises(ParamsError, match="one document cannot be permuted; n is at least 2"):
        Study.load(path)


def judged(own, permuted):
    """The level of a generation task with these outcomes."""
    samples = {"t": pd.DataFrame({"acc,none": own, "permuted:acc,none": permuted})}
    row = {"task": "t", "metric": "acc", "filter": "none", "headline": True, "axis": "planted",
           "stderr": 0.0, "n": len(own), "num_fewshot": 0, "chance": None,
           "higher_is_better": True}  # fmt: skip
    rows = [row | {"source": source, "value": float(np.mean(values))}
            for source, values in (("model", own), ("permuted", permuted))]  # fmt: skip
    return scorecard.headlines(pd.DataFrame(rows), samples).loc["t"]


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("own", "permuted", "level"),
    [
        ([1.0] * 30, [1.0] * 30, "not above floor"),
        ([0.0] * 30, [0.0] * 30, "not above floor"),
        ([1.0] * 30, [0.0] * 30, "above floor"),
        ([0.0] * 30, [1.0] * 30, "below floor"),
        ([1.0] + [0.0] * 299, [0.0] * 300, "not above floor"),  # one lucky answer
        ([1.0, 0.0], [0.0, 0.2], "not above floor"),
    ],
)
def test_all_right_all_wrong_and_one_lucky_answer_have_a_level(own, permuted, level):
    row = judged(own, permuted)
    assert row["level"] == level
    assert 0 <= row["low"] <= row["value"] <= row["high"] <= 1
