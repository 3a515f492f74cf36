"""Fill a data root on a machine that has a network: model, data sets, nltk data, manifest.

Files come from the hub at one commit each, are held against the hub's own hashes, and are gone on
with where an earlier download stopped. What has no revision of its own is taken at the commit the
hub has at the first time; the manifest keeps it, and later calls stay at it.
"""

import fcntl
import hashlib
import shutil
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ppmlib import bench, models, records
from ppmlib.lmeval import task_data
from ppmlib.offline import data_root, dataset_files, hub, nltk_data
from ppmlib.offline.data_root import DataRoot
from ppmlib.params import Study

PARTIAL = ".partial"  # unfinished downloads, by the hash of what they will be
TELL_EVERY_S = 15.0
SHOWN = 3  # configurations whose row counts are told
API_KIND = {"models": "model", "datasets": "dataset"}
Tell = Callable[[str], None]


class PrefetchError(Exception):
    """Something could not be fetched; one line."""


# All that can go wrong in one line.
REFUSALS = (
    PrefetchError,
    hub.HubError,
    nltk_data.NltkDataError,
    task_data.UnknownData,
    data_root.DataRootError,
)


def prefetch(study: Study, folder: Path, *, nltk_source: str | None, tell: Tell) -> None:
    """Fetch everything a study needs into a data root; what is there already is kept.

    Args:
        nltk_source: as `nltk_data.fetch`.
        tell: called with lines of progress.
    Raises:
        PrefetchError, HubError, NltkDataError: for what cannot be had; what was fetched stays.
        UnknownData: for a task whose data cannot be told from its file.
    """
    folders = [bench.tasks_dir()]
    names = [task.name for task in study.tasks]
    sources = [source for name in names for source in task_data.sources(name, folders)]
    resources = {path for name in names for path in task_data.resources(name, folders)}
    with _alone(folder):
        root = data_root.opened(folder)
        if models.HUB_ID.fullmatch(study.model.id) and study.model.id not in bench.MODELS:
            _model(root, study.model.id, study.model.revision, tell)
        for repository, revision in _revisions(sources):
            configs = [source.config for source in sources if source.repository == repository]
            _dataset(root, repository, revision, configs, tell)
        for path in sorted(resources):
            _nltk(root, path, nltk_source, tell)
        shutil.rmtree(folder / PARTIAL)


@contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Be the only one that fills a data root. PrefetchError if another process does."""
    place = folder / PARTIAL
    place.mkdir(parents=True, exist_ok=True)
    with open(place / "lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise PrefetchError(f"{folder}: another ppm prefetch is filling it") from None
        yield


def _revisions(sources: Iterable[task_data.Source]) -> list[tuple[str, str | None]]:
    """Each repository with the revision its tasks ask for. PrefetchError if they ask for two."""
    wanted: dict[str, str | None] = {}
    for source in sources:
        if wanted.setdefault(source.repository, source.revision) != source.revision:
            raise PrefetchError(
                f"tasks want {source.repository} at {wanted[source.repository]} and at "
                f"{source.revision}: a data root holds one revision; use two data roots"
            )
    return list(wanted.items())


def _model(root: DataRoot, model: str, revision: str | None, tell: Tell) -> None:
    """Fetch a model's safetensors, config and tokenizer files, and enter them in the manifest."""
    from huggingface_hub.utils import filter_repo_objects

    info = _listed(root, "models", model, revision)
    names = filter_repo_objects(
        list(info.sizes), allow_patterns=models.HUB_FILES, ignore_patterns=models.HUB_IGNORED
    )
    _enter(root, info, _files(root, info, list(names), tell))


def _dataset(
    root: DataRoot, repository: str, revision: str | None, configs: list[str | None], tell: Tell
) -> None:
    """Fetch the files of a data set's configurations, count their rows, enter both.

    Configurations that were fetched before, for another study, stay.
    """
    import datasets

    from ppmlib.lmeval.tasks import quiet

    info = _listed(root, "datasets", repository, revision)
    earlier = [None if name == "default" else name for name in info.earlier.get("rows", {})]
    configs = list(dict.fromkeys([*earlier, *configs]))
    readme, entries = "", {}
    if dataset_files.README in info.sizes:
        entries = _files(root, info, [dataset_files.README], None)
        readme = (root.dataset(repository) / dataset_files.README).read_text(encoding="utf-8")
    names = dataset_files.needed(info.sizes, readme, configs)
    entries |= _files(root, info, names, tell)
    _enter(root, info, entries)
    rows = {}
    with quiet(), data_root.local_datasets(root):
        for config in configs:
            loaded = datasets.load_dataset(repository, config)
            counts = {split: part.num_rows for split, part in loaded.items()}
            rows[data_root.rows_key(config)] = counts
    _enter(root, info, entries, rows=rows)
    for config, counts in list(rows.items())[:SHOWN]:
        tell(f"  {config}: " + ", ".join(f"{split} {n:,} rows" for split, n in counts.items()))
    if len(rows) > SHOWN:
        tell(f"  and {len(rows) - SHOWN} more configurations")


@dataclass(frozen=True)
class _Listed:
    """What the hub says of a repository at one commit, and what the manifest said before."""

    kind: str  # models or datasets
    repository: str
    revision: str | None  # as asked for
    commit: str
    sizes: dict[str, int]  # bytes of every file
    hashes: dict[str, str]  # sha256 of large files, git's blob id of the others
    earlier: dict[str, Any]

    @property
    def what(self) -> str:
        """The kind in words."""
        return "model" if self.kind == "models" else "data set"


def _listed(root: DataRoot, kind: str, repository: str, revision: str | None) -> _Listed:
    from huggingface_hub import HfApi

    earlier = root.manifest()[kind].get(repository, {"commit": None, "files": {}})
    at = revision or earlier["commit"]
    with hub.explained(repository, at, "model" if kind == "models" else "data set"):
        info = HfApi().repo_info(
            repository, revision=at, repo_type=API_KIND[kind], files_metadata=True
        )
    return _Listed(
        kind=kind,
        repository=repository,
        revision=revision,
        commit=info.sha,
        sizes={file.rfilename: file.size for file in info.siblings},
        hashes={
            file.rfilename: file.lfs.sha256 if file.lfs else file.blob_id for file in info.siblings
        },
        earlier=earlier,
    )


def _files(root: DataRoot, info: _Listed, names: list[str], tell: Tell | None) -> dict[str, Any]:
    """Have the named files in the data root; their entries for the manifest."""
    known = info.earlier["files"]
    if tell:
        total = sum(info.sizes[name] for name in names)
        tell(f"{info.what} {info.repository} at {info.commit}: {len(names)} files, {size(total)}")
        _check_space(root, total - sum(known[name]["bytes"] for name in names if name in known))
    place = root.folder / info.kind / info.repository
    entries = {}
    for name in names:
        entry = _kept(place / name, info, name)
        if entry is None:
            with hub.explained(info.repository, info.revision, info.what):
                entry = _download(root, info, name, tell)
        entries[name] = entry
    return entries


def _kept(target: Path, info: _Listed, name: str) -> dict[str, Any] | None:
    """The manifest's entry of a file that is there and is the hub's; None if it is to be fetched.

    A file without an entry (put there by hand, or the last one before a kill) is hashed.
    """
    if not target.is_file() or target.stat().st_size != info.sizes[name]:
        return None
    entry = info.earlier["files"].get(name)
    if entry is not None and entry["hub"] == info.hashes[name]:
        return entry
    return _checked(target, info.hashes[name])


def _checked(target: Path, expected: str) -> dict[str, Any] | None:
    """A manifest's entry of a file whose hash is the hub's, else None."""
    digest = records.sha256_file(target)
    if (digest if len(expected) == len(digest) else _git_blob(target)) != expected:
        return None
    return {"bytes": target.stat().st_size, "sha256": digest, "hub": expected}


def _git_blob(path: Path) -> str:
    content = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def _download(root: DataRoot, info: _Listed, name: str, tell: Tell | None) -> dict[str, Any]:
    """Fetch one file, going on with an earlier part of it, and hold it against the hub's hash."""
    from huggingface_hub import get_token, hf_hub_url
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers

    say = tell or (lambda line: None)
    expected, total = info.hashes[name], info.sizes[name]
    part = root.folder / PARTIAL / expected
    done = part.stat().st_size if part.exists() else 0
    began = time.monotonic()
    say(f"  {name}, {size(total)}" + (f", from {size(done)} on" if done else ""))
    kind = API_KIND[info.kind]
    url = hf_hub_url(info.repository, name, repo_type=kind, revision=info.commit)
    with open(part, "ab") as handle:
        http_get(
            url,
            handle,
            resume_size=done,
            headers=build_hf_headers(token=get_token()),
            expected_size=total,
            tqdm_class=_lines(say, TELL_EVERY_S),
        )
    entry = _checked(part, expected)
    if entry is None:
        digest = records.sha256_file(part)
        part.unlink()
        raise PrefetchError(
            f"{info.repository}/{name}: its sha256 {digest} is not the hub's ({expected}): "
            "removed; run the same command again"
        )
    target = root.folder / info.kind / info.repository / name
    target.parent.mkdir(parents=True, exist_ok=True)
    part.replace(target)
    seconds = time.monotonic() - began
    if seconds > TELL_EVERY_S:
        say(f"  {name} done, {size((total - done) / seconds)}/s")
    return entry


def _lines(tell: Tell, every_s: float):
    """A progress bar of the hub's client that tells a line every so many seconds."""
    from huggingface_hub.utils import tqdm

    class Lines(tqdm):
        def __init__(self, *arguments, **options):
            options.pop("name", None)
            super().__init__(*arguments, **{**options, "disable": True})
            self.n, self.total = options.get("initial") or 0, options.get("total")
            self.told = time.monotonic()

        def update(self, n=1):
            self.n += n
            if time.monotonic() - self.told > every_s:
                self.told = time.monotonic()
                tell(f"    {size(self.n)} of {size(self.total)}")

    return Lines


def _nltk(root: DataRoot, resource: str, source: str | None, tell: Tell) -> None:
    """Put one resource of nltk's under nltk_data and enter it in the manifest."""
    tell(f"nltk {resource}: {nltk_data.fetch(resource, root.nltk_data, source)}")
    files = [file for file in root.nltk_data.rglob("*") if file.is_file()]
    manifest = root.manifest()
    manifest["nltk_data"] = records.relative_files(root.nltk_data, files)
    records.write_json(root.folder / data_root.MANIFEST, manifest)


def _enter(root: DataRoot, info: _Listed, files: dict[str, Any], **more: Any) -> None:
    """Put a repository into the manifest; files of an earlier commit that it has no more go."""
    for name in set(info.earlier["files"]) - set(files):
        (root.folder / info.kind / info.repository / name).unlink(missing_ok=True)
    manifest = root.manifest()
    entry = {"revision": info.revision, "commit": info.commit, "files": files, **more}
    manifest[info.kind][info.repository] = entry
    records.write_json(root.folder / data_root.MANIFEST, manifest)


def _check_space(root: DataRoot, wanted: int) -> None:
    free = shutil.disk_usage(root.folder).free
    if wanted > free:
        raise PrefetchError(
            f"{root.folder}: {size(wanted)} to fetch, {size(free)} free: choose another disk"
        )


def size(count: float) -> str:
    """Bytes as a person reads them, decimal units: `2.47 GB`."""
    for unit in ("bytes", "kB", "MB"):
        if count < 1000:
            return f"{count:.3g} {unit}" if unit != "bytes" else f"{count:.0f} bytes"
        count /= 1000
    return f"{count:,.2f} GB"
