"""The data root of real documents that several tests read; they are skipped where there is none."""

import os
from pathlib import Path

import pytest
import real_documents


def source_data() -> Path:
    """The folder of the test data; the test is skipped where there is none."""
    folder = os.environ.get("PPMLIB_TEST_DATA")
    if not folder:
        pytest.skip("PPMLIB_TEST_DATA is not set: no real model and no real tasks' documents")
    return Path(folder)


def lay_out(folder: Path) -> Path:
    """The data root `folder`, as `real_documents` lays it out."""
    return real_documents.lay_out(source_data(), folder)
