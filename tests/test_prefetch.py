"""`ppm prefetch` against a toy hub, and `ppm check` of what it fetched with the hub stopped."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pandas as pd
import pytest
import yaml
from real_data import lay_out, source_data
from real_documents import MODEL, STUDY, card
from small_study import command
from toy_hub import ToyHub, commit, serving

from ppmlib.data.data_root import DataRoot
from ppmlib.offline.check import find_changed_files

WEIGHTS = f"models/{MODEL}/model.safetensors"
CHUNK_BYTES = 10 << 20  # the hub's client writes so much at once


NOT_NEEDED = Path("datasets/allenai/ai2_arc/ARC-Easy")


@pytest.fixture(scope="module")
def repositories(tmp_path_factory) -> Path:
    """What the hub has: the real documents, and a configuration that no task asks for."""
    folder = lay_out(tmp_path_factory.mktemp("repositories"))
    clone = folder / NOT_NEEDED.parent
    shutil.copytree(clone / "ARC-Challenge", folder / NOT_NEEDED)
    files = {split: f"{{}}/{split}-*" for split in ("train", "test")}
    configs = {
        name: {split: path.format(name) for split, path in files.items()}
        for name in ("ARC-Challenge", "ARC-Easy")
    }
    (clone / "README.md").write_text(card("Two configurations", configs))
    return folder


@pytest.fixture(scope="module")
def fetched(repositories, tmp_path_factory) -> Path:
    """A folder with a study file and the data root that was fetched for it; the hub is stopped."""
    folder = tmp_path_factory.mktemp("fetched")
    (folder / "real.yaml").write_text(yaml.safe_dump(STUDY))
    with serving(repositories) as hub:
        done = prefetch(folder, hub)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "complete; next: ppm check real.yaml --data-root root"
    return folder


def environment(folder: Path, hub: ToyHub | None = None) -> dict[str, str]:
    endpoint = hub.endpoint if hub else "http://127.0.0.1:9"  # nobody listens there
    return {
        **{key: value for key, value in os.environ.items() if not key.startswith("HF_")},
        "HF_ENDPOINT": endpoint,
        "HF_HOME": str(folder / "home"),
        "NO_PROXY": "127.0.0.1",
    }


def arguments(*more: str) -> list[str]:
    nltk_data = source_data() / "data" / "nltk_data"
    return command("prefetch", "real.yaml", "--data-root", "root", "--nltk-data", nltk_data, *more)


def run(folder: Path, words: list[str], hub: ToyHub | None) -> subprocess.CompletedProcess:
    return subprocess.run(
        words, cwd=folder, env=environment(folder, hub), capture_output=True, text=True, timeout=300
    )


def prefetch(folder: Path, hub: ToyHub) -> subprocess.CompletedProcess:
    return run(folder, arguments(), hub)


def check(folder: Path) -> subprocess.CompletedProcess:
    return run(folder, command("check", "real.yaml", "--data-root", "root"), None)


def study_of_the_model_alone(folder: Path) -> None:
    """A study whose one task comes with the package."""
    task = {"name": "bench_null", "num_fewshot": 0, "metric": "acc", "axis": "planted"}
    (folder / "real.yaml").write_text(yaml.safe_dump(STUDY | {"tasks": [task]}))


def test_everything_is_there_at_a_recorded_commit(fetched, repositories):
    root = fetched / "root"
    manifest = json.loads((root / "manifest.json").read_text())
    assert manifest["models"][MODEL]["commit"] == commit(MODEL)
    assert {name: entry["rows"] for name, entry in manifest["datasets"].items()} == {
        "google/IFEval": {"default": {"train": 541}},
        "openai/gsm8k": {"main": {"train": 200, "test": 1319}},
        "allenai/ai2_arc": {"ARC-Challenge": {"train": 25, "test": 1125}},
        "TAUR-Lab/MuSR": {
            "default": {"murder_mysteries": 5, "object_placements": 20, "team_allocation": 5}
        },
    }
    there = {path.relative_to(repositories) for path in repositories.rglob("*")}
    wanted = {path for path in there if not path.is_relative_to(NOT_NEEDED)}
    assert {path.relative_to(root) for path in root.rglob("*")} == wanted | {Path("manifest.json")}
    assert (root / WEIGHTS).read_bytes() == (repositories / WEIGHTS).read_bytes()


def test_a_second_call_fetches_nothing_and_stays_at_the_commit(fetched, repositories):
    before = (fetched / "root" / "manifest.json").read_text()
    with serving(repositories) as hub:
        assert prefetch(fetched, hub).returncode == 0
        paths = [path for _, path, _ in hub.log]
    assert not [path for path in paths if "/resolve/" in path]
    assert f"/api/datasets/openai/gsm8k/revision/{commit('openai/gsm8k')}" in paths
    assert (fetched / "root" / "manifest.json").read_text() == before


def test_what_was_fetched_checks_out_with_the_hub_stopped(fetched):
    done = check(fetched)
    assert done.returncode == 0, done.stderr
    about, engine, *table = done.stdout.splitlines()
    assert engine == "engine: fast"
    assert about == (
        f"model {MODEL}, revision {commit(MODEL)}: 260,032 parameters, float32, 512 tokens"
    )
    assert table[0].split() == ["task", "documents", "source", "revision", "first", "prompt"]
    assert table[2].split() == [
        *("gsm8k", "1,319", "openai/gsm8k", "(main)", commit("openai/gsm8k")[:12]),
        *("ok,", "2,275", "tokens,", "cut", "to", "512"),
    ]
    assert table[-1] == "real.yaml: model, tokenizer and 4 tasks load"


def test_three_faults_are_three_clear_lines(fetched, tmp_path):
    shutil.copytree(fetched, tmp_path, dirs_exist_ok=True)
    datasets = tmp_path / "root" / "datasets"
    shutil.rmtree(datasets / "google" / "IFEval")
    problems = datasets / "openai/gsm8k/main/test-00000-of-00001.parquet"
    pd.read_parquet(problems).iloc[:-1].to_parquet(problems)
    questions = datasets / "allenai/ai2_arc/ARC-Challenge/test-00000-of-00001.parquet"
    pd.read_parquet(questions).rename(columns={"choices": "options"}).to_parquet(questions)
    train = questions.with_name("train-00000-of-00001.parquet")
    pd.read_parquet(train).rename(columns={"choices": "options"}).to_parquet(train)
    done = check(tmp_path)
    assert done.returncode == 1
    lines = done.stdout.splitlines()
    assert lines[7:] == [
        "ifeval: data set 'google/IFEval' is not in the data root: it has no "
        "datasets/google/IFEval; fetch it with `ppm prefetch`",
        "gsm8k: openai/gsm8k (main) has 1,318 rows in test, its manifest says 1,319: fetch it "
        "again with `ppm prefetch`, or correct its files",
        "arc_challenge: its documents are not of the form it reads (UndefinedError: 'choices' is "
        "undefined); allenai/ai2_arc has the columns id, question, options, answerKey",
    ]
    assert done.stderr.splitlines()[-1] == "ppm: real.yaml: 3 missing or wrong"


def test_files_that_were_changed_or_taken_away_later_are_named(fetched, tmp_path):
    root = DataRoot(shutil.copytree(fetched / "root", tmp_path / "root"))
    assert find_changed_files(root, "models", MODEL) == []
    content = bytearray((root.folder / WEIGHTS).read_bytes())
    content[-1] ^= 1
    (root.folder / WEIGHTS).write_bytes(content)
    (root.model(MODEL) / "tokenizer.json").unlink()
    assert find_changed_files(root, "models", MODEL) == [
        f"{WEIGHTS}: not the file that was fetched (its sha256 differs)",
        f"models/{MODEL}/tokenizer.json: missing, its manifest has it",
    ]


@pytest.mark.parametrize("status", [401, 403])  # no token, or one without access
def test_a_gated_model_is_one_line_that_says_how_to_get_access(repositories, tmp_path, status):
    study_of_the_model_alone(tmp_path)
    with serving(repositories) as hub:
        hub.gated[MODEL] = status
        done = prefetch(tmp_path, hub)
        page = f"{hub.endpoint}/{MODEL}"
    assert done.returncode == 1
    assert done.stderr == (
        f"ppm: model '{MODEL}' is gated: accept its licence on {page}, then `hf auth login` or set "
        "HF_TOKEN to a token of that account\n"
    )


def test_a_download_that_was_killed_goes_on_where_it_stopped(repositories, tmp_path):
    shutil.copytree(repositories / "models", tmp_path / "hub" / "models")
    study_of_the_model_alone(tmp_path)
    large = tmp_path / "hub" / "models" / MODEL / "second.safetensors"
    large.write_bytes(os.urandom(CHUNK_BYTES * 2))
    with serving(tmp_path / "hub") as hub:
        hub.stalls[large.name] = CHUNK_BYTES + 1000
        first = subprocess.Popen(
            arguments(), cwd=tmp_path, env=environment(tmp_path, hub), stdout=subprocess.DEVNULL
        )
        assert hub.stalled.wait(60)
        partial = tmp_path / "root" / ".partial"
        while not any(part.stat().st_size == CHUNK_BYTES for part in partial.iterdir()):
            assert first.poll() is None
        second = prefetch(tmp_path, hub)
        assert second.stderr == "ppm: root: another ppm prefetch is filling it\n"
        first.kill()
        first.wait()
        hub.released.set()
        done = prefetch(tmp_path, hub)
        ranges = hub.sent(large.name)
    assert done.returncode == 0, done.stderr
    assert "second.safetensors, 21 MB, resuming at 10.5 MB" in done.stdout
    assert ranges == [None, f"bytes={CHUNK_BYTES}-"]
    fetched = tmp_path / "root" / "models" / MODEL / large.name
    assert fetched.read_bytes() == large.read_bytes()


def test_a_file_with_another_sha256_is_refused_and_fetched_anew(repositories, tmp_path):
    study_of_the_model_alone(tmp_path)
    with serving(repositories) as hub:
        hub.corrupt.add("model.safetensors")
        done = prefetch(tmp_path, hub)
        assert done.returncode == 1
        assert f"ppm: {MODEL}/model.safetensors: its sha256 " in done.stderr
        assert "is not the hub's" in done.stderr and done.stderr.count("\n") == 1
        assert not (tmp_path / "root" / WEIGHTS).exists()
        hub.corrupt.clear()
        assert prefetch(tmp_path, hub).returncode == 0
        assert hub.sent("model.safetensors") == [None, None]
    assert (tmp_path / "root" / WEIGHTS).read_bytes() == (repositories / WEIGHTS).read_bytes()


def test_no_network_is_one_line(tmp_path):
    source_data()
    study_of_the_model_alone(tmp_path)
    done = run(tmp_path, arguments(), None)
    assert done.returncode == 1
    assert done.stderr.startswith(f"ppm: model '{MODEL}': ConnectError: ")
    assert done.stderr.count("\n") == 1
