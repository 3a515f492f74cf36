"""Names that look like other names: score files, tasks and groups are what they are, not what
their names look like, and names that would share files are refused.
"""

import shutil
from pathlib import Path

import pytest
import yaml
from lm_eval.tasks import TaskManager
from small_study import ppm, write_study
from test_params import GOOD, changed, load
from toy_tasks import write_tasks

from ppmlib import bench
from ppmlib.analyse import sources, trivial, verdicts
from ppmlib.evaluation import subject, task_data, task_files
from ppmlib.evaluation.run import evaluate
from ppmlib.model import models
from ppmlib.prune import calibration, scoring
from ppmlib.record import evaluation_records
from ppmlib.record.records import write as write_record
from ppmlib.show import pruning as words
from ppmlib.study_file.params import ParamsError
from ppmlib.study_file.selection import (
    CRITERIA,
    RESPONDERS,
    Selection,
    ratio_of,
    responder_kind,
    responder_slug,
    selection_slug,
    width_slug,
)
from ppmlib.workflow import unfinished

SCORES = "def f(gate, up, down):\n    return {}\n"
MAIN, CONTROL = "random-score.py:f", "floor-echo.py:f"
TASK = {
    "name": "choice (general), a/b: 'c'",
    "num_fewshot": 0,
    "metric": "acc",
    "filter": "none",
    "axis": "knowledge",
}


@pytest.fixture(scope="module")
def toys(tmp_path_factory) -> Path:
    folder = write_tasks(tmp_path_factory.mktemp("toys"))
    choice = folder / "toy_choice.yaml"
    choice.write_text(choice.read_text().replace("task: toy_choice", f'task: "{TASK["name"]}"'))
    return folder


def write_run(root: Path, tasks, folder: Path, criterion="ppm", ratio=0.0) -> str:
    """Evaluate a run of the small bench model and write its record as notebook 3 does."""
    of = subject.prepare(root, "bench-small", Selection(criterion, pruning_ratio=ratio))
    found = evaluate(of.loaded, tasks, root=root, run=of.run, kept_inputs=of.kept_inputs,
                     batch_size=16, add_bos_token=True, task_folders=[folder])  # fmt: skip
    results = {**of.results, "synthetic": True, **found.results()}
    key = evaluation_records.key(of.run)
    write_record(root, key, inputs=found.inputs, results=results, files=found.files)
    return of.run


@pytest.fixture(scope="module")
def study(toys, tmp_path_factory):
    """The dense model, two score files, a random control and a responder on one task."""
    root = tmp_path_factory.mktemp("study")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        Path("random-score.py").write_text(SCORES.format("gate.abs().sum(1)"))
        Path("floor-echo.py").write_text(SCORES.format("-gate.abs().sum(1)"))
        write_run(root, [TASK], toys, "floor-uniform")
        write_run(root, [TASK], toys)
        for criterion in (MAIN, CONTROL, "random"):
            write_run(root, [TASK], toys, criterion, 0.4)
    return sources.load(root)


def test_a_score_file_named_like_a_control_or_a_responder_is_a_criterion_of_its_own(study):
    about = {run.key: (run.selection, run.criterion) for run in study.runs.values()}
    assert about == {
        "dense/r0.00": ("dense", "dense"),
        "random-score.f/r0.40": ("random-score.f", "random-score.f"),
        "floor-echo.f/r0.40": ("floor-echo.f", "floor-echo.f"),
        "random-s0/r0.40": ("random-s0", "random"),
    }
    assert study.trivial == {"uniform": "floor-uniform/r0.00"}
    table = verdicts.verdict_table(
        study, [TASK["name"]], [], criterion="random-score.f", bootstrap_seed=0
    )
    assert set(table["selection"]) == {"random-score.f", "floor-echo.f", "random-s0"}
    assert set(table.loc[table["selection"] == "random-score.f", "criterion"]) == {"random-score.f"}


def test_samples_of_a_task_with_any_name_are_found_again(study):
    table = study.samples("random-score.f/r0.40", TASK["name"])
    assert len(table) == 28
    assert not trivial.responder_table(study, seed=0).empty


def test_the_share_of_score_kept_is_told_of_a_file_named_like_random():
    import pandas as pd

    results = {"intermediate_size_dense": 4, "intermediate_size": 2, "num_layers": 1,
            "pruning_ratio": 0.5, "expansion_ratio": 1.0, "parameters": 1, "parameters_dense": 2,
            "parameter_reduction": 0.5, "ties_at_cut": [0], "seed": 0}  # fmt: skip
    table = pd.DataFrame({"share of score kept (%)": [60.0]})
    mine, random = (
        " ".join(words.describe_pruned_run(table, results | {"criterion": name}))
        for name in ("random-score.f", "random-s0")
    )
    assert "of a layer's score" in mine and "of a layer's score" not in random


def test_no_name_of_a_score_file_is_that_of_another_selection():
    taken = {selection_slug(name, seed) for name in (*CRITERIA, "noise") for seed in (0, 1, 12)}
    taken |= {responder_slug(kind) for kind in RESPONDERS} | {"dense", "dense-aa"}
    taken |= {"records", "samples", "logs", "figures", "tables", "batch_sizes"}
    stems = {*taken, *(name.replace(".", "-") for name in taken), "a b", "é", "{run}", "$(x)"}
    for stem in stems:
        slug = selection_slug(f"some/where/{stem}.py:f")
        assert slug not in taken and slug.isascii() and not set(slug) & set(" {}$()/")
        assert Selection(f"{stem}.py:f", 0, 0.4).key == f"{slug}/r0.40"
        assert responder_kind(f"{stem}.py:f") is None
    assert {responder_kind(responder_slug(kind)) for kind in RESPONDERS} == set(RESPONDERS)


@pytest.mark.parametrize("ratio", [0.1, 0.125, 0.3000000000000004, 1e-7, 0.999999999999])
def test_the_ratio_of_a_width_is_read_back_exactly(ratio):
    assert ratio_of(width_slug(ratio)) == ratio
    assert ratio_of(width_slug(None, 2.4)) is None


def task(name: str) -> dict:
    return {**GOOD["tasks"][0], "name": name}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {"criterion": "a/b.py:f", "controls": [{"criterion": "b.py:f"}]},
            "criterion: 'a/b.py:f' and 'b.py:f' would share the files 'b.f'",
        ),
        (
            {"controls": [{"criterion": "a b.py:f", "pruning_ratios": [0.1]},
                          {"criterion": "a_b.py:f", "pruning_ratios": [0.4]}]},
            "'a b.py:f' and 'a_b.py:f' would share the files 'a_b.f'",
        ),
        (
            {"controls": [{"criterion": "B.py:f"}, {"criterion": "b.py:f"}]},
            "'B.py:f' and 'b.py:f' would share the files",
        ),
        ({"criterion": "scores.py:safetensors"}, "files named 'scores.safetensors' would be"),
        ({"criterion": "study.py:json"}, "files named 'study.json' would be hidden, or look like"),
        ({"criterion": ".mine.py:f"}, "files named '.mine.f' would be hidden"),
        ({"tasks": [task("a(b)"), task("a_b_")]}, "'a(b)' and 'a_b_' would share the files"),
        ({"tasks": [task("Mmlu"), task("mmlu")]}, "'Mmlu' and 'mmlu' would share the files"),
        ({"tasks": [task("x"), task("x.lm-eval")]}, "task 'x.lm-eval': files named 'x.lm-eval'"),
        ({"tasks": [task("x"), task("x.failed")]}, "task 'x.failed': files named 'x.failed'"),
        ({"tasks": [task("x" * 201)]}, "too long for the name of a file"),
    ],
)  # fmt: skip
def test_names_that_would_share_files_are_refused_in_one_line(tmp_path, changes, expected):
    with pytest.raises(ParamsError) as caught:
        load(tmp_path, changed(**changes))
    (line,) = str(caught.value).splitlines()
    assert line.startswith(str(tmp_path / "study.yaml")) and expected in line


def test_the_same_selection_at_further_ratios_is_no_collision(tmp_path):
    controls = [
        {"criterion": "b.py:f", "pruning_ratios": [0.1]},
        {"criterion": "b.py:f", "pruning_ratios": [0.4]},
        {"criterion": "random", "seeds": [0]},
        {"criterion": "random", "seeds": [1]},
    ]
    assert len(load(tmp_path, changed(controls=controls)).runs()) == 9


def test_a_score_of_one_file_is_never_taken_for_that_of_another(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = [f"{folder}/b.py:{function}" for folder in ("x", "y") for function in ("f", "g")]
    for folder in ("x", "y"):
        Path(folder).mkdir()
        Path(folder, "b.py").write_text(SCORES.format("gate[:, 0]") + "g = f\n")
    loaded = models.load("bench-small", device="cpu")
    with pytest.raises(ValueError, match=r"x/b.py:f.*y/b.py:f"):
        scoring.score_many(loaded.model, names)
    assert list(scoring.score_many(loaded.model, names[:2])) == ["b.f", "b.g"]


# --- names of tasks and groups in task files


DECLARED = [
    "plain_task",
    "task: with_(parentheses)",
    'task: "quoted (name), a/b: c"',
    "task: 'single # quoted'  # a comment",
    "task: commented  # (not a part)",
    "task: a:b::c",
    "task: über-ß.1",
    '"task": key_in_quotes',
    "group: a group+of-3\ntask: [plain_task]",
    "group: another\ntask:\n  - plain_task\n  - group: inner\n    task: [plain_task]",
]


def test_the_scan_of_task_files_finds_the_names_that_lm_eval_finds(tmp_path):
    for number, text in enumerate(DECLARED):
        text = text if ":" in text else f"task: {text}"
        body = "" if "group" in text else "dataset_path: json\noutput_type: generate_until\n"
        (tmp_path / f"{number}.yaml").write_text(f"{text}\n{body}", encoding="utf-8")
    index = TaskManager(include_path=[tmp_path], include_defaults=False).task_index
    assert set(task_files.find_names(tmp_path)) == set(index)


def test_lm_evals_tasks_with_parentheses_in_their_names_are_known():
    known = task_files.lm_eval_files()
    odd = {name for name in known if "(" in name}
    assert len(odd) >= 5
    for name in odd:
        content = yaml.load(known[name].read_text(), Loader=task_files._Plain)
        assert content["task"] == name
    entry = {"name": "egymmlu_arabic_language_(general)", "num_fewshot": 0, "metric": "acc",
             "filter": "none"}  # fmt: skip
    assert task_files.find_mistakes([entry], []) == []
    assert [source.task for source in task_data.find_sources(entry["name"], [])] == [entry["name"]]


def test_a_task_and_another_whose_name_goes_on_with_a_dot_are_compared_apart(study, toys, tmp_path):
    """A control without the second task does not contradict the first."""
    root = tmp_path / "dotted"
    shutil.copytree(study.root, root)
    dotted = {**TASK, "name": f"{TASK['name']}.x"}
    toy = (toys / "toy_choice.yaml").read_text().replace(TASK["name"], dotted["name"])
    folder = tmp_path / "toys"
    folder.mkdir()
    (folder / "dotted.yaml").write_text(toy)
    (folder / "toy_choice.yaml").write_text((toys / "toy_choice.yaml").read_text())
    write_run(root, [TASK, dotted], folder)
    assert set(sources.load(root).runs) == set(study.runs)


def test_a_subtask_is_not_given_the_documents_of_a_task_of_its_name(tmp_path, toys):
    group = {**TASK, "name": "toy_group"}
    alone = {**TASK, "name": "toy_left"}
    run = write_run(tmp_path, [group, alone], toys)
    read = sources.load(tmp_path)
    rows = [row for row in read.rows(run) if row["task"] == "toy_left"]
    assert {row["group"]: read.has_outcomes(run, row) for row in rows} == {
        "toy_group": False,
        None: True,
    }


def test_braces_in_a_studys_words_are_no_wildcards(tmp_path):
    (tmp_path / "{x}.py").write_text(SCORES.format("gate[:, 0]"))
    write_study(tmp_path, criterion="{x}.py:f", question="What is {left} of it?")
    done = ppm("run", "small.yaml", "-n", cwd=tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr


def test_words_that_look_like_a_score_file_are_words_and_not_a_path():
    def settings(**parameters):
        return unfinished.settings_sha256({"parameters": parameters, "static": {}, "reads": []})

    first, second = "Is mine.py:f better than a/b?", "Is mine.py:f worse than a/b?"
    assert settings(question=first) != settings(question=second)
    here, there = "../../mine.py:f", "../mine.py:f"
    for name, shown in (("criterion", str), ("matched", str), ("criteria", lambda path: [path])):
        assert settings(**{name: shown(here)}) == settings(**{name: shown(there)})


@pytest.mark.parametrize("name", ["shape:llama", "bench-small"])
def test_a_folder_named_like_a_model_of_another_kind_is_a_model_in_a_folder(tmp_path, name):
    folder = Path(shutil.copytree(bench.model_dir("bench-small"), tmp_path / name))
    loaded = models.load(str(folder), device="cpu")
    assert loaded.identity["id"] == name
    assert not loaded.random_weights and not loaded.identity["synthetic"]
    with pytest.raises(calibration.CalibrationError, match="no calibration text for this model"):
        subject._tune_noise(loaded, Selection("noise", pruning_ratio=0.4))
