"""Notebooks in JupyterLab as a reader uses them: change a parameter, Run All, see the figure.

Needs the extra `browser` and a Chromium. PPMLIB_SHOTS names a folder that keeps screenshots.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

import pytest

sync_api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on the path")

REPOSITORY = Path(__file__).parents[1]
EXAMPLE = REPOSITORY / "reports" / "example-bench"
SHOTS = os.environ.get("PPMLIB_SHOTS")
ALL_RUN = """() => {
    const prompts = [...document.querySelectorAll('.jp-CodeCell .jp-InputPrompt')]
    return prompts.length > 5 && prompts.every(each => /\\[\\d+\\]/.test(each.textContent))
}"""


@pytest.fixture(scope="module")
def lab(tmp_path_factory):
    """The address of a JupyterLab on a copy of the notebooks."""
    home = tmp_path_factory.mktemp("lab")
    work = home / "notebooks"
    shutil.copytree(REPOSITORY / "notebooks", work)
    # All cells stay in the page, so that they can be asked; no question about news.
    chosen = {"notebook-extension/tracker": {"windowingMode": "none"},
              "apputils-extension/notification": {"fetchNews": "false"}}  # fmt: skip
    for plugin, settings in chosen.items():
        path = home / "settings" / "@jupyterlab" / f"{plugin}.jupyterlab-settings"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(settings))
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "jupyterlab", str(work), "--no-browser", "--allow-root",
               f"--ServerApp.port={port}", "--IdentityProvider.token=", "--LabApp.news_url=None",
               "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate"]  # fmt: skip
    folders = {name: str(home / name.lower()) for name in
               ("JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTERLAB_WORKSPACES_DIR")}  # fmt: skip
    own = {"JUPYTERLAB_SETTINGS_DIR": str(home / "settings"), "OMP_NUM_THREADS": "1"}
    log = (home / "log").open("w")
    server = subprocess.Popen(
        command, cwd=work, env={**os.environ, **folders, **own}, stdout=log, stderr=log
    )
    address = f"http://127.0.0.1:{port}/lab"
    try:
        _wait_for(address, server)
        yield address
    finally:
        server.terminate()
        server.wait(20)
        log.close()


def _wait_for(address: str, server: subprocess.Popen) -> None:
    for _ in range(120):
        assert server.poll() is None, "JupyterLab ended"
        try:
            with urllib.request.urlopen(address):
                return
        except OSError:
            time.sleep(0.25)
    raise TimeoutError("JupyterLab did not answer in 30 s")


@pytest.fixture(scope="module")
def browser():
    with sync_api.sync_playwright() as playwright:
        options = ["--no-sandbox", "--disable-background-networking"]
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=options)
        yield started
        started.close()


@pytest.fixture
def page(browser):
    context = browser.new_context(viewport={"width": 1280, "height": 900}, device_scale_factor=2)
    yield context.new_page()
    context.close()


def set_parameter(page, line: str, new: str) -> None:
    """Replace the line of the parameters cell that starts with `line`."""
    page.locator(".cm-line", has_text=line).first.click()
    page.keyboard.press("Home")
    page.keyboard.press("Shift+End")
    page.keyboard.insert_text(new)


def run_all(page, timeout_s: float) -> None:
    """Menu Run, Run All Cells; returns when every code cell has its number and none failed."""
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
    page.wait_for_function(ALL_RUN, timeout=1000 * timeout_s)
    failed = page.locator("[data-mime-type$=stderr], [data-mime-type$=error]")
    assert failed.count() == 0, failed.first.inner_text()


def open_notebook(page, lab: str, name: str) -> None:
    page.goto(f"{lab}/tree/{name}?reset")
    page.locator(".jp-MarkdownOutput h1").first.wait_for(timeout=60_000)
    # Run All before the kernel is there would ask which one to use.
    page.locator(".jp-Toolbar-kernelName", has_text="Python 3").first.wait_for()


def shot(page, name: str, target) -> None:
    if SHOTS:
        target.scroll_into_view_if_needed()
        page.screenshot(path=Path(SHOTS) / f"lab-{name}.png")


def assert_sharp(figure) -> None:
    """At least 1.5 pixels of the image on each CSS pixel, and no wider than its cell."""
    figure.scroll_into_view_if_needed()
    density = figure.evaluate("image => image.naturalWidth / image.clientWidth")
    assert density >= 1.5, density
    assert figure.evaluate("image => image.clientWidth <= image.closest('figure').clientWidth")


def test_pruning_with_another_ratio(lab, page):
    open_notebook(page, lab, "2_pruning.ipynb")
    set_parameter(page, "pruning_ratio: Optional[float]", "pruning_ratio: Optional[float] = 0.25")
    run_all(page, 120)
    figure = page.locator(".jp-OutputArea figure img").first
    assert_sharp(figure)
    shot(page, "2-figure", figure)
    assert page.get_by_text("ppm/r0.25").count()
    shot(page, "2-table", page.locator(".jp-OutputArea table:visible").first)
    page.locator(".jp-MarkdownOutput a", has_text="3_evaluation").first.click()
    page.locator(".lm-TabBar-tab.lm-mod-current", has_text="3_evaluation").wait_for()


@pytest.mark.skipif(not EXAMPLE.exists(), reason="no example report in this checkout")
def test_analysis_of_the_example(lab, page):
    open_notebook(page, lab, "5_analysis.ipynb")
    set_parameter(page, "bootstrap_seed: int", "bootstrap_seed: int = 1")
    run_all(page, 180)
    figures = page.locator(".jp-OutputArea figure img")
    for index in range(figures.count()):
        assert_sharp(figures.nth(index))
        shot(page, f"5-figure{index}", figures.nth(index))
    assert figures.count() >= 5
    tables = page.locator(".jp-OutputArea table:visible")
    for index in range(tables.count()):
        shot(page, f"5-table{index}", tables.nth(index))


def test_a_long_cell_shows_a_bar(lab, page):
    open_notebook(page, lab, "3_evaluation.ipynb")
    page.get_by_role("menuitem", name="Run", exact=True).click()
    page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
    bar = page.locator(".jp-OutputArea progress[value]")
    bar.wait_for(timeout=120_000)
    shot(page, "3-bar", bar)
    bar.wait_for(state="detached", timeout=120_000)
    assert page.get_by_text("10 tasks in").count() == 1
