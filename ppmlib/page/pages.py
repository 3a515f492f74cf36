"""Executed notebook -> one self-contained HTML file; records -> the study's index page.

A page asks the network for nothing and runs no script: style, images and formulas (MathML) are
inside, and its content security policy forbids the rest. Notebook output passes through
`ppmlib.page.inert` first, because some of it is text that a model wrote.
"""

import ast
import io
import os
import re
import tokenize
from functools import cache
from pathlib import Path
from typing import Any

from markupsafe import Markup, escape

from ppmlib.page import inert, study_page, study_tables
from ppmlib.page.cell_html import Outline, code, markdown, output
from ppmlib.record import records
from ppmlib.study_file.selection import NOISE

ASSETS = Path(__file__).parent / "assets"
LONGEST_VALUE = 200  # characters of a parameter's value that is not folded
PARAMETERS, INJECTED, ERROR_CELL = "parameters", "injected-parameters", "papermill-error-cell-tag"


@cache
def templates():
    """The Jinja environment of the pages: autoescape on, undefined names are errors."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(ASSETS),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= study_tables.FILTERS | {"breakable": breakable}
    return environment


def breakable(name: str) -> Markup:
    """A name that may break after its underscores, on a phone."""
    return Markup(escape(name).replace("_", Markup("_<wbr>")))


@cache
def stylesheet() -> Markup:
    """The one style sheet, without comments and needless white space."""
    css = re.sub(r"/\*.*?\*/", "", (ASSETS / "style.css").read_text(encoding="utf-8"), flags=re.S)
    return Markup(re.sub(r"\s*\n\s*", "\n", css).strip())


def parameter_rows(source: str, given: dict[str, Any]) -> list[dict[str, str]]:
    """The parameters of a run: one row per line `name: type = default  # help` of the cell.

    Args:
        source: the cell tagged `parameters`.
        given: the values papermill injected, which replace the defaults.
    Returns:
        rows with name, value (a long list one entry per line, `entries` their number), default
        (empty unless another value was given) and help.
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
        long = isinstance(value, list) and len(repr(value)) > LONGEST_VALUE
        shown = "\n".join(map(repr, value)) if long else repr(value)
        rows.append(
            {
                "name": name,
                "value": inert.scrub_text(shown),
                "entries": len(value) if long else 0,
                "default": _short(repr(default)) if value != default else "",
                "help": notes.get(node.end_lineno or 0, ""),
            }
        )
    return rows


def _short(text: str) -> str:
    return text if len(text) <= LONGEST_VALUE else "another list"


def _failing(cells: list[Any]) -> int | None:
    """Index of the code cell that failed; where a kernel died, the first that did not finish."""
    ran = [(i, cell) for i, cell in enumerate(cells) if cell["cell_type"] == "code"]
    for index, cell in ran:
        if any(shown["output_type"] == "error" for shown in cell["outputs"]):
            return index
    for index, cell in ran:
        if cell["metadata"].get("papermill", {}).get("status") not in (None, "completed"):
            return index
    return next((i for i, cell in ran if cell["execution_count"] is None), None)


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
                "code": code(source),
                "lines": source.count("\n") + 1,
                "outputs": [o for o in (output(o, folder) for o in cell["outputs"]) if o],
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
    stage, _, part = stage.partition("-")
    if stage not in STAGES:
        return key
    if part:
        return f"{STAGES[stage]} of {run.replace('/', ' ')}: {part}"
    if stage == "2_pruning" and run.startswith(f"{NOISE}/"):
        return f"Damage of {run.replace('/', ' ')}"
    return f"{STAGES[stage]} of {run.replace('/', ' ')}" if run else STAGES[stage]


def _place(html: Path, root: Path) -> str:
    key = html.with_name(html.name.removesuffix(".html").removesuffix(".failed"))
    return label(key.relative_to(root).as_posix() if key.is_relative_to(root) else key.name)


def _notebook_links(nav: list[tuple[str, str]], html: Path, root: Path) -> dict[str, str]:
    if not nav:
        return {}
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
        place=_place(Path(html).resolve(), root),
        has_h1=bool(outline.title),
        study=root.name,
        source=Path(ipynb).name,
        blocks=blocks,
        toc=[(level, name, Markup(words)) for level, name, words in outline.entries if level < 4],
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
    root = Path(root)
    text = templates().get_template("index.html.j2").render(
        css=stylesheet(), label=label, stages=STAGES, **study_page.content(root, study)
    )  # fmt: skip
    records.write_text(root / "index.html", inert.UNSAFE.sub("", text))
    return root / "index.html"
