"""A server in a thread that speaks what `ppm prefetch` needs of the hub's API, faults included."""

import contextlib
import hashlib
import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

LFS = (".safetensors", ".parquet", ".jsonl")


class ToyHub(ThreadingHTTPServer):
    """The repositories of a folder that is laid out like a data root, one commit each."""

    daemon_threads = True

    def __init__(self, folder: Path) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.folder = folder
        self.gated: dict[str, int] = {}  # repository: status of a refusal
        self.revisions = {"main"}  # names that every repository has, and its own commit
        self.stalls: dict[str, int] = {}  # file name: bytes after which no more come
        self.corrupt: set[str] = set()  # file names of which other bytes are sent
        self.log: list[tuple[str, str, str | None]] = []  # method, path, Range
        self.stalled = threading.Event()
        self.released = threading.Event()

    @property
    def endpoint(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def sent(self, name: str) -> list[str | None]:
        """The ranges asked for in the downloads of a file."""
        return [rng for method, path, rng in self.log if method == "GET" and path.endswith(name)]


def commit(repository: str) -> str:
    return hashlib.sha1(repository.encode()).hexdigest()


@contextlib.contextmanager
def serving(folder: Path):
    """A running ToyHub; stopped at the end of the block."""
    hub = ToyHub(folder)
    thread = threading.Thread(target=hub.serve_forever, daemon=True)
    thread.start()
    try:
        yield hub
    finally:
        hub.released.set()
        hub.shutdown()
        hub.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *arguments) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer(body=False)

    def do_GET(self) -> None:
        self._answer(body=True)

    def _answer(self, *, body: bool) -> None:
        path = unquote(urlsplit(self.path).path)
        self.server.log.append((self.command, path, self.headers.get("Range")))
        parts = path.strip("/").split("/")
        if parts[0] == "api":
            self._describe(parts[1], "/".join(parts[2:4]), parts[4:])
        elif parts[0] == "datasets":
            self._file("datasets", "/".join(parts[1:3]), parts[4], "/".join(parts[5:]), body)
        else:
            self._file("models", "/".join(parts[:2]), parts[3], "/".join(parts[4:]), body)

    def _refuse(self, status: int, code: str) -> None:
        self.send_response(status)
        self.send_header("X-Error-Code", code)
        self.send_header("X-Error-Message", code)
        self.send_header("Content-Length", "0")
        self.end_headers()

    def _known(self, kind: str, repository: str, revision: str) -> bool:
        if not (self.server.folder / kind / repository).is_dir():
            self._refuse(404, "RepoNotFound")
        elif revision not in {*self.server.revisions, commit(repository)}:
            self._refuse(404, "RevisionNotFound")
        else:
            return True
        return False

    def _describe(self, kind: str, repository: str, rest: list[str]) -> None:
        revision = rest[1] if rest else "main"
        if not self._known(kind, repository, revision):
            return
        place = self.server.folder / kind / repository
        siblings = []
        for file in sorted(path for path in place.rglob("*") if path.is_file()):
            content = file.read_bytes()
            blob = hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()
            entry = {
                "rfilename": file.relative_to(place).as_posix(),
                "size": len(content),
                "blobId": blob,
            }
            if file.suffix in LFS:
                digest = hashlib.sha256(content).hexdigest()
                entry["lfs"] = {"size": len(content), "sha256": digest, "pointerSize": 130}
            siblings.append(entry)
        about = {"id": repository, "sha": commit(repository), "siblings": siblings}
        text = json.dumps(about | {"private": False, "tags": [], "downloads": 0}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    def _file(self, kind: str, repository: str, revision: str, name: str, body: bool) -> None:
        if not self._known(kind, repository, revision):
            return
        if repository in self.server.gated:
            self._refuse(self.server.gated[repository], "GatedRepo")
            return
        content = (self.server.folder / kind / repository / name).read_bytes()
        digest = hashlib.sha256(content).hexdigest()
        if name in self.server.corrupt:
            content = bytes(255 - byte for byte in content)
        asked = self.headers.get("Range")
        first = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
        self.send_response(206 if asked else 200)
        self.send_header("ETag", f'"{digest}"')
        self.send_header("X-Repo-Commit", commit(repository))
        self.send_header("X-Linked-Size", str(len(content)))
        self.send_header("X-Linked-ETag", f'"{digest}"')
        self.send_header("Content-Length", str(len(content) - first))
        if asked:
            last = len(content) - 1
            self.send_header("Content-Range", f"bytes {first}-{last}/{len(content)}")
        self.end_headers()
        if not body:
            return
        stall = self.server.stalls.pop(name, None)
        self.wfile.write(content[first:stall])
        if stall is not None:
            self.wfile.flush()
            self.server.stalled.set()
            self.server.released.wait()
            self.close_connection = True
