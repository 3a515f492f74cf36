"""The study files of the paper's models: what they plan, held against the published tables."""

import csv
import re
import shutil
from importlib import metadata
from pathlib import Path

import pytest
from small_study import ppm

from ppmlib.record import evaluation_records
from ppmlib.study_file.params import ParamsError, Study
from ppmlib.workflow import plan

REPOSITORY = Path(__file__).parents[1]
PARAMS = REPOSITORY / "params"
PAPER = {
    "llama-3.2-1b": "meta-llama/Llama-3.2-1B",
    "llama-3.2-3b": "meta-llama/Llama-3.2-3B",
    "llama-3.2-1b-instruct": "meta-llama/Llama-3.2-1B-Instruct",
}
# Of paper and later lm-eval alike; the tables do not carry it.
FIVE_SHOT = {"mmlu", "gsm8k"}
REAL = sorted(
    path.stem
    for path in PARAMS.glob("*.yaml")
    if path.stem.startswith(("llama", "instruct", "smollm", "qwen"))
    and not Study.load(path).model.is_gguf
)


def published(model: str) -> list[dict]:
    with open(REPOSITORY / "ppmlib" / "published" / "capability.csv", encoding="utf-8") as handle:
        return [row for row in csv.DictReader(handle) if row["model"] == model]


def load(name: str) -> Study:
    return Study.load(PARAMS / f"{name}.yaml")


@pytest.mark.parametrize("name", PAPER)
def test_the_paper_s_studies_ask_what_its_tables_answer(name):
    study, rows = load(name), published(PAPER[name])
    headlines = {(row["task"], row["metric"]) for row in rows if row["paper_headline"] == "1"}
    asked = {(t.name, f"{t.metric},{t.filter}") for t in study.tasks}
    assert asked == headlines and len(asked) == (7 if "instruct" in name else 13)
    assert {t.name for t in study.tasks if t.num_fewshot == 5} == FIVE_SHOT
    assert {t.num_fewshot for t in study.tasks if t.name not in FIVE_SHOT} == {0}
    widths = {float(row["pruning_ratio"]) for row in rows}
    assert {run.pruning_ratio for run in study.runs()} == widths


@pytest.mark.parametrize("name", PAPER)
def test_the_paper_s_protocol_holds_to_the_last_setting(name):
    study = load(name)
    assert (study.batch_size, study.add_bos_token, study.apply_chat_template) == (1, False, False)
    assert study.lm_eval_seeds == [0, 1234, 1234, 1234] and study.max_length == 131072
    assert study.model.dtype == "bfloat16" and len(study.model.revision) == 40
    assert study.softmax_dtype is study.generation is study.subset is study.aa_batch_size is None
    assert study.keep_multiple_of == 1 and study.criterion == "ppm" and not study.controls
    revised = load(f"{name}-revised")
    assert (revised.batch_size, revised.add_bos_token) == (16, True)
    assert revised.softmax_dtype == "float32" and revised.aa_batch_size == 8
    assert (study.engine, revised.engine) == ("plain", "fast")
    assert revised.apply_chat_template == ("instruct" in name)
    assert revised.tasks == study.tasks and revised.pruning_ratios == study.pruning_ratios
    quick = load(f"{name}-quick")
    assert quick.subset and quick.tasks == study.tasks and quick.study.endswith("-quick")


def test_the_four_cells_of_bos_and_chat_template_differ_in_these_alone():
    cells = {}
    for path in PARAMS.glob("instruct-2x2-*.yaml"):
        study = Study.load(path)
        settings = study.model_dump(exclude={"study", "add_bos_token", "apply_chat_template"})
        cells[study.add_bos_token, study.apply_chat_template] = settings
    assert len(cells) == 4
    assert all(settings == cells[False, False] for settings in cells.values())
    study = load("instruct-2x2-bos-chat")
    assert {task.name for task in study.tasks} == {"ifeval", "mmlu"}
    assert [run.pruning_ratio for run in study.runs()] == [0.0, 0.4]


def grid(study: Study) -> set[str]:
    """The notebooks a study needs, from its runs and tasks alone."""
    keys = {"1_scoring", "5_analysis"}
    for run in study.runs():
        names = [run.key]
        if run.key == evaluation_records.DENSE and study.aa_batch_size:
            names.append(evaluation_records.REPEAT)
        keys |= {f"{name}/3_evaluation-{task}" for name in names for task in run.tasks}
        keys.add(f"{run.key}/2_pruning")
    responders = [kind for kind in study.floors if kind != "permuted"]
    keys |= {f"floor-{kind}/r0.00/3_evaluation" for kind in responders}
    return keys | ({"ppm/4_profiling"} if study.profiling else set())


@pytest.mark.parametrize("name", REAL)
def test_every_real_study_plans_its_grid_without_the_weights(name, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    study = load(name)
    planned = plan.build(study, PARAMS / f"{name}.yaml", tmp_path, fetch=False)
    assert set(planned["jobs"]) == grid(study)
    assert study.model.id in planned["unchecked"]
    for key, job in planned["jobs"].items():
        assert job["memory_mb"] >= 8000 and job["limit_minutes"] >= 60, key


def test_a_dry_run_lists_the_paper_s_grid_and_says_that_the_model_was_not_checked(tmp_path):
    done = ppm("run", PARAMS / "llama-3.2-1b.yaml", "-n", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert "model not checked: 'meta-llama/Llama-3.2-1B'" in done.stderr
    listed = set(re.findall(r"would run (\S+)", done.stderr))
    assert listed - {"index"} == grid(load("llama-3.2-1b"))
    assert len(listed) == 1 + 7 + 7 * 13 + 1 + 1 + 1
    # A dry run leaves no plan behind that a record would be held against.
    assert not (tmp_path / "reports" / "llama-3.2-1b" / "study.json").exists()


def test_a_real_run_without_the_weights_is_refused_before_any_kernel(tmp_path):
    done = ppm("run", PARAMS / "llama-3.2-1b.yaml", cwd=tmp_path)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "not in the local cache" in line and "Llama-3.2-1B" in line


def write(folder: Path, **files: str) -> None:
    for name, text in files.items():
        (folder / f"{name}.yaml").write_text(text)


BASE = """
study: base
model: {id: bench}
pruning_ratios: [0.1, 0.4]
tasks: [{name: bench_null, num_fewshot: 0, metric: acc, axis: planted}]
limits: {notebook_minutes: 5}
"""


def test_a_study_that_extends_another_replaces_whole_keys(tmp_path):
    write(tmp_path, base=BASE, middle="extends: base.yaml\nstudy: middle\nlimits: {}\n")
    write(tmp_path, top="extends: middle.yaml\nstudy: top\npruning_ratios: [0.2]\n")
    top = Study.load(tmp_path / "top.yaml")
    assert (top.study, top.pruning_ratios, top.model.id) == ("top", [0.2], "bench")
    assert top.limits.notebook_minutes == 720.0
    assert Study.load(tmp_path / "base.yaml").limits.notebook_minutes == 5


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("extends: nowhere.yaml\n", "top.yaml: extends: there is no file 'nowhere.yaml'"),
        (
            "extends: ../base.yaml\n",
            "top.yaml: extends: give the name of a file in the same folder",
        ),
        ("extends: [base.yaml]\n", "top.yaml: extends: give the name of a file in the same folder"),
        ("extends: top.yaml\n", "top.yaml: extends: top.yaml leads back to itself"),
        ("extends: loop.yaml\n", "loop.yaml: extends: top.yaml leads back to itself"),
        ("extends: base.yaml\nbatch_sise: 2\n", "top.yaml: batch_sise: unknown key"),
        ("extends: wrong.yaml\nstudy: top\n", "wrong.yaml: batch_size: must be at least 1"),
    ],
)
def test_a_mistake_of_extending_is_one_line_that_names_the_file_it_is_in(tmp_path, text, expected):
    write(tmp_path, base=BASE, loop="extends: top.yaml\n", wrong=BASE + "batch_size: 0\n")
    write(tmp_path, top=text)
    with pytest.raises(ParamsError) as caught:
        Study.load(tmp_path / "top.yaml")
    (line,) = str(caught.value).splitlines()
    assert expected in line and line.startswith(str(tmp_path))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("limits: {tasks: {bench_null: {minutes: 5}}}", "only with split_evaluation"),
        ("split_evaluation: true\nlimits: {tasks: {other: {minutes: 5}}}", "'other' is not one"),
        (
            "split_evaluation: true\nlimits: {tasks: {bench_null: {memory_mb: 5}}}",
            "needs a memory_mb of the other notebooks",
        ),
    ],
)
def test_limits_of_tasks_that_cannot_be_meant_are_refused(tmp_path, text, expected):
    write(tmp_path, base=BASE, top=f"extends: base.yaml\n{text}\n")
    with pytest.raises(ParamsError, match=expected):
        Study.load(tmp_path / "top.yaml")


def test_the_page_of_task_changes_speaks_of_every_task_and_the_pinned_version():
    text = (REPOSITORY / "ppmlib" / "published" / "TASK_CHANGES.md").read_text()
    assert f"0.4.9.1 (the paper) and {metadata.version('lm_eval')} (pinned here)" in text
    headings = [line.removeprefix("## ") for line in text.splitlines() if line.startswith("## ")]
    assert headings == [task.name for task in load("llama-3.2-1b").tasks]


def test_the_study_of_the_package_index_s_model_says_what_is_missing(tmp_path):
    name = "smollm2-135m-instruct-quick"
    study = load(name)
    with_template = [
        task.name
        for task in study.tasks
        if study.format_of(task.parameters(), "apply_chat_template")
    ]
    assert with_template == ["ifeval"]
    done = ppm("run", shutil.copy(PARAMS / f"{name}.yaml", tmp_path), cwd=tmp_path)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "there is no file '../models/SmolLM2-135M-Instruct.Q4_1.gguf'" in line
