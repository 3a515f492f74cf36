"""The data root: a folder from which a study runs where there is no network.

    models/<org>/<name>/      a plain model folder
    datasets/<org>/<name>/    a plain clone of the hub's data set repository, README.md included
    nltk_data/                what nltk reads, for instance tokenizers/punkt_tab/
    manifest.json             what `ppm prefetch` put there: commits, sha256, row counts, and what
                              of it is unfinished because a call was stopped

A process finds its data root in the variable PPM_DATA_ROOT, the notebooks of a study in a hidden
link in the study's folder, so that no path of this machine gets into their pages. Fingerprints
contain the hashes of weights and documents, not where they were read from.
"""

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest import mock

from ppmlib.data.hub import describe_error
from ppmlib.record import records

VARIABLE = "PPM_DATA_ROOT"
LINK = ".data-root"
MANIFEST = "manifest.json"
KINDS = ("models", "datasets", "nltk_data")
OFFLINE = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
HUB_URL = re.compile(
    r"hf://datasets/(?P<repository>[\w.-]+/[\w.-]+)(?:@(?P<revision>[^/]+))?/(?P<file>.+)"
)
UNREADABLE = (OSError, ValueError, KeyError, TypeError)  # what `datasets` raises for such files


class DataRootError(Exception):
    """Something is not in the data root, or is not what its manifest says; one line."""


@dataclass(frozen=True)
class DataRoot:
    """A data root and its manifest, which is empty where files were put there by hand."""

    folder: Path

    def model(self, repository: str) -> Path:
        """The folder of a model."""
        return self.folder / "models" / repository

    def dataset(self, repository: str) -> Path:
        """The folder of a data set's repository."""
        return self.folder / "datasets" / repository

    @property
    def nltk_data(self) -> Path:
        """The folder that nltk reads."""
        return self.folder / "nltk_data"

    def manifest(self) -> dict[str, dict[str, Any]]:
        """What was fetched, by name: {models, datasets, nltk_data}.

        Raises:
            RecordError: if the file cannot be read or is not of this form.
        """
        file = self.folder / MANIFEST
        found = records.read_json(file) if file.exists() else {}
        if not _is_manifest(found):
            raise records.RecordError(
                f"{file}: damaged, not a manifest of `ppm prefetch`: remove it and prefetch again; "
                "files that are there are kept"
            )
        return {kind: {} for kind in KINDS} | found

    def entry(self, kind: str, repository: str) -> dict[str, Any]:
        """What the manifest states of a repository of `models` or `datasets`; may be empty."""
        return self.manifest()[kind].get(repository, {})

    def find_model(self, repository: str, revision: str | None) -> Path:
        """The folder of a model that a study asks for.

        Raises:
            DataRootError: if it is not there, is unfinished, or was fetched at another revision.
        """
        if not (self.model(repository) / "config.json").is_file():
            raise DataRootError(
                f"model {repository!r} is not in the data root: it has no "
                f"models/{repository}/config.json; fetch it with `ppm prefetch`"
            )
        commit = self.commit("models", repository)
        if commit and revision and revision not in self.revisions("models", repository):
            raise DataRootError(
                f"model {repository!r} is in the data root at {commit}, the study asks "
                f"for revision {revision!r}; fetch it with `ppm prefetch` into another data root"
            )
        self._check_finished("models", repository, repository)
        return self.model(repository)

    def find_dataset(self, repository: str, config: str | None = None) -> Path:
        """The folder of a data set's repository.

        Raises:
            DataRootError: if it is not there, or this configuration is unfinished.
        """
        folder = self.dataset(repository)
        if not folder.is_dir():
            raise DataRootError(
                f"data set {repository!r} is not in the data root: it has no "
                f"datasets/{repository}; fetch it with `ppm prefetch`"
            )
        self._check_finished("datasets", repository, rows_key(config))
        return folder

    def _check_finished(self, kind: str, repository: str, part: str) -> None:
        if part in self.entry(kind, repository).get("unfinished", ()):
            name = repository if part == repository else f"{repository} ({part})"
            raise DataRootError(
                f"{name} is not complete in the data root: run the same `ppm prefetch` again"
            )

    def commit(self, kind: str, repository: str) -> str | None:
        """The commit a repository was fetched at; None where the manifest does not state it."""
        return self.entry(kind, repository).get("commit")

    def revisions(self, kind: str, repository: str) -> set[str | None]:
        """The revisions that a repository was requested by, and its commit."""
        entry = self.entry(kind, repository)
        return {entry.get("commit"), entry.get("revision"), *entry.get("revisions", ())}


def _is_manifest(found: Any) -> bool:
    if not isinstance(found, dict):
        return False
    kinds = [found.get(kind, {}) for kind in KINDS]
    if not all(isinstance(kind, dict) for kind in kinds):
        return False
    entries = [entry for kind in kinds[:2] for entry in kind.values()]
    return all(isinstance(e, dict) and isinstance(e.get("files", {}), dict) for e in entries)


def open_data_root(folder: Path) -> DataRoot:
    """A data root. DataRootError if there is no such folder or its manifest cannot be read."""
    if not Path(folder).is_dir():
        raise DataRootError(
            f"there is no data root {str(folder)!r}: make one with `ppm prefetch`, on a machine "
            "that has a network"
        )
    root = DataRoot(Path(folder))
    try:
        root.manifest()
    except records.RecordError as error:
        raise DataRootError(str(error)) from None
    return root


def current_data_root() -> DataRoot | None:
    """The data root of this process, or None."""
    folder = os.environ.get(VARIABLE)
    return open_data_root(Path(folder)) if folder else None


def environment(folder: Path) -> dict[str, str]:
    """What makes a process read only from a data root; set before the hub's libraries load."""
    return {
        VARIABLE: str(folder),
        **OFFLINE,
        "NLTK_DATA": str(DataRoot(Path(folder)).nltk_data),
    }


def write_link(study_folder: Path, folder: Path | None) -> None:
    """Make the hidden link in a study's folder lead to a data root; None removes it."""
    hidden = Path(study_folder, LINK)
    hidden.unlink(missing_ok=True)
    if folder is not None:
        hidden.symlink_to(Path(folder).resolve())


def read_link(study_folder: Path) -> Path | None:
    """The link to the data root in a study's folder, or None. It need not lead anywhere."""
    hidden = Path(study_folder, LINK)
    return hidden if hidden.is_symlink() else None


@contextmanager
def local_datasets(root: DataRoot | None, *, compare_rows: bool = True) -> Iterator[None]:
    """Within the block, data sets of the hub are read from the data root, and only from there.

    `datasets.load_dataset` is replaced by one that reads the clone's folder, so that lm-eval's task
    definitions stay as they are; lm-eval has no option for it. Blocks are not nested, and nothing
    else replaces it. Nothing changes where the data root is None.

    Raises:
        DataRootError: by `load_dataset`, for a data set that is not there, cannot be read, or has
            other row counts than the manifest (unless not `compare_rows`).
    """
    if root is None:
        yield
        return
    import datasets

    load = datasets.load_dataset

    def load_dataset(path: str, name: str | None = None, **options):
        from datasets.packaged_modules import _PACKAGED_DATASETS_MODULES

        if path in _PACKAGED_DATASETS_MODULES:
            if "data_files" in options:
                options["data_files"] = _local_files(root, options["data_files"])
            return load(path, name, **options)
        folder = root.find_dataset(path, name)
        options.pop("revision", None)  # the clone is at one revision, which its manifest names
        label = f"{path} ({name})" if name else path
        cache = Path(datasets.config.HF_DATASETS_CACHE, f"data-root-{_state(folder)}")
        try:
            loaded = load(str(folder), name, cache_dir=str(cache), **options)
        except (*UNREADABLE, datasets.exceptions.DatasetsError) as error:
            raise DataRootError(
                f"{label} cannot be read from the data root: {reason(error)}"
            ) from error
        if compare_rows and isinstance(loaded, datasets.DatasetDict):
            counts = {split: part.num_rows for split, part in loaded.items()}
            _check_rows(root, path, name, counts, label)
        return loaded

    with mock.patch.object(datasets, "load_dataset", load_dataset):
        yield


def _state(folder: Path) -> str:
    """A name that changes with any file of a clone.

    `datasets` names its cache by the clone's last folder and the patterns in its README.md, and
    would otherwise return cached documents after a file was replaced.
    """
    files = [path for path in folder.rglob("*") if path.is_file()]
    listed = {
        path.relative_to(folder).as_posix(): [path.stat().st_size, path.stat().st_mtime_ns]
        for path in files
    }
    return records.fingerprint({"folder": str(folder.resolve()), "files": listed})[:16]


def rows_key(config: str | None) -> str:
    """The name of a configuration in the manifest; a repository's own choice is `default`."""
    return config or "default"


def _check_rows(root: DataRoot, path: str, config: str | None, counts: Mapping, label: str) -> None:
    expected = root.entry("datasets", path).get("rows", {}).get(rows_key(config))
    if expected is None or expected == counts:
        return
    off = [
        f"{counts.get(split, 0):,} rows in {split}, its manifest says {expected.get(split, 0):,}"
        for split in dict.fromkeys([*expected, *counts])
        if counts.get(split) != expected.get(split)
    ]
    raise DataRootError(
        f"{label} has {'; '.join(off)}: fetch it again with `ppm prefetch`, or correct its files"
    )


def _local_files(root: DataRoot, value: Any) -> Any:
    """`data_files` with the hub's addresses replaced by files of the data root."""
    if isinstance(value, Mapping):
        return {key: _local_files(root, item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_local_files(root, item) for item in value]
    matched = HUB_URL.fullmatch(str(value))
    if matched:
        return str(root.find_dataset(matched["repository"]) / matched["file"])
    if "://" in str(value):
        raise DataRootError(f"{value} is not in the data root and is not a hub address")
    return value


def reason(error: BaseException) -> str:
    """The innermost cause of an error, in one line."""
    while error.__cause__ is not None:
        error = error.__cause__
    return describe_error(error)
