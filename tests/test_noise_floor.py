import numpy as np
import pandas as pd
import pytest
from pytest import approx

from ppmlib.analyse import noise_floor
from ppmlib.analyse.study_records import DENSE, Study
from ppmlib.record.evaluation_records import REPEAT


def row(task: str, metric: str) -> dict:
    return {"task": task, "metric": metric, "filter": "none", "source": "model"}


def study(tables: dict[str, dict[str, pd.DataFrame]], rows: list[dict]) -> Study:
    """A study in memory whose runs have these per-document tables by task."""
    evaluations = {
        run: {
            "results": {"rows": rows, "tasks": {task: {} for task in by_task}},
            "files": {f"samples/{run}/{task}.parquet": "" for task in by_task},
        }
        for run, by_task in tables.items()
    }
    made = Study(None, {}, evaluations, {}, {})
    for run, by_task in tables.items():
        for task, table in by_task.items():
            made._samples[run, task] = table.assign(doc_id=range(len(table)))
    return made


def right_or_wrong(values: list[float]) -> pd.DataFrame:
    return pd.DataFrame({"acc,none": np.asarray(values, float)})


def test_documents_that_flip_are_counted_and_add_up_to_the_noise():
    first, second = [1, 1, 0, 0, 1, 0, 1, 1, 0, 0], [1, 0, 1, 0, 1, 1, 1, 1, 0, 0]
    tables = {DENSE: {"t": right_or_wrong(first)}, REPEAT: {"t": right_or_wrong(second)}}
    (found,) = noise_floor.flips(study(tables, [row("t", "acc")])).to_dict("records")
    assert (found["n"], found["flips"], found["gained"], found["lost"]) == (10, 3, 2, 1)
    assert (found["value"], found["again"]) == (0.5, 0.6)
    assert found["difference"] == approx(10) and found["noise"] == approx(30)


def test_a_perplexity_that_moves_has_its_own_move_as_noise():
    first = pd.DataFrame({"loglikelihood": [-100.0, -50.0], "words": [20, 10], "bytes": [90, 40]})
    second = first.assign(loglikelihood=[-100.3, -50.0])
    tables = {DENSE: {"t": first}, REPEAT: {"t": second}}
    (found,) = noise_floor.flips(study(tables, [row("t", "word_perplexity")])).to_dict("records")
    assert found["unit"] == "percent" and (found["flips"], found["lost"]) == (1, 1)
    assert found["value"] == approx(np.exp(5)) and found["again"] == approx(np.exp(5.01))
    assert found["difference"] == found["noise"] == approx(100 * np.expm1(0.01))


def test_without_a_repeated_run_there_is_no_noise_and_nothing_is_called_within_it():
    noise = noise_floor.flips(study({DENSE: {"t": right_or_wrong([1, 0])}}, [row("t", "acc")]))
    assert noise.empty
    changes = pd.DataFrame([{**row("t", "acc"), "diff_points": 0.1}])
    assert noise_floor.within(changes, noise).tolist() == [None]


@pytest.mark.parametrize(("change", "inside"), [(-30, True), (29.9, True), (30.1, False)])
def test_a_change_is_within_the_noise_up_to_its_size_in_either_direction(change, inside):
    noise = pd.DataFrame([{**row("t", "acc"), "noise": 30.0}])
    changes = pd.DataFrame([{**row("t", "acc"), "diff_points": change}], index=[7])
    assert noise_floor.within(changes, noise).to_dict() == {7: inside}


def test_the_perplexity_of_targets_is_compared_by_log_likelihoods():
    first = pd.DataFrame({"loglikelihood": [-1.0, -3.0]})
    tables = {DENSE: {"t": first}, REPEAT: {"t": first - 0.5}}
    (found,) = noise_floor.flips(study(tables, [row("t", "perplexity")])).to_dict("records")
    assert found["value"] == approx(np.exp(2)) and found["again"] == approx(np.exp(2.5))
    assert found["unit"] == "percent" and found["difference"] == approx(100 * np.expm1(0.5))
