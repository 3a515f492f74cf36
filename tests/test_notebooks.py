"""Every notebook runs by itself, as a newcomer would start it, with plain papermill."""

import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

REPOSITORY = Path(__file__).parents[1]
NOTEBOOKS = sorted((REPOSITORY / "notebooks").glob("*.ipynb"))


def run_papermill(notebook: Path, cwd: Path, *options: str) -> nbformat.NotebookNode:
    out = cwd / f"out-{notebook.name}"
    command = [sys.executable, "-m", "papermill", str(notebook), str(out), "-k", "python3"]
    done = subprocess.run(
        [*command, "--no-progress-bar", *options],
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=300,
        env={**os.environ, "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return nbformat.read(out, as_version=4)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_with_its_defaults_from_any_folder(path, tmp_path):
    executed = run_papermill(path, tmp_path)
    figures = [
        output.data["text/html"]
        for cell in executed.cells
        if cell.cell_type == "code"
        for output in cell.outputs
        if "<figure" in output.get("data", {}).get("text/html", "")
    ]
    assert figures, "a notebook without a figure"
    assert all('alt="' in html for html in figures)
    assert (tmp_path / "ppm-out").is_dir()
    streams = [
        output.text
        for cell in executed.cells
        if cell.cell_type == "code"
        for output in cell.outputs
        if output.output_type == "stream" and output.name == "stderr"
    ]
    assert not streams, streams


def test_a_parameter_given_to_papermill_reaches_the_notebook(tmp_path):
    executed = run_papermill(
        REPOSITORY / "notebooks" / "2_pruning.ipynb", tmp_path, "-p", "pruning_ratio", "0.3"
    )
    assert executed.metadata.papermill.parameters == {"pruning_ratio": 0.3}
    assert (tmp_path / "ppm-out" / "records" / "ppm" / "r0.30" / "2_pruning.json").exists()
