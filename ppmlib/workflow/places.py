"""The folder of the notebooks; every job imports this module, so it imports little."""

from importlib import resources
from pathlib import Path


def notebooks_folder() -> Path:
    """The notebooks' folder, in the installed package or next to it. Else FileNotFoundError."""
    package = Path(str(resources.files("ppmlib")))
    for folder in (package / "notebooks", package.parent / "notebooks"):
        if (folder / "1_scoring.ipynb").exists():
            return folder
    raise FileNotFoundError(f"the notebooks are missing: neither in {package} nor next to it")
