"""`ppm prefetch` that fails, is stopped, or is called for several studies: nothing is lost."""

import shutil
import socket
import time
from pathlib import Path

import huggingface_hub
import pytest
import toy_hub
import yaml
from real_documents import card
from small_study import KNOWLEDGE, TINY
from toy_hub import serving

from ppmlib import bench
from ppmlib.data import data_root, hub
from ppmlib.data.data_root import DataRoot, DataRootError
from ppmlib.evaluation import task_data, tasks
from ppmlib.evaluation.run import EvaluationError
from ppmlib.model import models
from ppmlib.model.quiet import quiet_libraries
from ppmlib.offline import nltk_data, prefetch
from ppmlib.offline.check import find_changed_files
from ppmlib.offline.prefetch import PrefetchError
from ppmlib.record import records
from ppmlib.study_file.params import Study

CONFIGS = {"arc_challenge": "ARC-Challenge", "arc_easy": "ARC-Easy"}
ARC, MODEL = "allenai/ai2_arc", "some/model"
ROWS = {"train": 2, "test": 3}
NOBODY = "http://127.0.0.1:9"


@pytest.fixture
def served(tmp_path, monkeypatch):
    """A hub with a data set of two configurations and a model; this process asks that hub."""
    import datasets

    clone = tmp_path / "hub" / "datasets" / ARC
    configs = {}
    for config in CONFIGS.values():
        (clone / config).mkdir(parents=True)
        for split, rows in ROWS.items():
            lines = [f'{{"id": "{config} {split} {row}"}}\n' for row in range(rows)]
            (clone / config / f"{split}.jsonl").write_text("".join(lines))
        configs[config] = {split: f"{config}/{split}.jsonl" for split in ROWS}
    (clone / "README.md").write_text(card("Two configurations", configs))
    shutil.copytree(bench.model_dir("bench-small"), tmp_path / "hub" / "models" / MODEL)
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    with serving(tmp_path / "hub") as served:
        ask(monkeypatch, served.endpoint)
        yield served


def ask(monkeypatch, endpoint: str) -> None:
    constants = huggingface_hub.constants
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "ENDPOINT", endpoint)
    template = endpoint + "/{repo_id}/resolve/{revision}/{filename}"
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", template)


def fetch(folder: Path, *names: str, **model: str) -> DataRoot:
    """The data root `folder` after `ppm prefetch` of a study of these tasks."""
    listed = [
        {"name": name, "num_fewshot": 0, "metric": "acc", "axis": "reasoning"} for name in names
    ]
    content = TINY | {"model": model or {"id": "bench-small"}, "tasks": listed or [KNOWLEDGE]}
    path = folder.with_suffix(".yaml")
    path.write_text(yaml.safe_dump(content))
    prefetch.prefetch(Study.load(path), folder, nltk_source=None, tell=lambda line: None)
    return DataRoot(folder)


def rows(root: DataRoot, config: str) -> dict[str, int]:
    import datasets

    with quiet_libraries(), data_root.local_datasets(root):
        return {name: part.num_rows for name, part in datasets.load_dataset(ARC, config).items()}


def contents(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file()
    }


def test_a_call_that_cannot_count_rows_costs_no_earlier_configuration_its_files(served, tmp_path):
    root = fetch(tmp_path / "root", "arc_easy")
    broken = tmp_path / "hub" / "datasets" / ARC / "ARC-Challenge" / "test.jsonl"
    whole = broken.read_text()
    broken.write_text('{"id": ')
    with pytest.raises(DataRootError, match=r"ai2_arc \(ARC-Challenge\) cannot be read"):
        fetch(root.folder, "arc_challenge")
    broken.write_text(whole)
    fetch(root.folder, "arc_challenge")
    assert [rows(root, config) for config in CONFIGS.values()] == [ROWS, ROWS]
    assert root.manifest()["datasets"][ARC]["rows"] == dict.fromkeys(CONFIGS.values(), ROWS)


class Killed(BaseException):
    """What no `except Exception` and no `REFUSALS` takes."""


def kill_at(monkeypatch, step: int) -> None:
    """Stop the process at its `step`-th write of the manifest or end of a download."""
    steps = iter(range(step))

    def counted(function):
        def called(*arguments, **options):
            if next(steps, None) is None:
                raise Killed
            return function(*arguments, **options)

        return called

    monkeypatch.setattr(records, "write_json", counted(records.write_json))
    monkeypatch.setattr(prefetch, "_check_file", counted(prefetch._check_file))


def test_a_call_killed_anywhere_loses_nothing_and_leaves_nothing_that_passes_for_whole(
    served, tmp_path, monkeypatch
):
    first = fetch(tmp_path / "first", "arc_challenge").folder
    whole = shutil.copytree(first, tmp_path / "whole")
    expected = contents(fetch(whole, "arc_easy", id=MODEL).folder)
    before = DataRoot(first).manifest()["datasets"][ARC]
    for step in range(0, 1000, 3):
        root = DataRoot(shutil.copytree(first, tmp_path / f"root-{step}"))
        with monkeypatch.context() as patched:
            kill_at(patched, step)
            try:
                fetch(root.folder, "arc_easy", id=MODEL)
                break
            except Killed:
                pass
        entry = root.manifest()["datasets"][ARC]
        assert entry["files"].items() >= before["files"].items()
        assert entry["rows"].items() >= before["rows"].items()
        for kind, repository in (("datasets", ARC), ("models", MODEL)):
            assert find_changed_files(root, kind, repository) == []
        assert task_data.find_missing_data(root, ["arc_challenge"], []) == []
        there = contents(root.folder)
        for found, prefix in (
            (lambda root: root.find_dataset(ARC, "ARC-Easy"), f"datasets/{ARC}/ARC-Easy"),
            (lambda root: root.find_model(MODEL, None), f"models/{MODEL}"),
        ):
            needed = {name for name in expected if name.startswith(prefix)}
            if needed & there.keys() and needed - there.keys():
                with pytest.raises(DataRootError, match="not complete|not in the data root"):
                    found(root)
        fetch(root.folder, "arc_easy", id=MODEL)
        assert contents(root.folder) == expected
    assert step > 10


def test_every_name_a_model_was_asked_for_by_stays_good(served, tmp_path):
    served.revisions.add("v1")
    root = fetch(tmp_path / "root", id=MODEL, revision="main")
    fetch(root.folder, id=MODEL, revision="v1")
    for revision in (None, "main", "v1", toy_hub.commit(MODEL)):
        assert root.find_model(MODEL, revision) == root.model(MODEL)
    with pytest.raises(DataRootError, match="asks for revision 'v2'"):
        root.find_model(MODEL, "v2")


def test_another_commit_is_refused_and_the_files_of_the_first_stay(served, tmp_path, monkeypatch):
    root = fetch(tmp_path / "root", id=MODEL)
    before = contents(root.folder)
    served.revisions.add("v2")
    (tmp_path / "hub" / "models" / MODEL / "tokenizer_config.json").unlink()
    monkeypatch.setattr(toy_hub, "commit", lambda repository: "f" * 40)
    with pytest.raises(PrefetchError, match=r"revision 'v2' is f{40}: use another data root, or"):
        fetch(root.folder, id=MODEL, revision="v2")
    assert {name: before.get(name) for name in contents(root.folder)} == before | {
        name: None for name in contents(root.folder) if name.startswith(".partial")
    }
    shutil.rmtree(root.model(MODEL))
    fetch(root.folder, id=MODEL, revision="v2")
    assert root.commit("models", MODEL) == "f" * 40
    assert find_changed_files(root, "models", MODEL) == []


def test_a_file_that_was_changed_in_place_is_fetched_again(served, tmp_path):
    root = fetch(tmp_path / "root", "arc_easy")
    file = root.dataset(ARC) / "ARC-Easy" / "test.jsonl"
    file.write_text(file.read_text().replace("test 0", "test 9"))
    assert find_changed_files(root, "datasets", ARC) != []
    fetch(root.folder, "arc_easy")
    assert find_changed_files(root, "datasets", ARC) == []


def test_nltk_data_whose_copy_stopped_halfway_is_not_taken_for_whole(tmp_path):
    resource, source, folder = "tokenizers/punkt_tab", tmp_path / "source", tmp_path / "nltk_data"
    (source / resource).mkdir(parents=True)
    (source / resource / "a.txt").write_text("a")
    unreadable = source / resource / "b.txt"
    unreadable.symlink_to(tmp_path / "nowhere")
    with pytest.raises(shutil.Error):
        nltk_data.fetch(resource, folder, str(source))
    assert not (folder / resource).exists()
    unreadable.unlink()
    unreadable.write_text("b")
    assert nltk_data.fetch(resource, folder, str(source)) == f"copied from {source}"
    assert contents(folder / resource) == {"a.txt": b"a", "b.txt": b"b"}
    assert nltk_data.fetch(resource, folder, NOBODY) == "there already"


@pytest.fixture
def waits(monkeypatch) -> list[float]:
    """Seconds that were waited before something was tried again; nobody waits in the test."""
    seconds: list[float] = []
    monkeypatch.setattr(time, "sleep", seconds.append)
    return seconds


@pytest.mark.parametrize("revision", [None, "0" * 40])
def test_a_hub_out_of_reach_is_one_line_at_once(tmp_path, monkeypatch, capfd, waits, revision):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    ask(monkeypatch, NOBODY)
    with pytest.raises(models.ModelError, match=r"^model .* the hub cannot be reached; fetch it"):
        models.locate(MODEL, revision)
    with pytest.raises(hub.HubError, match=r"^model 'some/model'.*: ConnectError: "):
        fetch(tmp_path / "root", id=MODEL, **({"revision": revision} if revision else {}))
    assert waits == [] and capfd.readouterr() == ("", "")


def test_documents_that_are_out_of_reach_are_one_line(tmp_path, monkeypatch, capfd, waits):
    import datasets

    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    ask(monkeypatch, NOBODY)
    with pytest.raises(EvaluationError, match=r"^arc_easy: .*on the Hub.*`ppm prefetch` fetches"):
        tasks.load("arc_easy", num_fewshot=0, fewshot_seed=0, generation=None, folders=[])
    assert capfd.readouterr() == ("", "")


@pytest.fixture
def silent(monkeypatch):
    """This process asks a hub that takes connections and never answers; it is given up on soon."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        ask(monkeypatch, f"http://127.0.0.1:{server.getsockname()[1]}")
        monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_ETAG_TIMEOUT", 1)
        yield


def test_a_hub_that_never_answers_is_one_line(tmp_path, monkeypatch, silent):
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    with pytest.raises(models.ModelError, match="the hub cannot be reached"):
        models.locate(MODEL)
    with pytest.raises(hub.HubError, match="ReadTimeout"):
        fetch(tmp_path / "root", id=MODEL)
