"""A study's model, data sets and nltk data from a folder, and only from there."""

import json
import shutil
from pathlib import Path

import pytest
import yaml
from lm_eval.tasks import TaskManager
from real_data import lay_out
from real_documents import MODEL, STUDY, card
from small_study import KNOWLEDGE, TINY, ppm, write_study

from ppmlib.data import data_root
from ppmlib.data.data_root import DataRootError
from ppmlib.evaluation import task_data, task_files, taskrun, tasks
from ppmlib.evaluation.run import EvaluationError
from ppmlib.model import models
from ppmlib.model.quiet import quiet_libraries

PAPER_TASKS = {
    "wikitext": ("EleutherAI/wikitext_document_level", "wikitext-2-raw-v1"),
    "lambada_openai": ("EleutherAI/lambada_openai", "default"),
    "arc_challenge": ("allenai/ai2_arc", "ARC-Challenge"),
    "hellaswag": ("Rowan/hellaswag", None),
    "winogrande": ("allenai/winogrande", "winogrande_xl"),
    "piqa": ("baber/piqa", None),
    "boolq": ("aps/super_glue", "boolq"),
    "truthfulqa_mc1": ("truthfulqa/truthful_qa", "multiple_choice"),
    "truthfulqa_mc2": ("truthfulqa/truthful_qa", "multiple_choice"),
    "gsm8k": ("openai/gsm8k", "main"),
    "ifeval": ("google/IFEval", None),
}


@pytest.fixture(scope="module")
def stored(tmp_path_factory) -> Path:
    return lay_out(tmp_path_factory.mktemp("stored"))


@pytest.fixture
def within(stored, tmp_path, monkeypatch) -> Path:
    """This process reads only from the data root; datasets' cache is the test's own."""
    import datasets

    for name, value in data_root.environment(stored).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    return stored


def load(name: str, num_fewshot: int = 0) -> tasks.LoadedTask:
    return tasks.load(name, num_fewshot=num_fewshot, fewshot_seed=1234, generation=None, folders=[])


def test_the_papers_tasks_name_their_repositories():
    for name, expected in PAPER_TASKS.items():
        assert [source[1:] for source in task_data.find_sources(name, [])] == [(*expected, None)]
    assert task_data.find_resources("ifeval", []) == ["tokenizers/punkt_tab"]
    assert task_data.find_resources("gsm8k", []) == []


@pytest.mark.parametrize(
    ("name", "folder", "count"),
    [("mmlu", "mmlu", 57), ("truthfulqa", "truthfulqa", 3), ("leaderboard_musr", "leaderboard", 3)],
)
def test_a_group_or_tag_reads_what_lm_eval_itself_loads(name, folder, count, monkeypatch):
    from lm_eval.api.task import ConfigurableTask
    from lm_eval.config.task import TaskConfig

    def keep_config(task, *arguments, config, **options):
        task._config = TaskConfig(**config)

    monkeypatch.setattr(ConfigurableTask, "__init__", keep_config)
    path = task_files.lm_eval_folder() / folder
    loaded = TaskManager(include_path=[path], include_defaults=False).load([name])["tasks"]
    configs = [task.config for task in loaded.values()]
    expected = {(config.task, config.dataset_path, config.dataset_name) for config in configs}
    assert {source[:3] for source in task_data.find_sources(name, [])} == expected
    assert len(expected) == count


def test_a_task_is_the_same_task_whether_from_a_clone_or_the_data_root(
    within, tmp_path, monkeypatch
):
    def description(task):
        return taskrun.static_description(task, taskrun.hashes(task, None))

    stored = description(load("gsm8k", num_fewshot=5))
    monkeypatch.delenv(data_root.VARIABLE)
    monkeypatch.chdir(within / "datasets")
    assert description(load("gsm8k", num_fewshot=5)) == stored


def test_without_a_manifest_nothing_is_asserted_about_revisions(within):
    identity = models.load(MODEL, revision="main", device="cpu").identity
    assert identity["id"] == MODEL and identity["revision"] is None
    assert str(within) not in str(identity)


def test_what_is_not_in_the_data_root_is_not_looked_for_elsewhere(within):
    with pytest.raises(EvaluationError, match=r"data set 'Rowan/hellaswag' is not in the"):
        load("hellaswag")
    with pytest.raises(models.ModelError, match=r"model 'meta-llama/Llama-3.2-1B' is not in the"):
        models.locate("meta-llama/Llama-3.2-1B")
    with pytest.raises(DataRootError, match="there is no data root"):
        data_root.open_data_root(within / "nowhere")


def test_a_run_is_refused_with_a_line_for_each_thing_that_is_missing(stored, tmp_path):
    there = tmp_path / "there"
    shutil.copytree(stored, there)
    shutil.rmtree(there / "datasets" / "openai")
    shutil.rmtree(there / "nltk_data")
    path = tmp_path / "real.yaml"
    path.write_text(yaml.safe_dump(STUDY))
    done = ppm("run", path, "--data-root", there, "-n", cwd=tmp_path)
    assert done.returncode == 2
    assert [line.split(": ", 2)[1:] for line in done.stderr.splitlines()] == [
        [
            f"{path}",
            "ifeval: nltk's punkt_tab is not in the data root: it has no "
            "nltk_data/tokenizers/punkt_tab; fetch it with `ppm prefetch`",
        ],
        [
            "gsm8k",
            "data set 'openai/gsm8k' is not in the data root: it has no datasets/openai/gsm8k; "
            "fetch it with `ppm prefetch`",
        ],
    ]


def test_check_without_a_data_root_knows_the_package_and_the_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
    piqa = {"name": "piqa", "num_fewshot": 0, "metric": "acc", "axis": "commonsense"}
    path = write_study(tmp_path, TINY, model={"id": "bench-small"}, tasks=[KNOWLEDGE, piqa])
    done = ppm("check", path, cwd=tmp_path)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    lines = done.stdout.splitlines()
    assert lines[3].split()[:5] == ["bench_knowledge", "10", "of", "400", "package"]
    assert lines[-1] == (
        "piqa: its documents cannot be had (Couldn't reach 'baber/piqa' on the Hub "
        "(OfflineModeIsEnabled)): `ppm prefetch` fetches them into a data root, where the hub can "
        "be reached"
    )


@pytest.fixture
def small_root(tmp_path, monkeypatch) -> Path:
    """A data root with one data set of three rows and a manifest that says so."""
    import datasets

    clone = tmp_path / "root" / "datasets" / "some" / "thing"
    clone.mkdir(parents=True)
    (clone / "README.md").write_text(card("Three rows", {"main": {"test": "test.jsonl"}}))
    (clone / "test.jsonl").write_text('{"a": 1}\n{"a": 2}\n{"a": 3}\n')
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    return tmp_path / "root"


def rows_of(folder: Path, path: str, name: str | None = None, **options) -> list[int]:
    import datasets

    with quiet_libraries(), data_root.local_datasets(data_root.open_data_root(folder)):
        return datasets.load_dataset(path, name, split="test", **options)["a"][:]


def test_a_file_that_is_replaced_is_read_anew(small_root):
    assert rows_of(small_root, "some/thing", "main", revision="refs/x") == [1, 2, 3]
    (small_root / "datasets/some/thing/test.jsonl").write_text('{"a": 4}\n')
    assert rows_of(small_root, "some/thing", "main") == [4]


def test_addresses_of_the_hub_in_a_tasks_data_files_are_read_from_the_clone(small_root):
    address = "hf://datasets/some/thing@main/test.jsonl"
    assert rows_of(small_root, "json", data_files={"test": address}) == [1, 2, 3]
    for value in ("hf://datasets/some/other/test.jsonl", "https://example.org/test.jsonl"):
        with pytest.raises(DataRootError, match="is not in the data root"):
            rows_of(small_root, "json", data_files=[value])


def test_other_row_counts_or_configurations_than_the_manifests_are_refused(small_root):
    import datasets

    entry = {"commit": "0" * 40, "files": {}, "rows": {"main": {"test": 2, "train": 1}}}
    manifest = {"datasets": {"some/thing": entry}}
    (small_root / "manifest.json").write_text(json.dumps(manifest))
    with data_root.local_datasets(data_root.open_data_root(small_root)):
        with pytest.raises(DataRootError, match="has 3 rows in test, its manifest says 2; 0 rows"):
            datasets.load_dataset("some/thing", "main")
        with pytest.raises(DataRootError, match="cannot be read from the data root: .*'other'"):
            datasets.load_dataset("some/thing", "other")
    (small_root / "manifest.json").write_text("{")
    with pytest.raises(DataRootError, match="manifest.json: damaged"):
        data_root.open_data_root(small_root)


@pytest.mark.parametrize("text", [
    "[]", "null", '{"models": []}', '{"nltk_data": null}', '{"datasets": {"some/thing": 3}}',
    '{"models": {"some/thing": {"files": []}}}',
])  # fmt: skip
def test_json_that_is_no_manifest_is_named(small_root, text):
    (small_root / "manifest.json").write_text(text)
    with pytest.raises(
        DataRootError, match="manifest.json: damaged, not a manifest of `ppm prefetch`"
    ):
        data_root.open_data_root(small_root)


def test_a_task_that_no_file_declares_is_one_of_the_lines_of_what_is_missing(small_root):
    lines = task_data.find_missing_data(
        data_root.open_data_root(small_root), ["no_such_task", "gsm8k"], []
    )
    assert lines[0] == "no_such_task: no task, group or tag 'no_such_task'"
    assert lines[1].startswith("gsm8k: data set 'openai/gsm8k' is not in the data root")
