"""Fill a data root on a machine that has a network: model, data sets, nltk data, manifest.

Files come from the hub at one commit per repository, which the manifest keeps from the first call
on, and are compared with the hub's hashes. The manifest only grows, by what was verified on disk,
and no file of another study is deleted: a call may be killed anywhere. Downloads resume, which
those of huggingface_hub's `snapshot_download` do not once their process has ended.
"""

import fcntl
import hashlib
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ppmlib import bench
from ppmlib.data import data_root, hub
from ppmlib.data.data_root import DataRoot
from ppmlib.evaluation import task_data
from ppmlib.model import models
from ppmlib.offline import dataset_files, nltk_data
from ppmlib.record import records
from ppmlib.study_file.params import Study

PARTIAL = ".partial"  # unfinished downloads, by the hash of what they will be
TELL_EVERY_S = 15.0
SHOWN = 3  # configurations whose row counts are printed
API_KIND = {"models": "model", "datasets": "dataset"}
IN_WORDS = {"models": "model", "datasets": "data set"}
Tell = Callable[[str], None]


class PrefetchError(Exception):
    """Something cannot be fetched; one line."""


# Every error that is one line for the user.
REFUSALS = (
    PrefetchError,
    hub.HubError,
    nltk_data.NltkDataError,
    task_data.UnknownData,
    data_root.DataRootError,
)


def prefetch(study: Study, folder: Path, *, nltk_source: str | None, tell: Tell) -> None:
    """Fetch everything a study needs into a data root; what is already there is kept.

    Args:
        nltk_source: as `nltk_data.fetch`.
        tell: called with lines of progress.
    Raises:
        PrefetchError, HubError, NltkDataError: for what cannot be fetched; what was fetched stays.
        UnknownData: for a task whose file does not determine its data.
    """
    folders = [bench.tasks_dir()]
    names = [task.name for task in study.tasks]
    sources = [source for name in names for source in task_data.find_sources(name, folders)]
    resources = {path for name in names for path in task_data.find_resources(name, folders)}
    revisions = _find_revisions(sources)
    with _lock(folder):
        root = data_root.open_data_root(folder)
        if models.HUB_ID.fullmatch(study.model.id) and study.model.id not in bench.MODELS:
            _fetch_model(root, study.model.id, study.model.revision, tell)
        for repository, revision in revisions:
            configs = [source.config for source in sources if source.repository == repository]
            _fetch_dataset(root, repository, revision, configs, tell)
        for path in sorted(resources):
            _fetch_nltk(root, path, nltk_source, tell)


@contextmanager
def _lock(folder: Path) -> Iterator[None]:
    """Hold a data root's lock. PrefetchError if another process fills it."""
    place = folder / PARTIAL
    place.mkdir(parents=True, exist_ok=True)
    with open(place / "lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise PrefetchError(f"{folder}: another ppm prefetch is filling it") from None
        yield
        (place / "lock").unlink()
    if not any(place.iterdir()):  # what is left belongs to another study's download
        place.rmdir()


def _find_revisions(sources: Iterable[task_data.Source]) -> list[tuple[str, str | None]]:
    """Each repository with the revision its tasks ask for. PrefetchError if they ask for two."""
    wanted: dict[str, str | None] = {}
    for source in sources:
        if wanted.setdefault(source.repository, source.revision) != source.revision:
            raise PrefetchError(
                f"tasks want {source.repository} at {wanted[source.repository]} and at "
                f"{source.revision}: a data root holds one revision; use two data roots"
            )
    return list(wanted.items())


def _fetch_model(root: DataRoot, model: str, revision: str | None, tell: Tell) -> None:
    """Fetch a model's safetensors, config and tokenizer files, and enter them in the manifest."""
    from huggingface_hub.utils import filter_repo_objects

    repository = _Repository.find(root, "models", model, revision)
    names = filter_repo_objects(
        list(repository.sizes), allow_patterns=models.HUB_FILES, ignore_patterns=models.HUB_IGNORED
    )
    repository.fetch(list(names), tell, wanted_by=[model])


def _fetch_dataset(
    root: DataRoot, name: str, revision: str | None, configs: list[str | None], tell: Tell
) -> None:
    """Fetch the files of a data set's configurations, count their rows, enter both."""
    import datasets

    from ppmlib.model.quiet import quiet_libraries

    repository = _Repository.find(root, "datasets", name, revision)
    configs = list(dict.fromkeys(configs))
    readme = ""
    if dataset_files.README in repository.sizes:
        repository.fetch([dataset_files.README], None, wanted_by=[])
        readme = (repository.folder / dataset_files.README).read_text(encoding="utf-8")
    names = dataset_files.find_needed_files(repository.sizes, readme, configs)
    repository.fetch(names, tell, wanted_by=map(data_root.rows_key, configs))
    rows = {}
    with quiet_libraries(), data_root.local_datasets(root, compare_rows=False):
        for config in configs:
            loaded = datasets.load_dataset(name, config)
            counts = {split: part.num_rows for split, part in loaded.items()}
            rows[data_root.rows_key(config)] = counts
    repository.update_manifest(rows=rows)
    for config, counts in list(rows.items())[:SHOWN]:
        tell(f"  {config}: " + ", ".join(f"{split} {n:,} rows" for split, n in counts.items()))
    if len(rows) > SHOWN:
        tell(f"  and {len(rows) - SHOWN} more configurations")


@dataclass(frozen=True)
class _Repository:
    """A repository of the hub at one commit, and its folder in a data root."""

    root: DataRoot
    kind: str  # models or datasets
    name: str
    revision: str | None  # as requested
    commit: str
    sizes: dict[str, int]  # bytes of every file
    hashes: dict[str, str]  # sha256 of large files, git's blob id of the others

    @classmethod
    def find(cls, root: DataRoot, kind: str, name: str, revision: str | None) -> "_Repository":
        """List a repository on the hub, at the commit that the manifest has it at, if any.

        Raises:
            PrefetchError: if files of another commit than the study wants are there.
        """
        from huggingface_hub import HfApi, constants

        place = root.folder / kind / name
        commit, known = root.commit(kind, name), root.revisions(kind, name)
        at = commit if revision in (None, *known) else revision
        with hub.explain_hub_errors(name, at, IN_WORDS[kind]):
            info = HfApi().repo_info(
                name,
                revision=at,
                repo_type=API_KIND[kind],
                files_metadata=True,
                timeout=constants.HF_HUB_ETAG_TIMEOUT,
            )
        if commit not in (None, info.sha) and place.exists():
            raise PrefetchError(
                f"{name} is in the data root at {commit}, revision {revision!r} is {info.sha}: "
                f"use another data root, or delete {place} first"
            )
        manifest = root.manifest()
        if commit is None or not place.exists():
            manifest[kind][name] = {"commit": info.sha, "files": {}}
        revisions = {revision, *(known if commit == info.sha else ())} - {None, info.sha}
        manifest[kind][name]["revisions"] = sorted(revisions)
        records.write_json(root.folder / data_root.MANIFEST, manifest)
        sizes = {file.rfilename: file.size for file in info.siblings}
        hashes = {f.rfilename: f.lfs.sha256 if f.lfs else f.blob_id for f in info.siblings}
        return cls(root, kind, name, revision, info.sha, sizes, hashes)

    @property
    def folder(self) -> Path:
        """Where its files lie in the data root."""
        return self.root.folder / self.kind / self.name

    def fetch(self, names: list[str], tell: Tell | None, wanted_by: Iterable[str]) -> None:
        """Fetch the named files; each is entered in the manifest once it is verified.

        Args:
            wanted_by: what is unfinished while a file is missing: configurations, the model.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        if tell:
            total = sum(self.sizes[name] for name in names)
            about = f"{IN_WORDS[self.kind]} {self.name} at {self.commit}"
            tell(f"{about}: {len(names)} files, {size(total)}")
        there = {name: _check_file(self.folder / name, self.hashes[name]) for name in names}
        missing = [name for name in names if there[name] is None]
        to_fetch = sum(self.sizes[name] for name in missing)
        free = shutil.disk_usage(self.root.folder).free
        if to_fetch > free:
            raise PrefetchError(
                f"{self.root.folder}: {size(to_fetch)} to fetch, {size(free)} free: "
                "choose another disk"
            )
        wanted = {*wanted_by}
        known = {name: entry for name, entry in there.items() if entry}
        self.update_manifest(known, unfinished=wanted if missing else ())
        for name in missing:
            with hub.explain_hub_errors(self.name, self.revision, IN_WORDS[self.kind]):
                entry = self._download(name, tell or (lambda line: None))
            self.update_manifest({name: entry})
        self.update_manifest(finished=wanted)

    def _download(self, name: str, tell: Tell) -> dict[str, Any]:
        """Fetch one file, resuming an earlier part of it, and compare it with the hub's hash."""
        from huggingface_hub import get_token, hf_hub_url
        from huggingface_hub.file_download import http_get
        from huggingface_hub.utils import build_hf_headers

        expected, total = self.hashes[name], self.sizes[name]
        part = self.root.folder / PARTIAL / expected
        done = part.stat().st_size if part.exists() else 0
        if done > total:
            part.unlink()
            done = 0
        began = time.monotonic()
        tell(f"  {name}, {size(total)}" + (f", resuming at {size(done)}" if done else ""))
        kind, commit = API_KIND[self.kind], self.commit
        with open(part, "ab") as handle:
            http_get(
                hf_hub_url(self.name, name, repo_type=kind, revision=commit),
                handle,
                resume_size=done,
                headers=build_hf_headers(token=get_token()),
                expected_size=total,
                tqdm_class=_progress_lines(tell),
            )
        entry = _check_file(part, expected)
        if entry is None:
            digest = records.sha256_file(part)
            part.unlink()
            raise PrefetchError(
                f"{self.name}/{name}: its sha256 {digest} is not the hub's ({expected}): "
                "removed; run the same command again"
            )
        target = self.folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        part.replace(target)
        seconds = time.monotonic() - began
        if seconds > TELL_EVERY_S:
            tell(f"  {name} done, {size((total - done) / seconds)}/s")
        return entry

    def update_manifest(
        self,
        files: Mapping[str, Any] | None = None,
        *,
        rows: Mapping[str, Any] | None = None,
        unfinished: Iterable[str] = (),
        finished: Iterable[str] = (),
    ) -> None:
        """Add verified files, counted rows and marks of what is unfinished to the manifest."""
        manifest = self.root.manifest()
        entry = manifest[self.kind][self.name]
        entry["files"] |= files or {}
        if rows:
            entry["rows"] = entry.get("rows", {}) | rows
        entry["unfinished"] = sorted({*entry.get("unfinished", ()), *unfinished} - {*finished})
        records.write_json(self.root.folder / data_root.MANIFEST, manifest)


def _check_file(target: Path, expected: str) -> dict[str, Any] | None:
    """A manifest's entry of a file that is there with the hub's hash, else None."""
    if not target.is_file():
        return None
    found = digest = records.sha256_file(target)
    if len(expected) != len(digest):
        content = target.read_bytes()
        found = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
    if found != expected:
        return None
    return {"bytes": target.stat().st_size, "sha256": digest, "hub": expected}


def _progress_lines(tell: Tell):
    """A progress bar of the hub's client that prints a line every `TELL_EVERY_S` seconds."""
    from huggingface_hub.utils import tqdm

    class Lines(tqdm):
        def __init__(self, *arguments, **options):
            options.pop("name", None)
            super().__init__(*arguments, **{**options, "disable": True})
            self.n, self.total = options.get("initial") or 0, options.get("total")
            self.printed = time.monotonic()

        def update(self, n=1):
            self.n += n
            if time.monotonic() - self.printed > TELL_EVERY_S:
                self.printed = time.monotonic()
                tell(f"    {size(self.n)} of {size(self.total)}")

    return Lines


def _fetch_nltk(root: DataRoot, resource: str, source: str | None, tell: Tell) -> None:
    """Put one resource of nltk's under nltk_data and enter it in the manifest."""

    def on_disk() -> dict[str, str]:
        return records.relative_files(
            root.nltk_data, nltk_data.list_files(resource, root.nltk_data)
        )

    there, own = on_disk(), (f"{resource}.zip", f"{resource}/")
    known = {n: sha for n, sha in root.manifest()["nltk_data"].items() if n.startswith(own)}
    if any(there.get(name) != digest for name, digest in known.items()):
        nltk_data.remove(resource, root.nltk_data)
    tell(f"nltk {resource}: {nltk_data.fetch(resource, root.nltk_data, source)}")
    manifest = root.manifest()
    manifest["nltk_data"] |= on_disk()
    records.write_json(root.folder / data_root.MANIFEST, manifest)


def size(count: float) -> str:
    """Bytes in decimal units: `2.47 GB`."""
    if count < 1000:
        return f"{count:.0f} bytes"
    for unit in ("kB", "MB"):
        count /= 1000
        if count < 1000:
            return f"{count:.3g} {unit}"
    count /= 1000
    return f"{count:,.2f} GB"
