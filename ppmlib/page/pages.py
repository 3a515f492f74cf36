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

from markupsafe import Markup

from ppmlib.page import cell_html, inert, study_page, study_tables
from ppmlib.page.cell_html import Outline, markdown
from ppmlib.record import records
from ppmlib.study_file.selection import NOISE

ASSETS = Path(__file__).parent / "assets"
LONGEST_VALUE = 200  # characters of a parameter's value that is not folded
PARAMETERS, INJECTED, ERROR_CELL = "parameters", "injected-parameters", "papermill-error-cell-tag"


@cache
def _templates():
    """The Jinja environment of the pages: autoescape on, undefined names are errors."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(ASSETS),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= cell_html.FILTERS | study_tables.FILTERS
    return environment


@cache
def _stylesheet() -> Markup:
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
        default_text = repr(default) if len(repr(default)) <= LONGEST_VALUE else "another list"
        rows.append(
            {
                "name": name,
                "value": inert.scrub_text(shown),
                "entries": len(value) if long else 0,
                "default": default_text if value != default else "",
                "help": notes.get(node.end_lineno or 0, ""),
            }
        )
    return rows


def _failing(cells: list[Any]) -> int | None:
    """Index of the code cell that failed; where a kernel died, the first that did not finish."""
    ran = [(i, cell) for i, cell in enumerate(cells) if cell["cell_type"] == "code"]
    wrong = [i for i, cell in ran if any(o["output_type"] == "error" for o in cell["outputs"])]
    states = [(i, cell["metadata"].get("papermill", {}).get("status")) for i, cell in ran]
    unfinished = [i for i, state in states if state not in (None, "completed")]
    not_run = [i for i, cell in ran if cell["execution_count"] is None]
    return next(iter([*wrong, *unfinished, *not_run]), None)


def _blocks(nb: Any, outline: Outline, links: dict[str, str], failed: bool):
    """The page's blocks in order, each a dict for the template."""
    given = nb["metadata"].get("papermill", {}).get("parameters", {})
    cells = [cell for cell in nb["cells"] if not _tags(cell) & {ERROR_CELL, INJECTED}]
    failing = _failing(cells) if failed else None
    for index, cell in enumerate(cells):
        if cell["cell_type"] == "markdown":
            yield {"cell": cell, "prose": markdown(cell["source"], outline, links)}
        elif cell["cell_type"] == "code" and cell["source"].strip():
            rows = parameter_rows(cell["source"], given) if PARAMETERS in _tags(cell) else []
            if rows:
                outline.entries.append((2, "parameters-of-this-run", "Parameters of this run"))
            failed, skipped = index == failing, failing is not None and index > failing
            yield {"cell": cell, "parameters": rows, "failed": failed, "skipped": skipped}


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
    damaged = stage == "2_pruning" and run.startswith(f"{NOISE}/") and not part
    name = "Damage" if damaged else STAGES[stage]
    of_run = f" of {run.replace('/', ' ')}" if run or part else ""
    return name + of_run + (f": {part}" if part else "")


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
    nb, html, root = nbformat.read(ipynb, as_version=4), Path(html), Path(root).resolve()
    here = html.resolve()
    key = here.with_name(here.name.removesuffix(".html").removesuffix(".failed"))
    index = os.path.relpath(root / "index.html", here.parent).replace(os.sep, "/")
    links = {"": f"{index}#pages"} if nav else {}
    links |= {Path(href).stem: href for _, href in nav}
    outline = Outline()
    blocks = list(_blocks(nb, outline, links, status != "done"))
    return _write_page(
        html,
        "page.html.j2",
        place=label(key.relative_to(root).as_posix() if key.is_relative_to(root) else key.name),
        outline=outline,
        root=root,
        source=Path(ipynb),
        blocks=blocks,
        longest_text=inert.LONGEST_TEXT,
        nav=nav,
        synthetic=synthetic,
        draft=draft,
        failure=inert.clean_text(inert.scrub_text(status.partition(": ")[2], folder=root)),
        seconds=nb["metadata"].get("papermill", {}).get("duration"),
    )


def build_index(root: Path, *, study: dict[str, Any]) -> Path:
    """Write `index.html`, the page for reviewers, from the study's records alone.

    Works while records are missing or damaged: the page then opens with what is not there. The
    bytes are the same for the same records and pages.

    Args:
        root: the study's folder.
        study: the plan that `ppm run` writes to `study.json`: {study, synthetic, draft, jobs}.
    """
    content = study_page.content(Path(root), study)
    return _write_page(Path(root) / "index.html", "index.html.j2", stages=STAGES, **content)


def _write_page(path: Path, template: str, **content: Any) -> Path:
    text = _templates().get_template(template).render(css=_stylesheet(), label=label, **content)
    records.write_text(path, inert.UNSAFE.sub("", text))
    return path
