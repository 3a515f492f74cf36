import copy
from pathlib import Path

import pytest
import yaml

from ppmlib.study_file.params import ParamsError, Study
from ppmlib.study_file.selection import Selection

REPOSITORY = Path(__file__).parents[1]
GOOD = {
    "study": "s",
    "model": {"id": "bench"},
    "pruning_ratios": [0.1, 0.4],
    "tasks": [{"name": "a", "num_fewshot": 0, "metric": "acc", "axis": "knowledge"}],
}


def load(tmp_path, content) -> Study:
    path = tmp_path / "study.yaml"
    path.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    return Study.load(path)


def changed(**changes):
    content = copy.deepcopy(GOOD)
    content.update(changes)
    return {key: value for key, value in content.items() if value != "remove"}


@pytest.mark.parametrize("path", sorted((REPOSITORY / "params").glob("bench*.yaml")), ids=str)
def test_every_packaged_study_file_is_valid(path):
    if not path.name.startswith("bench-model"):
        assert Study.load(path).runs()


def test_runs_start_with_the_dense_model_and_nest_controls_by_seed(tmp_path):
    controls = [{"criterion": "random", "seeds": [0, 1], "pruning_ratios": [0.4], "tasks": ["a"]}]
    study = load(tmp_path, changed(controls=controls))
    assert [run.key for run in study.runs()] == [
        "dense/r0.00",
        "ppm/r0.10",
        "ppm/r0.40",
        "random-s0/r0.40",
        "random-s1/r0.40",
    ]


def test_run_names_carry_as_many_decimals_as_needed():
    assert Selection("ppm", 0, 0.125).key == "ppm/r0.125"
    assert Selection("random", 3, None, 2.4).key == "random-s3/e2.40"
    assert Selection("my/score.py:score", 0, 0.4).key == "score.score/r0.40"


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"pruning_ratoi": 1}, "pruning_ratoi: unknown key; did you mean pruning_ratios?"),
        ({"pruning_ratios": "remove"}, "either pruning_ratios or expansion_ratios"),
        ({"expansion_ratios": [2.4]}, "either pruning_ratios or expansion_ratios"),
        ({"pruning_ratios": [1.0]}, "pruning_ratios.0: must be below 1"),
        ({"pruning_ratios": [0.0]}, "pruning_ratios.0: must be above 0"),
        ({"pruning_ratios": ["0.3"]}, "pruning_ratios.0: expected a number"),
        ({"pruning_ratios": []}, "list of ratios is empty"),
        ({"pruning_ratios": [0.1, 0.1]}, "ppm/r0.10 appears twice"),
        ({"study": "a/b"}, "study: only letters, digits"),
        ({"criterion": "magnitude"}, "unknown criterion 'magnitude'"),
        ({"criterion": "random"}, "random is a control"),
        ({"model": {"id": "bench", "dtype": "int8"}}, "model.dtype"),
        ({"controls": [{"criterion": "random"}]}, "seeds are needed for criterion random"),
        ({"controls": [{"criterion": "l2", "tasks": ["b"]}]}, "'b' is not one of"),
        (
            {
                "claims": [
                    {"task": "b", "pruning_ratio": 0.1, "direction": "worse", "margin_points": 0}
                ]
            },
            "claims: task 'b' is not one of",
        ),
        (
            {
                "claims": [
                    {"task": "a", "pruning_ratio": 0.2, "direction": "worse", "margin_points": 0}
                ]
            },
            "pruning_ratio 0.2 is not in the study",
        ),
        (
            {"tasks": [{"name": "a", "num_fewshot": 0, "metric": "acc", "axis": "wisdom"}]},
            "tasks.0.axis: expected one of 'knowledge'",
        ),
        ({"tasks": GOOD["tasks"] * 2}, "tasks: a appears twice"),
        ({"tradeoff_margin_points": -1}, "tradeoff_margin_points: must be at least 0"),
    ],
)
def test_each_mistake_is_one_line_that_names_file_and_key(tmp_path, changes, expected):
    with pytest.raises(ParamsError) as caught:
        load(tmp_path, changed(**changes))
    lines = str(caught.value).splitlines()
    assert any(expected in line for line in lines), lines
    assert all(line.startswith(str(tmp_path / "study.yaml")) for line in lines)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("study: a\nstudy: b\n", "appears twice"),
        ("- a\n", "holds no study"),
        ("a: [", "not YAML"),
    ],
)
def test_a_file_that_is_no_study_is_refused(tmp_path, text, expected):
    with pytest.raises(ParamsError, match=expected):
        load(tmp_path, text)


def test_a_missing_study_file_is_named(tmp_path):
    with pytest.raises(ParamsError, match="nowhere.yaml: cannot be read"):
        Study.load(tmp_path / "nowhere.yaml")
