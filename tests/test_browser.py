"""The pages in a real browser: nothing leaves them, nothing runs, nothing overflows, all can read.

Needs the extra `browser` and a Chromium; accessibility is checked where PPMLIB_AXE names a
copy of axe-core (`npm pack axe-core`, file package/axe.min.js).
"""

import os
import shutil
from pathlib import Path

import nbformat
import pandas as pd
import pytest
from fake_study import HOSTILE, fake_study, hostile_study
from nbformat import v4

from ppmlib.page import pages

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on the path")

EXAMPLE = Path(__file__).parents[1] / "reports" / "example-bench"
EXAMPLE_PAGES = ["index", "1_scoring", "ppm/r0.40/2_pruning", "ppm/r0.40/3_evaluation",
                 "ppm/4_profiling", "5_analysis"]  # fmt: skip
AXE = os.environ.get("PPMLIB_AXE")
SIZES = [(1280, 900), (390, 844)]
# axe cannot judge contrast over a gradient; the shadows next to wide tables are taken away for it.
PLAIN = "document.querySelectorAll('.scroll').forEach(box => box.style.background = 'none')"
OPEN = "document.querySelectorAll('details').forEach(box => box.open = true)"


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        options = ["--no-sandbox", "--disable-background-networking"]
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=options)
        yield started
        started.close()


def visit(browser, path: Path, size=(1280, 900), scheme="light"):
    """The page opened with every other request refused, and what it asked for and complained of."""
    context = browser.new_context(
        viewport={"width": size[0], "height": size[1]}, color_scheme=scheme
    )
    page, found = context.new_page(), []

    def answer(route):
        if route.request.url == path.as_uri():
            return route.continue_()
        found.append(f"asked for {route.request.url}")
        return route.abort()

    context.route("**/*", answer)
    page.on("console", lambda message: found.append(f"{message.type}: {message.text}"))
    page.on("pageerror", lambda error: found.append(str(error)))
    page.on("dialog", lambda dialog: (found.append("a dialog"), dialog.dismiss()))
    page.goto(path.as_uri())
    return page, found


def violations(page) -> list[str]:
    """Serious and critical findings of axe-core, every fold opened."""
    page.evaluate(OPEN)
    page.evaluate(PLAIN)
    page.evaluate(Path(AXE).read_text())
    result = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [
        f"{rule['id']}: {rule['nodes'][0]['html']}"
        for rule in result["violations"]
        if rule["impact"] in ("serious", "critical")
    ]


def look(browser, path: Path) -> None:
    """Every size and scheme of a page: silent, as wide as the window, and readable by all."""
    for size in SIZES:
        for scheme in ("light", "dark"):
            page, found = visit(browser, path, size, scheme)
            wide = page.evaluate("document.documentElement.scrollWidth")
            assert wide <= size[0], f"{path.name} is {wide} pixels wide at {size[0]}"
            if AXE:
                assert violations(page) == [], (path.name, size, scheme)
            assert found == [], (path.name, size, scheme)
            page.context.close()


@pytest.mark.parametrize("name", EXAMPLE_PAGES)
def test_a_page_of_the_example_is_silent_and_accessible(browser, name):
    path = EXAMPLE / f"{name}.html"
    if not path.exists():
        pytest.skip("the example report is not in this checkout")
    look(browser, path)


def test_the_study_page_stands_alone(browser, tmp_path):
    plan = fake_study(tmp_path)
    index = pages.build_index(tmp_path, study=plan)
    mailed = tmp_path / "elsewhere" / "mail.html"
    mailed.parent.mkdir()
    shutil.copy(index, mailed)
    page, found = visit(browser, mailed)
    assert page.get_by_text("These links work inside the study's folder").is_visible()
    broken = page.evaluate("[...document.images].filter(i => i.getAttribute('src').length < 30)")
    assert broken == [] and found == []


def test_what_a_hostile_model_writes_stays_text(browser, tmp_path):
    plan = hostile_study(tmp_path)
    index = pages.build_index(tmp_path, study=plan)
    table = pd.DataFrame({"response": [HOSTILE]}).to_html()
    shown = [
        v4.new_output("stream", name="stdout", text=HOSTILE + "x" * 1_000_000),
        v4.new_output("display_data", {"text/html": table}),
        v4.new_output("display_data", {"text/html": HOSTILE}),
        v4.new_output("display_data", {"text/markdown": HOSTILE}),
        v4.new_output("display_data", {"application/javascript": "alert(4)"}),
    ]
    cells = [v4.new_markdown_cell("# Title"), v4.new_code_cell("show()", outputs=shown)]
    executed = tmp_path / "3_evaluation.ipynb"
    nbformat.write(v4.new_notebook(cells=cells), executed)
    notebook = executed.with_suffix(".html")
    pages.render_notebook(executed, notebook, root=tmp_path, synthetic=True, draft=False)
    for path in (index, notebook):
        look(browser, path)
        page, found = visit(browser, path)
        page.wait_for_timeout(200)
        assert page.evaluate("document.scripts.length") == 0 and found == []
        assert "<script>alert(1)" in page.inner_text("body")


def test_print_shows_what_is_folded_and_hides_the_navigation(browser, tmp_path):
    index = pages.build_index(tmp_path, study=fake_study(tmp_path))
    page, _ = visit(browser, index)
    page.emulate_media(media="print")
    assert not page.get_by_text("On this page").first.is_visible()
    assert page.get_by_role("table", name="All verdicts").is_visible()
    assert page.pdf(format="A4")[:5] == b"%PDF-"
