"""Parts of an executed notebook as inert HTML: Markdown, outputs, code.

Outline    headings and their ids, for the table of contents
markdown   a Markdown text, formulas as MathML
output     one output of a cell
code       highlighted source
"""

import base64
import re
from dataclasses import dataclass, field
from functools import cache
from html import escape
from pathlib import Path
from typing import Any

from markupsafe import Markup

from ppmlib.page import inert

NO_ALT = "Figure drawn by the cell above; its author gave no description"


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
                url = links.get(name[1], links.get(""))
                if url is None:  # a page by itself: there is no other to lead to
                    return text
            return super().link(text, url, title)

    html = MarkdownWithMath(renderer=Renderer(escape=False)).render(source)
    return framed(inert.clean_html(html, keep_h1=outline is not None))


def framed(html: str) -> Markup:
    """Wide things (tables, displayed formulas) in boxes of their own that scroll sideways."""
    box = '<%s class="scroll" tabindex="0" role="group" aria-label="%s">'
    html = re.sub(r"<table.*?</table>", _many_columns, html, flags=re.S)
    html = html.replace("<table", box % ("div", "Table") + "<table")
    html = html.replace("</table>", "</table></div>")
    block = r'<math[^>]*display="block".*?</math>'
    html = re.sub(block, box % ("span", "Formula") + r"\g<0></span>", html, flags=re.S)
    html = re.sub(r"<thead>.*?</thead>", _merge_head, html, flags=re.S)
    html = re.sub(r"<table.*?</table>", _align, html, flags=re.S)
    return Markup(re.sub(r"<th[^>]*>\s*</th>", "<td></td>", html))  # a header must name something


MANY_COLUMNS = 10


def _many_columns(table: re.Match[str]) -> str:
    """Mark a table of many columns (class many): it is set closer."""
    widest = max(len(CELLS.findall(row)) for row in table[0].split("<tr"))
    if widest < MANY_COLUMNS:
        return table[0]
    return re.sub(r"<table[^>]*>", '<table class="many">', table[0], count=1)


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


def output(shown: Any, folder: Path) -> Markup:
    """One output as inert HTML; an empty string for what only a running kernel can show."""

    def text(value: Any) -> Markup:
        cleaned = inert.clean_text(inert.scrub_text(value, folder=folder)).rstrip("\n")
        return Markup(escape(cleaned))

    kind = shown["output_type"]
    if kind == "stream":
        printed = text(shown["text"])
        label = "messages" if shown["name"] == "stderr" else "printed"
        return Markup(f'<pre class="{label}">{printed}</pre>') if printed else Markup("")
    if kind == "error":
        lines = shown["traceback"] or [f"{shown['ename']}: {shown['evalue']}"]
        return Markup(f'<pre class="error">{text(chr(10).join(lines))}</pre>')
    data = shown["data"]
    if "application/vnd.jupyter.widget-view+json" in data:
        return Markup("")
    for mime in ("image/svg+xml", "image/png", "image/jpeg"):
        if mime in data:
            about = shown.get("metadata", {})
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
    plain = text(data.get("text/plain", ""))
    return Markup(f"<pre>{plain}</pre>") if plain else Markup("")


@cache
def _highlighter():
    from pygments.formatters import HtmlFormatter
    from pygments.lexers import PythonLexer

    return PythonLexer(), HtmlFormatter(nowrap=True)


def code(source: str) -> Markup:
    """Python source with its tokens marked for the style sheet."""
    from pygments import highlight

    return Markup(highlight(inert.UNSAFE.sub("", source), *_highlighter()).rstrip("\n"))
