"""`ppm rerun` of one notebook of each kind and of a whole study; a study of a local model."""

import getpass
import json
import re
import shutil
import socket
import sys
import tempfile
from pathlib import Path

import pandas as pd
import pytest
from small_study import ppm

from ppmlib.record import records

REPOSITORY = Path(__file__).parents[1]
TOKEN = re.compile(r"\b(?:hf_[A-Za-z]{20,}|gh[pousr]_\w{20,}|sk-[\w-]{20,}|eyJ[\w-]{20,}\.)")
ABSOLUTE = re.compile(
    r"(?<![\w.~/<:-])/(?:home|Users|root|tmp|var|private|opt|usr|mnt|scratch|work|etc)/\w"
)


@pytest.mark.parametrize(
    "key",
    ["1_scoring", "ppm/r0.50/2_pruning", "ppm/r0.50/3_evaluation", "ppm/4_profiling", "5_analysis"],
)
def test_a_notebook_run_again_gives_equal_numbers(finished, tmp_path, key):
    shutil.copytree(finished, tmp_path, symlinks=True, dirs_exist_ok=True)
    done = ppm("rerun", f"reports/small/{key}.ipynb", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, f"small/{key}: equal\n"), done.stderr
    assert not list((tmp_path / "reports").glob(".rerun*"))


@pytest.mark.slow
def test_a_whole_study_run_again_gives_equal_numbers(finished):
    done = ppm("rerun", "reports/small", cwd=finished)
    assert (done.returncode, done.stdout) == (0, "small: equal\n"), done.stderr


def test_a_report_of_one_notebook_outside_any_study_is_run_again_as_a_whole(tmp_path):
    shutil.copytree(REPOSITORY / "reports" / "published", tmp_path / "reports" / "published")
    done = ppm("rerun", "reports/published", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (0, "published: equal\n"), done.stderr


def test_a_record_that_was_touched_up_is_found_out(finished, tmp_path):
    reports = shutil.copytree(finished / "reports", tmp_path / "reports", symlinks=True)
    root = reports / "small"
    path = records.record_path(root, "ppm/r0.50/3_evaluation")
    record = json.loads(path.read_text())
    row = record["results"]["rows"][0]
    honest, row["value"] = row["value"], 0.99
    path.write_text(json.dumps(record))
    refused = ppm("rerun", root / "ppm/r0.50/3_evaluation.ipynb", cwd=tmp_path)
    assert refused.returncode == 2
    assert "changed after it was written" in refused.stderr

    # Even with a hash that fits, running it again shows the difference.
    record["sha256"] = records.fingerprint({k: v for k, v in record.items() if k != "sha256"})
    path.write_text(json.dumps(record))
    differs = ppm("rerun", root / "ppm/r0.50/3_evaluation.ipynb", cwd=tmp_path)
    print(differs.stdout, differs.stderr)
    assert differs.returncode == 1
    assert f"rows[0].value: 0.99 -> {honest}" in differs.stdout
    assert differs.stdout.splitlines()[-1] == "small/ppm/r0.50/3_evaluation: 1 differences"


@pytest.mark.parametrize("path", ["nowhere", "small.yaml", "reports/small/records/1_scoring.json"])
def test_what_is_no_executed_notebook_is_refused_in_a_line(finished, path):
    refused = ppm("rerun", path, cwd=finished)
    assert refused.returncode == 2
    assert len(refused.stderr.splitlines()) == 1 and "Traceback" not in refused.stderr


def text_of(path: Path) -> str:
    if path.suffix == ".parquet":
        return pd.read_parquet(path).to_json(force_ascii=False).replace("\\/", "/")
    return path.read_bytes().decode("utf-8", errors="ignore")


def test_no_file_of_a_report_tells_where_and_by_whom_it_was_made(finished):
    """Nothing of this machine, in any file, though the model lies in a folder of its own."""
    root = finished / "reports" / "small"
    traces = {str(finished), str(REPOSITORY), str(Path.home()), sys.prefix, tempfile.gettempdir()}
    traces |= {
        name
        for name in (socket.gethostname(), getpass.getuser())
        if len(name) > 5 or re.search(r"\d", name)
    }
    files = records.record_files(root)
    assert {".parquet", ".json", ".html", ".ipynb", ".csv", ".png"} <= {f.suffix for f in files}
    for path in files:
        text = text_of(path)
        for trace in traces:
            assert not re.search(rf"(?<![\w-]){re.escape(trace)}(?![\w-])", text), (trace, path)
        assert not TOKEN.search(text), path
        if path.suffix not in {".png", ".pdf", ".safetensors"}:
            found = ABSOLUTE.search(text)
            assert not found, (path, text[found.start() - 60 : found.end() + 60])
    for path in root.rglob("*.ipynb"):
        executed = json.loads(path.read_text())["metadata"]["papermill"]["parameters"]
        if "5_analysis" not in path.name:
            assert executed["model"] == "./.models/my-model"
