"""Executed notebook -> one self-contained HTML file; records -> the study's index page.

A page asks the network for nothing and runs no script: style, images and formulas (MathML) are
inside, and its content security policy forbids the rest. Notebook output passes through
`ppmlib.inert` first, because some of it is text that a model wrote.
"""

import ast
import base64
import io
import os
import re
import tokenize
from dataclasses import dataclass, field
from functools import cache
from html import escape
from pathlib import Path
from typing import Any

from markupsafe import Markup

from ppmlib import inert, records

ASSETS = Path(__file__).parent / "report_assets"
PARAMETERS, INJECTED, ERROR_CELL = "parameters", "injected-parameters", "papermill-error-cell-tag"
NO_ALT = "Figure drawn by the cell above; its author gave no description"


@cache
def templates():
    """The Jinja environment of the pages: autoescape on, undefined names are errors."""
    import jinja2

    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(ASSETS),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


@cache
def stylesheet() -> Markup:
    """The one style sheet, without comments and needless white space."""
    css = re.sub(r"/\*.*?\*/", "", (ASSETS / "style.css").read_text(encoding="utf-8"), flags=re.S)
    return Markup(re.sub(r"\s*\n\s*", "\n", css).strip())


@dataclass
class Outline:
    """Headings of a page in order, with ids that are unique in it."""

    entries: list[tuple[int, str, str]] = field(default_factory=list)  # level, id, HTML text
    title: str = ""
    used: set[str] = field(default_factory=lambda: {"content", "top", "parameters-of-this-run"})

    def add(self, level: int, inner: str) -> str:
        """HTML of a heading; the first of level 1 is the page's title, later ones are level 2."""
        plain = re.sub(r"<[^>]+>", "", inner)
        if level == 1 and not self.title:
            self.title = plain
            return f"<h1>{inner}</h1>\n"
        level = max(level, 2)
        slug = re.sub(r"[^\w]+", "-", re.sub(r"&[^;]+;", "", plain).lower()).strip("-") or "section"
        name, count = slug, 2
        while name in self.used:
            name, count = f"{slug}-{count}", count + 1
        self.used.add(name)
        self.entries.append((level, name, plain))
        return f'<h{level} id="{name}">{inner}</h{level}>\n'


@cache
def _math_errors() -> tuple[type[Exception], ...]:
    from latex2mathml import exceptions

    return tuple(
        value
        for value in vars(exceptions).values()
        if isinstance(value, type) and issubclass(value, Exception)
    )


def mathml(formula: str, display: str = "inline") -> str:
    """A LaTeX formula as MathML; as code where latex2mathml cannot convert it."""
    from latex2mathml.converter import convert

    as_code = f"<code>{escape(formula.strip())}</code>"
    try:
        converted = convert(formula.strip(), display=display)
    except _math_errors():
        return as_code
    # An unknown command comes back as its own text.
    return as_code if "\\" in converted else converted


def markdown(source: str, outline: Outline | None = None, links: dict[str, str] | None = None):
    """Markdown as inert HTML, formulas as MathML.

    Args:
        source: Markdown with `$...$` and `$$...$$`.
        outline: collects the headings; without one, headings start at level 3 and get no id.
        links: pages by notebook name (`2_pruning`); links to a notebook lead to its page.
    """
    from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath

    class Renderer(IPythonRenderer):
        def heading(self, text: str, level: int, **attrs: Any) -> str:
            if outline is None:
                return f"<h{max(level, 3)}>{text}</h{max(level, 3)}>\n"
            return outline.add(level, text)

        def block_math(self, body: str) -> str:
            return mathml(body, "block")

        def inline_math(self, body: str) -> str:
            return mathml(body)

        def latex_environment(self, name: str, body: str) -> str:
            return mathml(f"\\begin{{{name}}}{body}\\end{{{name}}}", "block")

        def link(self, text: str, url: str, title: str | None = None) -> str:
            name = re.fullmatch(r"(?:.*/)?(\w+)\.ipynb(?:#.*)?", url)
            if name and links is not None:
                url = links.get(name[1], links[""])
            return super().link(text, url, title)

    html = MarkdownWithMath(renderer=Renderer(escape=False)).render(source)
    return framed(inert.clean_html(html, keep_h1=outline is not None))


def framed(html: str) -> Markup:
    """Wide things (tables, displayed formulas) in boxes of their own that scroll sideways."""
    box = '<%s class="scroll" tabindex="0" role="group" aria-label="%s">'
    html = html.replace("<table", box % ("div", "Table") + "<table")
    html = html.replace("</table>", "</table></div>")
    block = r'<math[^>]*display="block".*?</math>'
    html = re.sub(block, box % ("span", "Formula") + r"\g<0></span>", html, flags=re.S)
    html = re.sub(r"<thead>.*?</thead>", _merge_head, html, flags=re.S)
    html = re.sub(r"<table.*?</table>", _align, html, flags=re.S)
    return Markup(re.sub(r"<th[^>]*>\s*</th>", "<td></td>", html))  # a header must name something


CELLS = re.compile(r"<(td|th)([^>]*)>(.*?)</\1>", re.S)


def _merge_head(head: re.Match[str]) -> str:
    """One header row where pandas writes two: column names, and below them the index's name."""
    rows = re.findall(r"<tr[^>]*>.*?</tr>", head[0], flags=re.S)
    if len(rows) != 2 or "colspan" in head[0]:
        return head[0]
    first, second = ([cell[2] for cell in CELLS.findall(row)] for row in rows)
    if len(first) != len(second) or any(a and b for a, b in zip(first, second, strict=True)):
        return head[0]
    cells = "".join(f"<th>{a or b}</th>" for a, b in zip(first, second, strict=True))
    return f"<thead><tr>{cells}</tr></thead>"


NUMBER = re.compile(r"[\s\d.,+\-\u2212eE%x()\[\]/:]*(?:inf|nan|None|m?s)?\)?")
LONGEST_NUMBER = 40


def _is_number(cell: str) -> bool:
    text = re.sub(r"<[^>]+>", "", cell).strip(" -\u2013")
    return len(text) <= LONGEST_NUMBER and bool(NUMBER.fullmatch(text))


def _align(table: re.Match[str]) -> str:
    """Mark the cells of text columns (class t), counted from the right: index columns may merge."""
    rows = [
        (row, CELLS.findall(row[0]))
        for row in re.finditer(r"<tr[^>]*>.*?</tr>", table[0], flags=re.S)
    ]
    text_columns = {
        len(cells) - index
        for _, cells in rows
        for index, (tag, _, inner) in enumerate(cells)
        if any(other[0] == "td" for other in cells) and not (tag == "td" and _is_number(inner))
    }
    html = table[0]
    for row, cells in reversed(rows):
        if any("colspan" in attributes or "class=" in attributes for _, attributes, _ in cells):
            continue
        written = "".join(
            f"<{tag}{attributes}"
            + (' class="t">' if len(cells) - index in text_columns else ">")
            + f"{inner}</{tag}>"
            for index, (tag, attributes, inner) in enumerate(cells)
        )
        html = f"{html[: row.start()]}<tr>{written}</tr>{html[row.end() :]}"
    return html


def _image(mime: str, data: str, alt: str) -> Markup:
    if mime == "image/svg+xml":
        data = base64.b64encode(data.encode()).decode()
    data = re.sub(r"\s", "", data)
    tag = f'<figure><img alt="{escape(alt)}" src="data:{mime};base64,{escape(data)}"></figure>'
    return Markup(tag)


def _output(output: Any, folder: Path) -> Markup:
    """One output as inert HTML; an empty string for what only a running kernel can show."""

    def text(value: Any) -> Markup:
        cleaned = inert.clean_text(inert.scrub_text(value, folder=folder)).rstrip("\n")
        return Markup(escape(cleaned))

    kind = output["output_type"]
    if kind == "stream":
        shown = text(output["text"])
        label = "messages" if output["name"] == "stderr" else "printed"
        return Markup(f'<pre class="{label}">{shown}</pre>') if shown else Markup("")
    if kind == "error":
        lines = output["traceback"] or [f"{output['ename']}: {output['evalue']}"]
        return Markup(f'<pre class="error">{text(chr(10).join(lines))}</pre>')
    data = output["data"]
    if "application/vnd.jupyter.widget-view+json" in data:
        return Markup("")
    for mime in ("image/svg+xml", "image/png", "image/jpeg"):
        if mime in data:
            about = output.get("metadata", {})
            alt = about.get(mime, {}).get("alt") or about.get("alt") or NO_ALT
            return _image(mime, data[mime], alt)
    if "text/html" in data:
        return framed(inert.clean_html(inert.scrub_text(data["text/html"], folder=folder)))
    if len(data.get("text/markdown", "")) > inert.LONGEST_TEXT:
        return Markup(f"<pre>{text(data['text/markdown'])}</pre>")
    if "text/markdown" in data:
        return markdown(inert.scrub_text(data["text/markdown"], folder=folder))
    if "text/latex" in data:
        return framed(inert.clean_html(mathml(data["text/latex"].strip("$ \n"), "block")))
    shown = text(data.get("text/plain", ""))
    return Markup(f"<pre>{shown}</pre>") if shown else Markup("")


@cache
def _highlighter():
    from pygments.formatters import HtmlFormatter
    from pygments.lexers import PythonLexer

    return PythonLexer(), HtmlFormatter(nowrap=True)


def _code(source: str) -> Markup:
    from pygments import highlight

    return Markup(highlight(inert.UNSAFE.sub("", source), *_highlighter()).rstrip("\n"))


def parameter_rows(source: str, given: dict[str, Any]) -> list[dict[str, str]]:
    """The parameters of a run: one row per line `name: type = default  # help` of the cell.

    Args:
        source: the cell tagged `parameters`.
        given: the values papermill injected, which replace the defaults.
    Returns:
        rows with name, value, default (empty unless another value was given) and help.
    """
    tokens = tokenize.generate_tokens(io.StringIO(source).readline)
    notes = {t.start[0]: t.string.lstrip("# ") for t in tokens if t.type == tokenize.COMMENT}
    rows = []
    for node in ast.parse(source).body:
        if not isinstance(node, ast.AnnAssign | ast.Assign) or node.value is None:
            continue
        target = node.target if isinstance(node, ast.AnnAssign) else node.targets[0]
        name, default = ast.unparse(target), ast.literal_eval(node.value)
        value = given.get(name, default)
        rows.append(
            {
                "name": name,
                "value": inert.scrub_text(repr(value)),
                "default": repr(default) if value != default else "",
                "help": notes.get(node.end_lineno or 0, ""),
            }
        )
    return rows


def _failing(cells: list[Any]) -> int | None:
    """Index of the code cell that failed; where a kernel died, the first that did not finish."""
    code = [(i, cell) for i, cell in enumerate(cells) if cell["cell_type"] == "code"]
    for index, cell in code:
        if any(output["output_type"] == "error" for output in cell["outputs"]):
            return index
    for index, cell in code:
        if cell["metadata"].get("papermill", {}).get("status") not in (None, "completed"):
            return index
    return next((i for i, cell in code if cell["execution_count"] is None), None)


def _blocks(nb: Any, outline: Outline, links: dict[str, str], failed: bool, folder: Path):
    """The page's blocks in order, each a dict for the template."""
    given = nb["metadata"].get("papermill", {}).get("parameters", {})
    cells = [cell for cell in nb["cells"] if not _tags(cell) & {ERROR_CELL, INJECTED}]
    failing = _failing(cells) if failed else None
    for index, cell in enumerate(cells):
        source = cell["source"]
        if cell["cell_type"] == "markdown":
            yield {"kind": "prose", "html": markdown(source, outline, links)}
        elif cell["cell_type"] == "code" and source.strip():
            rows = parameter_rows(source, given) if PARAMETERS in _tags(cell) else []
            if rows:
                outline.entries.append((2, "parameters-of-this-run", "Parameters of this run"))
            yield {
                "kind": "code",
                "parameters": rows,
                "code": _code(source),
                "lines": source.count("\n") + 1,
                "outputs": [o for o in (_output(o, folder) for o in cell["outputs"]) if o],
                "failed": index == failing,
                "skipped": failing is not None and index > failing,
            }


def _tags(cell: Any) -> set[str]:
    return set(cell["metadata"].get("tags", []))


STAGES = {
    "0_bench_model": "Bench model",
    "1_scoring": "Scoring",
    "2_pruning": "Pruning",
    "3_evaluation": "Evaluation",
    "4_profiling": "Profiling",
    "5_analysis": "Analysis",
}


def label(key: str) -> str:
    """A page's name for readers: `ppm/r0.40/3_evaluation` is `Evaluation of ppm r0.40`."""
    run, _, stage = key.rpartition("/")
    if stage == "index":
        return "The study's page"
    if stage not in STAGES:
        return key
    return f"{STAGES[stage]} of {run.replace('/', ' ')}" if run else STAGES[stage]


def _notebook_links(nav: list[tuple[str, str]], html: Path, root: Path) -> dict[str, str]:
    index = os.path.relpath(root / "index.html", html.parent).replace(os.sep, "/")
    return {"": f"{index}#pages", **{Path(href).stem: href for _, href in nav}}


def render_notebook(
    ipynb: Path,
    html: Path,
    *,
    root: Path,
    synthetic: bool,
    draft: bool,
    status: str = "done",
    nav: list[tuple[str, str]] = (),
) -> Path:
    """Write the page of an executed notebook, one HTML file that works alone.

    Args:
        ipynb: the executed notebook.
        html: where the page is written (atomically).
        root: the study's folder; paths under it are shown relative to it.
        synthetic: whether the model is the packaged bench model; marks the page.
        draft: whether only a subset of the documents was evaluated; marks the page.
        status: `done`, or `failed: <why>`; a failed page opens with the reason and leads to the
            cell.
        nav: (record key or `index` or any label, relative link) of the study's other pages.
    Raises:
        ValueError: if the status is neither of the two.
    """
    import nbformat

    if status != "done" and not status.startswith("failed: "):
        raise ValueError(f"status {status!r}: expected 'done' or 'failed: <why>'")
    nb = nbformat.read(ipynb, as_version=4)
    failed = status != "done"
    outline = Outline()
    root = Path(root).resolve()
    links = _notebook_links(nav, Path(html).resolve(), root)
    blocks = list(_blocks(nb, outline, links, failed, root))
    about = nb["metadata"].get("papermill", {})
    text = templates().get_template("page.html.j2").render(
        css=stylesheet(),
        title=Markup(outline.title) or Path(ipynb).stem,
        has_h1=bool(outline.title),
        study=root.name,
        source=Path(ipynb).name,
        blocks=blocks,
        toc=[(level, name, Markup(label)) for level, name, label in outline.entries if level < 4],
        nav=[(label(name), href) for name, href in nav],
        synthetic=synthetic,
        draft=draft,
        marks=" ".join(["SYNTHETIC"] * synthetic + ["DRAFT"] * draft),
        failure=inert.clean_text(inert.scrub_text(status.partition(": ")[2], folder=root)),
        seconds=about.get("duration"),
    )  # fmt: skip
    records.write_text(html, inert.UNSAFE.sub("", text))
    return Path(html)


def build_index(root: Path, *, study: dict[str, Any]) -> Path:
    """Write `index.html`, the page for reviewers, from the study's records alone.

    Works while records are missing or damaged: the page then opens with what is not there. The
    bytes are the same for the same records and pages.

    Args:
        root: the study's folder.
        study: the plan that `ppm run` writes to `study.json`: {study, synthetic, draft, jobs}.
    """
    from ppmlib import study_page

    root = Path(root)
    text = templates().get_template("index.html.j2").render(
        css=stylesheet(), label=label, stages=STAGES, **study_page.content(root, study)
    )  # fmt: skip
    records.write_text(root / "index.html", inert.UNSAFE.sub("", text))
    return root / "index.html"
