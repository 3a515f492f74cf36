"""One resource of nltk's, put into a data root from a folder or an index of nltk's packages.

nltk's own downloader refuses proxies and addresses inside a site, which is where clusters keep
their mirrors; the index and its packages are read here with the standard library instead.
"""

import hashlib
import io
import shutil
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPException
from pathlib import Path
from urllib.error import URLError
from urllib.parse import urljoin, urlsplit
from urllib.request import urlopen
from xml.etree import ElementTree

from ppmlib.data.hub import one_line

INDEX = "https://raw.githubusercontent.com/nltk/nltk_data/gh-pages/index.xml"
TIMEOUT_S = 60


class NltkDataError(Exception):
    """A resource cannot be fetched; one line."""


def fetch(resource: str, folder: Path, source: str | None) -> str:
    """Put a resource such as `tokenizers/punkt_tab` under nltk_data.

    Args:
        folder: the data root's nltk_data.
        source: a folder that holds nltk's data, or the http address of an index; None is `INDEX`.
    Returns:
        where it came from, in words; it may have been there.
    Raises:
        NltkDataError: if the source does not have it, cannot be reached, or sends other bytes than
            its index says.
    """
    if list_files(resource, folder):
        return "there already"
    if source and urlsplit(source).scheme not in ("http", "https"):
        return _copied(resource, folder, Path(source))
    index = source or INDEX
    try:
        _unpack(resource, folder, index)
    except (URLError, TimeoutError, ConnectionError, HTTPException) as error:
        raise NltkDataError(
            f"nltk's {Path(resource).name} cannot be fetched from {index} ({one_line(error)}): "
            f"give --nltk-data a folder that holds {resource}, or the address of another index"
        ) from error
    return f"fetched from {index}"


def list_files(resource: str, folder: Path) -> list[Path]:
    """The files of a resource under nltk_data, packed or not; empty where it is not there."""
    return [
        path
        for path in (folder / f"{resource}.zip", *(folder / resource).rglob("*"))
        if path.is_file()
    ]


def remove(resource: str, folder: Path) -> None:
    """Delete a resource under nltk_data."""
    (folder / f"{resource}.zip").unlink(missing_ok=True)
    shutil.rmtree(folder / resource, ignore_errors=True)


def _copied(resource: str, folder: Path, source: Path) -> str:
    found = [path for form in (resource, f"{resource}.zip") if (path := source / form).exists()]
    if not found:
        raise NltkDataError(f"{source} has no {resource}, nor {resource}.zip")
    for path in found:
        with _moved_at_end(folder / path.relative_to(source)) as place:
            shutil.copytree(path, place) if path.is_dir() else shutil.copyfile(path, place)
    return f"copied from {source}"


@contextmanager
def _moved_at_end(target: Path) -> Iterator[Path]:
    """A path to fill in the block; it is then renamed to `target`: all of it or nothing."""
    folder = target.parent / ".unfinished"
    shutil.rmtree(folder, ignore_errors=True)  # a kill may have left it
    folder.mkdir(parents=True)
    try:
        yield folder / target.name
        (folder / target.name).replace(target)
    finally:
        shutil.rmtree(folder)


def _unpack(resource: str, folder: Path, index: str) -> None:
    name = Path(resource).name
    with urlopen(index, timeout=TIMEOUT_S) as answer:
        text = answer.read()
    try:
        packages = ElementTree.fromstring(text).iter("package")
    except ElementTree.ParseError as error:
        raise NltkDataError(f"{index} is not an nltk package index: {one_line(error)}") from error
    entry = next((package for package in packages if package.get("id") == name), None)
    if entry is None or not entry.get("url"):
        raise NltkDataError(f"{index} has no package {name!r}")
    with urlopen(urljoin(index, entry.get("url")), timeout=TIMEOUT_S) as answer:
        content = answer.read()
    algorithm, attribute = (
        ("sha256", "sha256_checksum") if entry.get("sha256_checksum") else ("md5", "checksum")
    )
    if hashlib.new(algorithm, content).hexdigest() != entry.get(attribute):
        raise NltkDataError(f"nltk's {name}: its {algorithm} is not the one in {index}")
    with (
        zipfile.ZipFile(io.BytesIO(content)) as archive,
        _moved_at_end(folder / resource) as place,
    ):
        archive.extractall(place.parent)
        if not place.exists():
            raise NltkDataError(f"nltk's {name}: its package holds no {resource}")
