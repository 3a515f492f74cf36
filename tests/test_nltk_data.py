"""nltk's data from a folder, or from an index and its packages on a server in a thread."""

import hashlib
import io
import threading
import zipfile
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from ppmlib.offline import nltk_data
from ppmlib.offline.nltk_data import NltkDataError

RESOURCE = "tokenizers/punkt_tab"
FILES = {"punkt_tab/english/a.txt": "mr\n", "punkt_tab/english/b.tab": "x\ty\n"}


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *arguments) -> None:
        pass


@pytest.fixture
def index(tmp_path) -> str:
    """The address of an index with one package, whose hash the index states as md5."""
    served = tmp_path / "served"
    served.mkdir()
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as archive:
        for name, text in FILES.items():
            archive.writestr(name, text)
    (served / "punkt_tab.zip").write_bytes(content.getvalue())
    digest = hashlib.md5(content.getvalue()).hexdigest()
    write_index(served, f'checksum="{digest}"')
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(served)))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}/index.xml"
    server.shutdown()
    server.server_close()
    thread.join()


def write_index(served: Path, hashes: str) -> None:
    package = f'<package id="punkt_tab" subdir="tokenizers" url="punkt_tab.zip" {hashes}/>'
    text = f"<nltk_data><packages>{package}</packages></nltk_data>"
    (served / "index.xml").write_text(text)


def found(folder: Path) -> dict[str, str]:
    place = folder / "tokenizers"
    files = (path for path in place.rglob("*") if path.is_file())
    return {path.relative_to(place).as_posix(): path.read_text() for path in files}


def test_a_package_is_fetched_unpacked_and_then_kept(index, tmp_path):
    folder = tmp_path / "nltk_data"
    assert nltk_data.fetch(RESOURCE, folder, index) == f"fetched from {index}"
    assert found(folder) == FILES
    assert nltk_data.fetch(RESOURCE, folder, "http://127.0.0.1:9/") == "there already"


@pytest.mark.parametrize("attribute", ["checksum", "sha256_checksum"])
def test_a_package_of_another_hash_is_refused(index, tmp_path, attribute):
    write_index(tmp_path / "served", f'{attribute}="00"')
    with pytest.raises(NltkDataError, match="punkt_tab: its (md5|sha256) is not the one in"):
        nltk_data.fetch(RESOURCE, tmp_path / "nltk_data", index)
    assert found(tmp_path / "nltk_data") == {}


def test_what_an_index_does_not_have_is_said(index, tmp_path):
    with pytest.raises(NltkDataError, match="index.xml has no package 'stopwords'"):
        nltk_data.fetch("corpora/stopwords", tmp_path, index)
    (tmp_path / "served" / "index.xml").write_text("<html><p>")
    with pytest.raises(NltkDataError, match=r"index.xml is not an nltk package index"):
        nltk_data.fetch(RESOURCE, tmp_path, index)
    missing = index.replace("index", "other")
    with pytest.raises(NltkDataError, match=r"cannot be fetched .*404.*give --nltk-data a folder"):
        nltk_data.fetch(RESOURCE, tmp_path, missing)


def test_a_folder_is_copied_packed_or_not(index, tmp_path):
    packed, plain = tmp_path / "packed", tmp_path / "plain"
    (packed / "tokenizers").mkdir(parents=True)
    (packed / f"{RESOURCE}.zip").write_bytes((tmp_path / "served/punkt_tab.zip").read_bytes())
    nltk_data.fetch(RESOURCE, plain, index)
    for source in (packed, plain):
        copy = tmp_path / f"{source.name}-copy"
        assert nltk_data.fetch(RESOURCE, copy, str(source)) == f"copied from {source}"
    assert found(tmp_path / "plain-copy") == FILES
    assert (tmp_path / "packed-copy" / f"{RESOURCE}.zip").exists()
    with pytest.raises(NltkDataError, match=r"nowhere has no tokenizers/punkt_tab, nor .*\.zip"):
        nltk_data.fetch(RESOURCE, tmp_path / "other", str(tmp_path / "nowhere"))
