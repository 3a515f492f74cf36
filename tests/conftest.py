"""One finished study that several test modules read, made once for all workers."""

import fcntl
from pathlib import Path

import pytest
from small_study import ppm, write_local_study

# Modules with the longest tests begin first, so that no worker ends long after the others.
LONGEST = (
    "test_edited_studies",
    "test_failed_stages",
    "test_kills",
    "test_seams",
    "test_notebooks",
)


def pytest_collection_modifyitems(items):
    """Put the longest modules first, in the order above; the others keep theirs."""
    rank = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: rank.get(item.path.stem, len(rank)))


@pytest.fixture(scope="session")
def finished(tmp_path_factory) -> Path:
    """A folder with a finished study, next to its model. Copy it before changing it."""
    base = tmp_path_factory.getbasetemp()
    shared = base.parent if base.name.startswith("popen-") else base
    folder = shared / "finished"
    with open(shared / "finished.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not folder.exists():
            folder.mkdir()
            done = ppm("run", write_local_study(folder), cwd=folder)
            assert done.returncode == 0, done.stderr
    assert (folder / "reports" / "small" / "manifest.json").exists()
    return folder
