"""The packaged IFEval scores of trivial answers are what lm-eval's own task gives again."""

import os
from pathlib import Path

import measure_responders
import pandas as pd
import pytest

from ppmlib import published as paper
from ppmlib.data import data_root
from ppmlib.model import models

CARD = "---\nconfigs:\n- config_name: default\n  data_files:\n  - {split: train, path: %s}\n---\n"


@pytest.fixture(scope="module")
def data():
    folder = os.environ.get("PPMLIB_TEST_DATA")
    if not folder:
        pytest.skip("PPMLIB_TEST_DATA is not set: no IFEval prompts")
    return Path(folder)


@pytest.fixture
def task(data, tmp_path, monkeypatch):
    clone = tmp_path / "datasets" / "google" / "IFEval"
    clone.mkdir(parents=True)
    (clone / "README.md").write_text(CARD % "input_data.jsonl")
    (clone / "input_data.jsonl").symlink_to(data / "data" / "ifeval" / "input_data.jsonl")
    (tmp_path / "nltk_data").symlink_to(data / "data" / "nltk_data")
    import nltk

    monkeypatch.setattr(nltk.data, "path", [str(tmp_path / "nltk_data")])
    for name, value in data_root.environment(tmp_path).items():
        monkeypatch.setenv(name, value)
    return measure_responders.load_task()


def test_every_measured_answer_is_packaged_once():
    table = paper.read("trivial_responders")
    assert list(table.columns) == list(measure_responders.COLUMNS)
    kinds = {name: kind for name, (kind, _) in measure_responders.ANSWERS.items()}
    assert dict(zip(table["response"], table["kind"], strict=True)) == kinds
    share = (table["prompt_strict_count"] / 541).round(4)
    assert share.tolist() == table["prompt_level_strict_acc"].tolist()


def test_the_packaged_scores_are_measured_again(task):
    packaged = paper.read("trivial_responders").set_index("response")
    tokenizer, _ = models.load_tokenizer("bench")
    for name in ("empty", '"the"', "echo prompt once"):
        row = measure_responders.measure(name, task, tokenizer)
        assert row.pop("response") == name
        assert row == packaged.loc[name].to_dict()


def test_the_real_checkers_change_little_against_the_stubbed_ones(data):
    ours = paper.read("trivial_responders").set_index("response")["prompt_strict_count"]
    theirs = pd.read_csv(data / "reference" / "ifeval_floor.csv").set_index("response")
    for name in ('"the"', "the*200", "the*1000", "echo prompt once", "the prompt lower"):
        assert abs(ours[name] - theirs.loc[name, "prompt_strict_count"]) <= 2
        assert ours[name] >= theirs.loc[name, "lower_bound_count"]
