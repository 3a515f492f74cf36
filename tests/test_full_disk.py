"""A disk that fills up and a folder that turns read-only while a study runs."""

import json
import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

import nbformat
import pandas as pd
import pytest
from kill_and_resume import numbers
from small_study import command, environment, ppm, write_local_study


def wait_for(path: Path, run: subprocess.Popen) -> None:
    deadline = time.monotonic() + 120
    while not path.exists():
        assert run.poll() is None, run.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.02)


def every_file_is_whole(root: Path) -> None:
    for path in root.rglob("*"):
        if any(part.startswith(".") for part in path.relative_to(root).parts):
            continue
        if path.suffix == ".json":
            json.loads(path.read_text())
        elif path.suffix == ".parquet":
            pd.read_parquet(path)
        elif path.suffix == ".ipynb":
            nbformat.read(path, as_version=4)
        elif path.suffix == ".html":
            assert path.read_text().rstrip().endswith("</html>"), path


def refuse_clearly(run: subprocess.Popen, reason: str) -> None:
    _, told = run.communicate(timeout=120)
    print(told)
    assert run.returncode == 1
    assert "Traceback" not in told
    assert reason in told.splitlines()[-1]


@pytest.fixture
def small_disk(tmp_path):
    """A file system of 40 MB; only root may mount one."""
    mounted = tmp_path / "disk"
    mounted.mkdir()
    options = ["-t", "tmpfs", "-o", "size=40m", "none", str(mounted)]
    if os.geteuid() or subprocess.run(["mount", *options], capture_output=True).returncode:
        pytest.skip("mounting a small file system needs root")
    yield mounted
    subprocess.run(["umount", "--lazy", str(mounted)], check=True)


def test_a_full_disk_is_told_in_a_line_and_loses_nothing(small_disk, finished):
    write_local_study(small_disk)
    root = small_disk / "reports" / "small"
    run = subprocess.Popen(
        command("run", "small.yaml"),
        cwd=small_disk,
        env=environment(),
        stderr=subprocess.PIPE,
        text=True,
    )
    wait_for(root / "records/1_scoring.json", run)
    ballast = small_disk / "ballast"
    with open(ballast, "wb", buffering=0) as handle:
        try:
            while handle.write(bytes(4096)):
                pass
        except OSError:
            pass
    refuse_clearly(run, "no space left on the disk")
    every_file_is_whole(root)
    again = ppm("run", "small.yaml", cwd=small_disk)
    print(again.stderr)
    assert again.returncode == 2
    assert again.stderr.startswith("ppm: reports/small: cannot be written (No space left")
    assert len(again.stderr.splitlines()) == 1

    ballast.unlink()
    assert ppm("run", "small.yaml", cwd=small_disk).returncode == 0
    assert numbers(root) == numbers(finished / "reports" / "small")


@pytest.mark.slow
def test_a_folder_turned_read_only_is_told_in_a_line_and_loses_nothing(finished):
    folder = Path(tempfile.mkdtemp(prefix="ppm-read-only-"))
    write_local_study(folder)
    # Root may write everywhere, unless that right is taken away.
    as_anybody = [] if os.geteuid() else ["setpriv", "--bounding-set=-dac_override"]
    root = folder / "reports" / "small"

    def start():
        return subprocess.Popen(
            [*as_anybody, *command("run", "small.yaml")],
            cwd=folder,
            env=environment(),
            stderr=subprocess.PIPE,
            text=True,
        )

    try:
        run = start()
        wait_for(root / "records/1_scoring.json", run)
        folders = [root, *(path for path in root.rglob("*") if path.is_dir())]
        for each in folders:
            each.chmod(0o555)
        refuse_clearly(run, "the folder is read-only")
        every_file_is_whole(root)
        again = start()
        _, told = again.communicate(timeout=60)
        print(told)
        assert again.returncode == 2
        assert told.startswith("ppm: reports/small: cannot be written (Permission denied)")
        for each in folders:
            each.chmod(0o755)
        done = start()
        _, told = done.communicate(timeout=300)
        assert done.returncode == 0, told
        assert numbers(root) == numbers(finished / "reports" / "small")
    finally:
        shutil.rmtree(folder)
