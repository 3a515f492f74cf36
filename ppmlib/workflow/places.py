"""Where the notebooks of the package lie. Light: every job asks."""

from importlib import resources
from pathlib import Path


def notebooks_folder() -> Path:
    """Where the notebooks lie: in the installed package, else beside it in the repository.

    Raises:
        FileNotFoundError: if neither holds them.
    """
    package = Path(str(resources.files("ppmlib")))
    for folder in (package / "notebooks", package.parent / "notebooks"):
        if (folder / "1_scoring.ipynb").exists():
            return folder
    raise FileNotFoundError(f"the notebooks are missing: neither in {package} nor beside it")
