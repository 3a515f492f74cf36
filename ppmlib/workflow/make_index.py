"""The last job of a study: its page for reviewers and the manifest of its files."""

from pathlib import Path

from ppmlib.page import pages
from ppmlib.record import records


def main(root: Path = Path()) -> None:
    """Write `index.html` and `manifest.json` of the study in `root`, from its records alone."""
    pages.build_index(root, study=records.read_json(root / records.PLAN_FILE))
    records.write_manifest(root)


if __name__ == "__main__":
    main()
