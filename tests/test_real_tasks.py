"""lm-eval's own tasks on real documents, through `ppm` and a data root with the network off.

One study of a real pretrained Llama at two widths, compared with the plain lm-eval command line on
the exported checkpoint, and killed in the middle.
"""

import json
import os
import subprocess
from pathlib import Path

import kill_and_resume as kills
import pandas as pd
import pytest
import yaml
from real_data import lay_out
from real_documents import STUDY, TASKS
from real_study import plain_lm_eval
from small_study import command

from ppmlib.data import data_root

pytestmark = pytest.mark.slow
# As many documents per task as the MUSR group has: then it is evaluated whole.
SMALL = STUDY | {"pruning_ratios": [0.4], "floors": [], "subset": {"n": 30, "seed": 0}}


@pytest.fixture(scope="module")
def stored(tmp_path_factory) -> Path:
    return lay_out(tmp_path_factory.mktemp("data-root"))


@pytest.fixture(scope="module")
def studied(stored, tmp_path_factory) -> Path:
    """A folder with the finished study."""
    folder = tmp_path_factory.mktemp("studied")
    begin(folder)
    done = ppm(folder, "run", "real.yaml", "--data-root", stored)
    assert done.returncode == 0, done.stderr
    return folder


def begin(folder: Path) -> None:
    (folder / "real.yaml").write_text(yaml.safe_dump(SMALL))


def environment(folder: Path) -> dict[str, str]:
    return {**os.environ, "HF_HOME": str(folder / "home"), "OMP_NUM_THREADS": "1"}


def ppm(folder: Path, *arguments) -> subprocess.CompletedProcess:
    return subprocess.run(
        command(*arguments),
        cwd=folder,
        env=environment(folder),
        capture_output=True,
        text=True,
        timeout=550,
    )


@pytest.fixture(scope="module")
def exported(studied) -> Path:
    """The study's pruned width as a checkpoint of its own."""
    out = studied / "exported"
    done = ppm(studied, "export", "real.yaml", "--ratio", "0.4", "--out", out)
    assert done.returncode == 0, done.stderr
    return out


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task["name"])
def test_the_metrics_are_those_of_plain_lm_eval_on_the_exported_model(
    task, studied, exported, stored, tmp_path
):
    root = studied / "reports" / "real"
    record = json.loads((root / "records/ppm/r0.40/3_evaluation.json").read_text())
    whole = task["name"] == "leaderboard_musr"
    table = pd.read_parquet(root / f"samples/ppm/r0.40/{task['name']}.parquet")
    assert len(table) == 30
    documents = None if whole else table["doc_id"].tolist()
    theirs, logged = plain_lm_eval(
        task,
        exported,
        stored,
        tmp_path / "out",
        batch_size=SMALL["batch_size"],
        max_gen_toks=SMALL["generation"]["max_gen_toks"],
        documents=documents,
    )
    names = {task["name"], *(name for name in theirs if whole)}
    ours = [row for row in record["results"]["rows"] if row["task"] in names]
    assert {row["task"] for row in ours} == set(theirs)
    for row in ours:
        found = theirs[row["task"]]
        assert row["value"] == found[f"{row['metric']},{row['filter']}"]
        stderr = found[f"{row['metric']}_stderr,{row['filter']}"]
        assert stderr == "N/A" or row["stderr"] == stderr
    keys = {(name, key) for name in theirs for key in theirs[name] if "," in key}
    keys = {(name, key) for name, key in keys if "_stderr" not in key}
    assert keys == {(row["task"], f"{row['metric']},{row['filter']}") for row in ours}
    if "response" in table:
        responses = {entry["doc_id"]: entry["resps"][0][0] for entry in logged}
        assert table.set_index("doc_id")["response"].to_dict() == responses
        assert len(set(responses.values())) > 10
    elif not whole:
        correct = {entry["doc_id"]: entry[task["metric"]] for entry in logged}
        assert table.set_index("doc_id")[f"{task['metric']},none"].to_dict() == correct


def test_a_kill_in_the_middle_of_a_task_leaves_the_finished_ones_done(stored, studied, tmp_path):
    begin(tmp_path)
    root = tmp_path / "reports" / "real"

    def start() -> subprocess.Popen:
        words = command("run", "real.yaml", "--data-root", stored, "--cores", "1")
        return subprocess.Popen(
            words, cwd=tmp_path, env=environment(tmp_path), stderr=subprocess.DEVNULL
        )

    def second_task_done() -> bool:
        return any(root.glob("samples/*/*/gsm8k.json"))

    outcome, idle_s = kills.kill_one(start, tmp_path, "kernel", second_task_done)
    assert outcome == "killed" and idle_s is not None
    runs = ("dense/r0.00", "ppm/r0.40")
    (killed,) = [key for key in runs if not (root / f"records/{key}/3_evaluation.json").exists()]
    samples = root / "samples" / killed
    third = samples / "arc_challenge.json"
    outcome, idle_s = kills.kill_one(start, tmp_path, "engine", third.exists)
    assert outcome == "killed" and idle_s is not None
    finished = {file: file.stat().st_mtime_ns for file in samples.glob("*.json")}
    assert len({file.name for file in finished} & {f"{t['name']}.json" for t in TASKS}) == 3
    assert ppm(tmp_path, "run", "real.yaml", "--data-root", stored).returncode == 0
    record = json.loads((root / f"records/{killed}/3_evaluation.json").read_text())
    assert record["measured"]["reused_tasks"] == ["ifeval", "gsm8k", "arc_challenge"]
    assert {file: file.stat().st_mtime_ns for file in finished} == finished
    assert kills.numbers(root) == kills.numbers(studied / "reports" / "real")


def test_no_page_or_record_tells_where_the_data_root_lies(studied, stored):
    root = studied / "reports" / "real"
    assert data_root.read_link(root).resolve() == stored
    for path in root.rglob("*"):
        hidden = any(part.startswith(".") for part in path.relative_to(root).parts)
        if path.is_file() and not hidden:
            assert str(stored).encode() not in path.read_bytes(), path


def test_status_and_rerun_find_the_data_root_of_the_last_run(studied):
    assert ppm(studied, "status", "real.yaml").returncode == 0
    again = ppm(studied, "rerun", "reports/real/ppm/r0.40/3_evaluation.ipynb")
    assert again.returncode == 0, again.stdout + again.stderr
    assert again.stdout.splitlines()[-1] == "real/ppm/r0.40/3_evaluation: equal"
