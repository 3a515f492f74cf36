"""Parts of an executed notebook as inert HTML: Markdown, formulas, outputs, code.

Outline    headings and their ids, for the table of contents
markdown   a Markdown text, formulas as MathML
framed     tables and formulas made ready for narrow screens
FILTERS    what the page's template calls for each kind of output
"""

import base64
import inspect
import re
from dataclasses import dataclass, field
from html import escape
from pathlib import Path
from typing import Any

from markupsafe import Markup

from ppmlib.page import inert


@dataclass
class Outline:
    """Headings of a page in order, with ids that are unique in it."""

    entries: list[tuple[int, str, str]] = field(default_factory=list)  # level, id, text
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
        self.entries.append((level, name, Markup(plain)))
        return f'<h{level} id="{name}">{inner}</h{level}>\n'


def mathml(formula: str, display: str = "inline") -> str:
    """A LaTeX formula as MathML; as code where latex2mathml cannot convert it."""
    from latex2mathml import converter, exceptions

    as_code = f"<code>{escape(formula.strip())}</code>"
    try:
        converted = converter.convert(formula.strip(), display=display)
    except tuple(error for _, error in inspect.getmembers(exceptions, inspect.isclass)):
        return as_code
    # An unknown command comes back as its own text.
    return as_code if "\\" in converted else converted


def markdown(
    source: str, outline: Outline | None = None, links: dict[str, str] | None = None
) -> Markup:
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
    """Wide things (tables, displayed formulas) in boxes that scroll sideways; tables aligned."""
    box = '<%s class="scroll" tabindex="0" role="group" aria-label="%s">'
    html = re.sub(r"<table.*?</table>", _align_table, html, flags=re.S)
    html = html.replace("<table", box % ("div", "Table") + "<table")
    html = html.replace("</table>", "</table></div>")
    block = r'<math[^>]*display="block".*?</math>'
    html = re.sub(block, box % ("span", "Formula") + r"\g<0></span>", html, flags=re.S)
    return Markup(re.sub(r"<th[^>]*>\s*</th>", "<td></td>", html))  # a header must name something


MANY_COLUMNS = 10
CELLS = re.compile(r"<(td|th)([^>]*)>(.*?)</\1>", re.S)
NUMBER = re.compile(r"[\s\d.,+\-\u2212eE%x()\[\]/:]*(?:inf|nan|None|m?s)?\)?")
LONGEST_NUMBER = 40


def _align_table(table: re.Match[str]) -> str:
    """A table with one header row, its text columns marked (class t), many columns set closer.

    Columns are counted from the right: cells of an index may span several rows.
    """
    html = re.sub(r"<thead>.*?</thead>", _merge_head, table[0], flags=re.S)
    rows = [
        (row, CELLS.findall(row[0])) for row in re.finditer(r"<tr[^>]*>.*?</tr>", html, flags=re.S)
    ]
    text_columns = {
        len(cells) - index
        for _, cells in rows
        for index, (tag, _, inner) in enumerate(cells)
        if any(other[0] == "td" for other in cells) and not (tag == "td" and _is_number(inner))
    }
    for row, cells in reversed(rows):
        if any("colspan" in attributes or "class=" in attributes for _, attributes, _ in cells):
            continue
        marks = (' class="t"' * (len(cells) - index in text_columns) for index in range(len(cells)))
        written = "".join(
            f"<{tag}{attributes}{mark}>{inner}</{tag}>"
            for mark, (tag, attributes, inner) in zip(marks, cells, strict=True)
        )
        html = f"{html[: row.start()]}<tr>{written}</tr>{html[row.end() :]}"
    if max((len(cells) for _, cells in rows), default=0) >= MANY_COLUMNS:
        html = re.sub(r"<table[^>]*>", '<table class="many">', html, count=1)
    return html


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


def _is_number(cell: str) -> bool:
    text = re.sub(r"<[^>]+>", "", cell).strip(" -\u2013")
    return len(text) <= LONGEST_NUMBER and bool(NUMBER.fullmatch(text))


def printed(text: str, folder: Path) -> str:
    """Text output without escapes and paths of this machine; the template escapes it."""
    return inert.clean_text(inert.scrub_text(text, folder=folder)).rstrip("\n")


def html_output(html: str, folder: Path) -> Markup:
    """HTML output as inert HTML."""
    return framed(inert.clean_html(inert.scrub_text(html, folder=folder)))


def markdown_output(text: str, folder: Path) -> Markup:
    """Markdown output as inert HTML."""
    return markdown(inert.scrub_text(text, folder=folder))


def latex_output(latex: str) -> Markup:
    """A displayed LaTeX formula as inert HTML."""
    return framed(inert.clean_html(mathml(latex.strip("$ \n"), "block")))


def data_url(image: str, mime: str) -> str:
    """An image output (base64; SVG as text) as a URL that holds it."""
    if mime == "image/svg+xml":
        image = base64.b64encode(image.encode()).decode()
    return f"data:{mime};base64,{''.join(image.split())}"


def code(source: str) -> Markup:
    """Python source with its tokens marked for the style sheet."""
    from pygments import highlight
    from pygments.formatters import HtmlFormatter
    from pygments.lexers import PythonLexer

    source = inert.UNSAFE.sub("", source)
    return Markup(highlight(source, PythonLexer(), HtmlFormatter(nowrap=True)).rstrip("\n"))


FILTERS = {
    "printed": printed,
    "html_output": html_output,
    "markdown_output": markdown_output,
    "latex_output": latex_output,
    "data_url": data_url,
    "code": code,
}
