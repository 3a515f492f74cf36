"""One resource of nltk's, put into a data root from a folder or an index of nltk's packages.

nltk's own downloader refuses proxies and addresses inside a site, which is where clusters keep
their mirrors; the index and its packages are read here with the standard library instead.
"""

import hashlib
import io
import shutil
import zipfile
from pathlib import Path
from urllib.error import URLError
from urllib.parse import urljoin, urlsplit
from urllib.request import urlopen
from xml.etree import ElementTree

INDEX = "https://raw.githubusercontent.com/nltk/nltk_data/gh-pages/index.xml"
TIMEOUT_S = 60


class NltkDataError(Exception):
    """A resource cannot be had; one line."""


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
    if source and urlsplit(source).scheme not in ("http", "https"):
        return _copied(resource, folder, Path(source))
    if (folder / resource).exists():
        return "there already"
    index = source or INDEX
    try:
        _unpack(resource, folder, index)
    except (URLError, TimeoutError) as error:
        raise NltkDataError(
            f"nltk's {Path(resource).name} cannot be fetched from {index} ({_line(error)}): give "
            f"--nltk-data a folder that holds {resource}, or the address of another index"
        ) from error
    return f"fetched from {index}"


def _copied(resource: str, folder: Path, source: Path) -> str:
    found = [path for form in (resource, f"{resource}.zip") if (path := source / form).exists()]
    if not found:
        raise NltkDataError(f"{source} has no {resource}, nor {resource}.zip")
    for path in found:
        place = folder / path.relative_to(source)
        place.parent.mkdir(parents=True, exist_ok=True)
        if path.is_dir():
            shutil.copytree(path, place, dirs_exist_ok=True)
        else:
            shutil.copyfile(path, place)
    return f"copied from {source}"


def _unpack(resource: str, folder: Path, index: str) -> None:
    subdir, _, name = resource.rpartition("/")
    with urlopen(index, timeout=TIMEOUT_S) as answer:
        text = answer.read()
    try:
        packages = ElementTree.fromstring(text).iter("package")
    except ElementTree.ParseError as error:
        raise NltkDataError(f"{index} is no index of nltk's: {_line(error)}") from error
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
    place = folder / subdir
    place.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        archive.extractall(place)
    if not (folder / resource).exists():
        raise NltkDataError(f"nltk's {name}: its package holds no {resource}")


def _line(error: Exception) -> str:
    return " ".join(str(error).split())
