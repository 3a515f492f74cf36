"""Text and HTML made safe to show and to publish: hostile model text, and this machine's names.

clean_text      terminal output as plain text: no escapes, no control or bidi characters
clean_html      HTML rebuilt from a list of allowed tags and attributes
scrub_text      absolute paths, home folder and host name taken out of a text
scrub_notebook  the same for a whole executed notebook
"""

import html
import re
import socket
import sys
import sysconfig
import tempfile
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

LONGEST_TEXT = 100_000  # characters of one text output shown on a page; the notebook keeps all
LONGEST_TWIN = 2000  # characters of the plain text that stands in for an HTML output
ANSI = re.compile(r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b\][^\x07\x1b]*(?:\x07|\x1b\\)?|\x1b[@-Z\\-_]?")
# C0 and C1 controls but tab and newline; bidi marks, embeddings, overrides, isolates; surrogates.
UNSAFE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069\ufeff"
    "\ud800-\udfff]"
)
SAFE_URL = re.compile(r"(?i)https?://|mailto:|#|[^:]+$|[^:/?#]*[/?#]")
# Bounded, so that a megabyte on one line takes no longer than any other.
CELL_FILE = re.compile(
    r"(?:[A-Za-z]:)?(?:[/\\][^\s/\\]{1,255}){0,16}[/\\]ipykernel_\d+[/\\]\d+\.py"
)
EMBEDDED = re.compile(r"(data:[\w/+.-]+;base64,[A-Za-z0-9+/=]+)")
SAFE_IMAGE = re.compile(r"(?i)data:image/(?:png|jpeg|gif|webp|svg\+xml);base64,[a-z0-9+/=\s]*$")

VOID = {"br", "hr", "img", "col", "mspace", "wbr"}
MATHML = set(
    "math mrow mi mn mo mtext mspace mfrac msqrt mroot msub msup msubsup munder mover munderover "
    "mtable mtr mtd mstyle mpadded mphantom menclose".split()
)
TEXT_TAGS = set(
    "a abbr b blockquote caption cite code colgroup dd del details div dl dt em figcaption figure "
    "h1 h2 h3 h4 h5 h6 i kbd li mark ol p pre s section small span strong sub summary sup table "
    "tbody td tfoot th thead tr u ul var".split()
)
ALLOWED = TEXT_TAGS | MATHML | VOID
DROPPED_WITH_CONTENT = set(
    "script style iframe object embed template noscript svg textarea title select head".split()
)
MATH_ATTRIBUTES = set(
    "display stretchy fence separator form lspace rspace width height depth mathvariant "
    "linethickness columnalign displaystyle scriptlevel accent largeop movablelimits notation "
    "minsize maxsize symmetric".split()
)
ATTRIBUTES = {"alt", "class", "id", "title", "colspan", "rowspan", "scope", "start", "span", "open"}
CHECKED = {  # (tag, attribute): what its value must match from the start
    ("a", "href"): SAFE_URL,
    ("img", "src"): SAFE_IMAGE,
    ("img", "width"): re.compile(r"[0-9]{1,4}$"),
}


def clean_text(text: str) -> str:
    """Terminal output as plain text, at most LONGEST_TEXT characters.

    Escape sequences go, a carriage return overwrites its line, control and bidirectional
    formatting characters go.
    """
    text = ANSI.sub("", text).replace("\r\n", "\n")
    text = "\n".join(line.rstrip("\r").rsplit("\r", 1)[-1] for line in text.split("\n"))
    text = UNSAFE.sub("", text)
    if len(text) > LONGEST_TEXT:
        left_out = len(text) - LONGEST_TEXT
        text = f"{text[:LONGEST_TEXT]}\n[{left_out:,} more characters are in the notebook]"
    return text


class _Rebuilder(HTMLParser):
    """Collects allowed tags with allowed attributes; everything else is dropped or escaped."""

    def __init__(self, keep_h1: bool) -> None:
        super().__init__(convert_charrefs=True)
        self.first = "h1" if keep_h1 else "h2"
        self.parts: list[str] = []
        self.open: list[str] = []
        self.hidden = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag in DROPPED_WITH_CONTENT:
            self.hidden += 1
        elif tag in ALLOWED and not self.hidden:
            self._start(self.first if tag == "h1" else tag, dict(attrs))

    def _start(self, tag: str, attributes: dict[str, str | None]) -> None:
        if tag == "img" and not SAFE_IMAGE.match(attributes.get("src") or ""):
            self.handle_data(f"[image: {attributes.get('alt') or 'no description'}]")
            return
        kept = {"alt": "Figure without a description"} if tag == "img" else {}
        for name, value in attributes.items():
            value, rule = UNSAFE.sub("", value or ""), CHECKED.get((tag, name))
            of_mathml = tag in MATHML and name in MATH_ATTRIBUTES
            if rule.match(value.strip()) if rule else name in ATTRIBUTES or of_mathml:
                kept[name] = value.strip() if rule else value
        written = "".join(f' {name}="{html.escape(value)}"' for name, value in kept.items())
        self.parts.append(f"<{tag}{written}>")
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag in DROPPED_WITH_CONTENT:
            self.hidden = max(0, self.hidden - 1)
            return
        tag = self.first if tag == "h1" else tag
        if tag not in self.open or self.hidden:
            return
        while self.open:
            last = self.open.pop()
            self.parts.append(f"</{last}>")
            if last == tag:
                return

    def handle_data(self, data: str) -> None:
        if not self.hidden:
            self.parts.append(html.escape(UNSAFE.sub("", data), quote=False))


def clean_html(source: str, *, keep_h1: bool = False) -> str:
    """HTML rebuilt from allowed tags and attributes: no script, style, form, frame or handler.

    Images stay only as data URLs, links only as http(s), mailto or relative; tags left open are
    closed; h1 becomes h2 (a page has one) unless `keep_h1`.
    """
    builder = _Rebuilder(keep_h1)
    builder.feed(source)
    builder.close()
    return "".join(builder.parts) + "".join(f"</{tag}>" for tag in reversed(builder.open))


@cache
def _places() -> list[tuple[str, str]]:
    """Folders of this machine and what stands for them, longest first."""
    package = Path(__file__).resolve().parents[1]
    named = {
        str(package.parent): "...",
        sysconfig.get_path("purelib"): ".../site-packages",
        sysconfig.get_path("platlib"): ".../site-packages",
        sysconfig.get_path("stdlib"): ".../stdlib",
        sys.prefix: "...",
        sys.base_prefix: "...",
        tempfile.gettempdir(): "...",
        str(Path.home()): "~",
    }
    return sorted(named.items(), key=lambda pair: -len(pair[0]))


ROOTS = "home|Users|root|tmp|var|private|opt|usr|mnt|media|data|scratch|work|workspace|srv|etc|run"


@cache
def _absolute() -> re.Pattern[str]:
    own = {Path(place).parts[1] for place, _ in _places() if len(Path(place).parts) > 1}
    roots = "|".join(sorted({*ROOTS.split("|"), *map(re.escape, own)}))
    return re.compile(
        r"(?P<ansi>\x1b\[[0-9;]*m)?(?:(?P<home>(?<![\w/~])~/)|(?:(?<=m)|(?<![\w.~/<]))/(?:"
        + roots
        + r")/)(?P<rest>[^\s\"'<>|:;,()\[\]{}\x1b]*)"
        r"|(?<!\w)[A-Za-z]:\\(?:[^\\\s\"'<>|:]+\\)+(?P<windows>[^\\\s\"'<>|:]*)"
    )


@cache
def _host() -> re.Pattern[str] | None:
    """The host's name where it looks like a machine's; a plain word could be anything."""
    name = socket.gethostname()
    if len(name) < 6 or not re.search(r"[\d.-]", name):
        return None
    return re.compile(rf"(?<![\w.-]){re.escape(name)}(?![\w-])")


def _shorten(match: re.Match[str]) -> str:
    rest, ansi = match["rest"] or match["windows"] or "", match["ansi"] or ""
    for folder in ("site-packages/", "dist-packages/"):
        if f"/{folder}" in f"/{rest}":
            return f"{ansi}.../{folder}{rest.rsplit(folder, 1)[-1]}"
    return f"{ansi}.../{rest.rstrip('/').rsplit('/', 1)[-1]}"


def scrub_text(text: str, *, folder: Path | None = None) -> str:
    """Take absolute paths, the home folder and the host's name out of a text.

    Paths under `folder` (default: the working directory) become relative to it, those of
    installed packages start with `.../site-packages/`, others keep their last part.
    """
    parts = EMBEDDED.split(text)  # images in base64 stay as they are
    parts[::2] = [_scrub_plain(part, folder) for part in parts[::2]]
    return "".join(parts)


def _scrub_plain(text: str, folder: Path | None) -> str:
    text = CELL_FILE.sub("<cell>", text)
    if "/" in text or "\\" in text:
        here = str((folder or Path.cwd()).resolve())
        for place, stands in [(here, "."), *_places()]:
            if len(place) > 2:
                text = re.sub(
                    rf"(?:(?<=\dm)|(?<!\w)){re.escape(place)}(?=[/\\\s\"':),;]|$)", stands, text
                )
        text = _absolute().sub(_shorten, text)
    host = _host()
    return host.sub("host", text) if host else text


def _scrub_output(output: dict[str, Any], folder: Path | None) -> None:
    data = output.get("data", {})
    plain = data.get("text/plain", "")
    if "text/html" in data and len(plain) > LONGEST_TWIN:
        data["text/plain"] = f"{plain[:LONGEST_TWIN]}..."
    texts = [(output, name) for name in ("text", "evalue") if name in output]
    for holder, name in [*texts, *((data, mime) for mime in data if mime.startswith("text/"))]:
        holder[name] = scrub_text(holder[name], folder=folder)
    if "traceback" in output:
        output["traceback"] = [scrub_text(line, folder=folder) for line in output["traceback"]]


def scrub_notebook(nb: Any, *, folder: Path | None = None) -> Any:
    """Take paths, home folder and host name out of an executed notebook, in place; returns it.

    Text outputs, tracebacks and papermill's own entries are scrubbed; its parameters (what a rerun
    needs), durations, exception flag and status stay. Images and sources stay as they are. Long
    plain text that stands in for an HTML output is cut: for a figure it is the bytes of the image.
    """
    about = nb["metadata"].get("papermill", {})
    for name in ("input_path", "output_path"):
        if about.get(name):
            about[name] = Path(about[name]).name
    about.pop("environment_variables", None)
    for cell in nb["cells"]:
        for output in cell.get("outputs", []):
            _scrub_output(output, folder)
        if "papermill-error-cell-tag" in cell.get("metadata", {}).get("tags", []):
            cell["source"] = scrub_text(cell["source"], folder=folder)
    return nb
