"""`engine: fast` has the metrics of the plain engine on every bench task and on real tasks."""

from pathlib import Path

import pandas as pd
import pytest
import yaml
from real_data import lay_out
from real_documents import MODEL, TASKS

from ppmlib.data import data_root
from ppmlib.evaluation.run import evaluate
from ppmlib.model import models

pytestmark = pytest.mark.slow
REPOSITORY = Path(__file__).parents[1]
PRINTED = 4  # digits after the point, as lm-eval and the study's pages print a metric
KEYS = ["task", "metric", "filter", "source", "n"]


def both(loaded, specs, root, **settings):
    return [
        evaluate(
            loaded,
            [{"filter": "none"} | spec for spec in specs],
            root=root / engine,
            run="dense/r0.00",
            kept_inputs={"keep_sha256": "a"},
            batch_size=16,
            add_bos_token=True,
            engine=engine,
            floors=[],
            **settings,
        )
        for engine in ("plain", "fast")
    ]


def assert_the_same(plain, quick):
    assert plain.rows[KEYS].equals(quick.rows[KEYS])
    for ours, theirs in zip(quick.rows.itertuples(), plain.rows.itertuples(), strict=True):
        assert round(ours.value, PRINTED) == round(theirs.value, PRINTED), (ours.task, ours.metric)
    for name, table in plain.samples.items():
        other = quick.samples[name]
        for column in table.columns.intersection(["response", "response_tokens", "stopped"]):
            pd.testing.assert_series_equal(table[column], other[column])
        notes = quick.tasks[name]["engine"]
        assert notes["engine"] == "fast"
        for note in ("first_token_ids", "bos", "truncated"):
            assert plain.tasks[name][note] == quick.tasks[name][note]


def test_every_bench_task_has_the_metrics_of_the_plain_engine(tmp_path):
    specs = yaml.safe_load((REPOSITORY / "params" / "bench.yaml").read_text())["tasks"]
    loaded = models.load("bench", device="cpu")
    assert_the_same(*both(loaded, specs, tmp_path))


@pytest.mark.parametrize("num_fewshot", [0, 5])
def test_real_tasks_have_the_metrics_of_the_plain_engine(num_fewshot, tmp_path, monkeypatch):
    import datasets

    stored = lay_out(tmp_path / "stored")
    for name, value in data_root.environment(stored).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    names = ("arc_challenge", "gsm8k") if num_fewshot else ("arc_challenge", "gsm8k", "ifeval")
    specs = [task | {"num_fewshot": num_fewshot} for task in TASKS if task["name"] in names]
    plain, quick = both(
        models.load(MODEL, device="cpu"),
        specs,
        tmp_path,
        generation={"max_gen_toks": 48},
        subset={"n": 60, "seed": 0},
        task_folders=[],
    )
    assert_the_same(plain, quick)
