"""Fill a data root on a machine that has a network: model, data sets, nltk data, manifest.

Files come from the hub at one commit each, are held against the hub's own hashes, and are gone on
with where an earlier download stopped. What has no revision of its own is taken at the commit the
hub has at the first time; the manifest keeps it, and later calls stay at it.
"""

import hashlib
import shutil
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from ppmlib import bench, data_root, hub, models, records
from ppmlib.data_root import DataRoot
from ppmlib.lmeval import task_data
from ppmlib.params import Study

PARTIAL = ".partial"  # unfinished downloads, by the hash of what they will be
NEVER_READ = (".gitattributes", "*.py")
TELL_EVERY_S = 15.0
DATASETS_API = {"models": "model", "datasets": "dataset"}
Tell = Callable[[str], None]


class PrefetchError(Exception):
    """Something could not be fetched; one line."""


def prefetch(study: Study, folder: Path, *, nltk_source: str | None, tell: Tell) -> None:
    """Fetch everything a study needs into a data root; what is there already is kept.

    Args:
        nltk_source: a folder that holds nltk's data, or the address of an index of nltk's; None is
            nltk's own index.
        tell: called with lines of progress.
    Raises:
        PrefetchError, HubError: for what cannot be had; what was fetched before stays.
        UnknownData: for a task whose data cannot be told from its file.
    """
    folders = [bench.tasks_dir()]
    names = [task.name for task in study.tasks]
    sources = [source for name in names for source in task_data.sources(name, folders)]
    resources = {path for name in names for path in task_data.resources(name, folders)}
    folder.mkdir(parents=True, exist_ok=True)
    root = data_root.opened(folder)
    if models.HUB_ID.fullmatch(study.model.id) and study.model.id not in bench.MODELS:
        patterns = {"allow_patterns": models.HUB_FILES, "ignore_patterns": models.HUB_IGNORED}
        _repository(root, "models", study.model.id, study.model.revision, patterns, tell)
    for repository, revision in _revisions(sources):
        _repository(
            root, "datasets", repository, revision, {"ignore_patterns": list(NEVER_READ)}, tell
        )
        _count_rows(root, repository, sources, tell)
    for path in sorted(resources):
        _nltk(root, path, nltk_source, tell)
    shutil.rmtree(folder / PARTIAL, ignore_errors=True)


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


def _repository(
    root: DataRoot, kind: str, repository: str, revision: str | None, patterns: dict, tell: Tell
) -> None:
    """Fetch one repository's files and enter them in the manifest."""
    from huggingface_hub import HfApi
    from huggingface_hub.utils import filter_repo_objects

    what = "model" if kind == "models" else "data set"
    earlier = root.manifest()[kind].get(repository, {"commit": None, "files": {}})
    at = revision or earlier["commit"]
    with hub.explained(repository, at, what):
        info = HfApi().repo_info(
            repository, revision=at, repo_type=DATASETS_API[kind], files_metadata=True
        )
    files = list(filter_repo_objects(info.siblings, key=lambda f: f.rfilename, **patterns))
    total = sum(file.size for file in files)
    tell(f"{what} {repository} at {info.sha}: {len(files)} files, {size(total)}")
    place = root.folder / kind / repository
    known = earlier["files"]
    _check_space(root, total - sum(entry["bytes"] for entry in known.values()))
    entries = {}
    for file in files:
        target = place / file.rfilename
        entry = _kept(target, file, known.get(file.rfilename))
        if entry is None:
            with hub.explained(repository, at, what):
                entry = _download(root, kind, repository, info.sha, file, target, tell)
        entries[file.rfilename] = entry
    for name in set(known) - set(entries):
        (place / name).unlink(missing_ok=True)
    _enter(root, kind, repository, {"revision": revision, "commit": info.sha, "files": entries})


def _kept(target: Path, file, entry: dict[str, Any] | None) -> dict[str, Any] | None:
    """The manifest's entry of a file that is there and is the hub's; None if it is to be fetched.

    A file without an entry (put there by hand, or the last one before a kill) is hashed.
    """
    if not target.is_file() or target.stat().st_size != file.size:
        return None
    if entry is not None and _expected(file) == entry["hub"]:
        return entry
    return _checked(target, file)


def _expected(file) -> str:
    """The hub's own hash of a file: sha256 of large ones, git's blob id of the others."""
    return file.lfs.sha256 if file.lfs else file.blob_id


def _checked(target: Path, file) -> dict[str, Any] | None:
    """A manifest's entry of a file whose hash is the hub's, else None."""
    digest = records.sha256_file(target)
    if (digest if file.lfs else _git_blob(target)) != _expected(file):
        return None
    return {"bytes": file.size, "sha256": digest, "hub": _expected(file)}


def _git_blob(path: Path) -> str:
    content = path.read_bytes()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def _download(
    root: DataRoot, kind: str, repository: str, commit: str, file, target: Path, tell: Tell
) -> dict[str, Any]:
    """Fetch one file, going on with an earlier part of it, and hold it against the hub's hash."""
    from huggingface_hub import get_token, hf_hub_url
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers

    part = root.folder / PARTIAL / _expected(file)
    part.parent.mkdir(exist_ok=True)
    done = part.stat().st_size if part.exists() else 0
    began = time.monotonic()
    tell(f"  {file.rfilename}, {size(file.size)}" + (f", from {size(done)} on" if done else ""))
    url = hf_hub_url(repository, file.rfilename, repo_type=DATASETS_API[kind], revision=commit)
    with open(part, "ab") as handle:
        http_get(
            url,
            handle,
            resume_size=done,
            headers=build_hf_headers(token=get_token()),
            expected_size=file.size,
            tqdm_class=_lines(tell, TELL_EVERY_S),
        )
    entry = _checked(part, file)
    if entry is None:
        digest = records.sha256_file(part)
        part.unlink()
        raise PrefetchError(
            f"{repository}/{file.rfilename}: its sha256 {digest} is not the hub's "
            f"({_expected(file)}): removed; run the same command again"
        )
    target.parent.mkdir(parents=True, exist_ok=True)
    part.replace(target)
    seconds = time.monotonic() - began
    if seconds > TELL_EVERY_S:
        tell(f"  {file.rfilename} done, {size((file.size - done) / seconds)}/s")
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


def _count_rows(root: DataRoot, repository: str, sources, tell: Tell) -> None:
    """Load the configurations the tasks read and enter their row counts in the manifest."""
    import datasets

    from ppmlib.lmeval.tasks import quiet

    entry = root.manifest()["datasets"][repository]
    entry["rows"] = {}
    configs = dict.fromkeys(s.config for s in sources if s.repository == repository)
    with quiet(), data_root.local_datasets(root):
        for config in configs:
            loaded = datasets.load_dataset(repository, config)
            counts = {split: part.num_rows for split, part in loaded.items()}
            entry["rows"][data_root.rows_key(config)] = counts
    _enter(root, "datasets", repository, entry)
    for config, counts in list(entry["rows"].items())[:3]:
        tell(f"  {config}: " + ", ".join(f"{split} {n:,} rows" for split, n in counts.items()))
    if len(configs) > 3:
        tell(f"  and {len(configs) - 3} more configurations")


def _nltk(root: DataRoot, path: str, source: str | None, tell: Tell) -> None:
    """Put one resource of nltk's under nltk_data, from a folder or an index."""
    name, target = Path(path).name, root.nltk_data / path
    if source and Path(source).is_dir():
        found = [file for form in (path, f"{path}.zip") if (file := Path(source) / form).exists()]
        if not found:
            raise PrefetchError(f"{source} has no {path}, nor {path}.zip")
        tell(f"nltk {name}: copied from {source}")
        for file in found:
            place = root.nltk_data / file.relative_to(source)
            place.parent.mkdir(parents=True, exist_ok=True)
            if file.is_dir():
                shutil.copytree(file, place, dirs_exist_ok=True)
            else:
                shutil.copyfile(file, place)
    elif not target.exists():
        from nltk.downloader import Downloader

        downloader = Downloader(server_index_url=source)
        tell(f"nltk {name}: from {downloader.url}")
        try:
            downloader.download(
                name, download_dir=str(root.nltk_data), quiet=True, raise_on_error=True
            )
        except (OSError, ValueError) as error:
            raise PrefetchError(
                f"nltk's {name} cannot be fetched from {downloader.url} "
                f"({' '.join(str(error).split())}): give --nltk-data a folder that holds {path}, "
                "or the address of another index"
            ) from error
    files = sorted(file for file in root.nltk_data.rglob("*") if file.is_file())
    manifest = root.manifest()
    manifest["nltk_data"] = records.relative_files(root.nltk_data, files)
    records.write_json(root.folder / data_root.MANIFEST, manifest)


def _enter(root: DataRoot, kind: str, repository: str, entry: dict[str, Any]) -> None:
    manifest = root.manifest()
    manifest[kind][repository] = entry
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
