"""Pages: nothing leaves them, nothing runs in them, and they say what is missing."""

import html.parser
import re

import nbformat
import pandas as pd
import pytest
from fake_study import HOSTILE, fake_study, hostile_study
from nbformat import v4

from ppmlib.page import inert, pages
from ppmlib.record import records

LOADING = {"src", "srcset", "poster", "action", "formaction", "data", "background", "xlink:href"}
LOADERS = {
    "script",
    "link",
    "iframe",
    "object",
    "embed",
    "base",
    "form",
    "video",
    "audio",
    "source",
}
PARAMETERS_CELL = """from typing import Optional
model: str = "bench"  # packaged model, folder or hub id
pruning_ratio: Optional[float] = 0.4  # fraction of neurons removed per layer
record_dir: str = ""  # the study's folder"""
PIXEL = (
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJg"
    "gg=="
)


def notebook(*cells, **papermill):
    """A notebook as papermill leaves it."""
    return v4.new_notebook(cells=list(cells), metadata={"papermill": papermill})


def code(source, *outputs, tags=(), count=1):
    meta = {"tags": list(tags)}
    return v4.new_code_cell(source, outputs=list(outputs), metadata=meta, execution_count=count)


def render(tmp_path, nb, **settings):
    path = tmp_path / "ppm" / "r0.40" / "2_pruning.ipynb"
    path.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(nb, path)
    chosen = {"synthetic": False, "draft": False} | settings
    page = pages.render_notebook(path, path.with_suffix(".html"), root=tmp_path, **chosen)
    return page.read_text(encoding="utf-8")


class Tags(html.parser.HTMLParser):
    """All start tags of a page with their attributes."""

    def __init__(self, page):
        super().__init__()
        self.seen = []
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))

    def of(self, name):
        return [attributes for tag, attributes in self.seen if tag == name]


def assert_inert(page):
    """No script, nothing to fetch, no handler, one h1, every image described, unique ids."""
    tags = Tags(page)
    assert not LOADERS & {tag for tag, _ in tags.seen}
    attributes = [pair for _, attrs in tags.seen for pair in attrs.items()]
    loads = [value for name, value in attributes if name in LOADING]
    assert all(value.startswith("data:image/") for value in loads)
    assert not [name for name, _ in attributes if name.startswith("on") or name == "style"]
    assert not [value for name, value in attributes if name == "href" and ":" in value.split("/")[0]
                and not value.startswith(("https://", "http://"))]  # fmt: skip
    assert not re.search(r"@import|url\(", "".join(re.findall("<style>.*?</style>", page, re.S)))
    assert len(tags.of("h1")) == 1
    assert all(image.get("alt") for image in tags.of("img"))
    ids = [attrs["id"] for _, attrs in tags.seen if "id" in attrs]
    assert len(ids) == len(set(ids))
    assert "default-src 'none'" in page
    assert not re.search("[\u202a-\u202e\u2066-\u2069\x00-\x08\x1b]", page)


def test_empty_page_is_small_and_complete(tmp_path):
    page = render(tmp_path, notebook(v4.new_markdown_cell("# Prune")))
    assert len(page.encode()) < 50_000
    assert_inert(page)
    for part in ('lang="en"', "<title>Pruning of ppm r0.40 - ", "viewport", 'class="skip"'):
        assert part in page


def test_page_without_a_heading_is_named_after_its_notebook(tmp_path):
    page = render(tmp_path, notebook())
    assert "<h1>2_pruning</h1>" in page
    assert_inert(page)


def test_formulas_become_mathml_and_bad_ones_code(tmp_path):
    text = "# T\n\n$s_i$ and $$k = I - \\lfloor p I \\rfloor$$ but $a^b^c$ and $\\nosuch{x}$"
    page = render(tmp_path, notebook(v4.new_markdown_cell(text)))
    assert page.count("<math") == 2
    assert "<code>a^b^c</code>" in page and "<code>\\nosuch{x}</code>" in page
    assert "annotation" not in page


def test_headings_make_the_contents_and_only_one_is_h1(tmp_path):
    text = "# Title\n\n## Why\n\n# Again\n\n## Why"
    page = render(tmp_path, notebook(v4.new_markdown_cell(text)))
    assert_inert(page)
    assert '<a href="#why">Why</a>' in page and '<h2 id="why-2">' in page


def test_parameters_show_injected_values_and_help(tmp_path):
    nb = notebook(
        v4.new_markdown_cell("# T"),
        code(PARAMETERS_CELL, tags=["parameters"]),
        code("pruning_ratio = 0.3", tags=["injected-parameters"]),
        input_path="/home/someone/2_pruning.ipynb",
        parameters={"pruning_ratio": 0.3, "model": "/home/someone/models/llama"},
    )
    page = render(tmp_path, nb)
    assert "fraction of neurons removed per layer" in page
    assert "set for this run (default 0.4)" in page
    assert page.count("0.3") == 1 and "someone" not in page


def test_hostile_text_is_inert_wherever_it_appears(tmp_path):
    table = pd.DataFrame({"response": [HOSTILE]}).to_html()
    nb = notebook(
        v4.new_markdown_cell("# T\n\n" + HOSTILE + "\n\n[x](javascript:alert(3)) ![i](http://a.b/c)"),
        code(
            "show()",
            v4.new_output("stream", name="stdout", text=HOSTILE + "x" * 1_000_000),
            v4.new_output("display_data", {"text/html": table}),
            v4.new_output("display_data", {"text/html": HOSTILE + "<style>*{}</style><h1>b</h1>"}),
            v4.new_output("display_data", {"text/markdown": "# " + HOSTILE}),
            v4.new_output("display_data", {"text/plain": HOSTILE}),
            v4.new_output("display_data", {"text/latex": "$</math><script>$"}),
            v4.new_output("display_data", {"application/javascript": "alert(4)"}),
        ),
    )  # fmt: skip
    page = render(tmp_path, nb)
    assert_inert(page)
    assert "&lt;script&gt;alert(1)" in page and "javascript:" not in page
    assert "more characters are in the notebook" in page


def test_a_closed_h1_tag_of_an_output_is_no_second_title(tmp_path):
    shown = v4.new_output("display_data", {"text/html": "<h1/>b<img alt='\u202ea'>"})
    page = render(tmp_path, notebook(v4.new_markdown_cell("# T"), code("show()", shown)))
    assert_inert(page)
    assert "[image: a]" in page


def test_tables_scroll_in_their_box_and_have_one_header_row(tmp_path):
    table = pd.DataFrame({"name": ["a b"], "n": [1]}, index=pd.Index([0], name="layer"))
    output = v4.new_output("display_data", {"text/html": table.to_html()})
    page = render(tmp_path, notebook(v4.new_markdown_cell("# T"), code("t", output)))
    assert '<th class="t">layer</th><th class="t">name</th><th>n</th>' in page
    assert '<td class="t">a b</td><td>1</td>' in page
    assert page.count("<table") == page.count('class="scroll"') == 1


def test_a_table_of_many_columns_is_set_closer(tmp_path):
    tables = [pd.DataFrame([range(n)]).to_html() for n in (3, 12)]
    outputs = [v4.new_output("display_data", {"text/html": table}) for table in tables]
    page = render(tmp_path, notebook(v4.new_markdown_cell("# T"), code("t", *outputs)))
    assert page.count('<table class="many">') == 1


def test_images_are_inside_and_keep_their_alt_text(tmp_path):
    figure = f'<figure><img alt="A line falls." src="data:image/png;base64,{PIXEL}"></figure>'
    nb = notebook(
        v4.new_markdown_cell("# T"),
        code(
            "plot()",
            v4.new_output("display_data", {"text/html": figure}),
            v4.new_output("display_data", {"image/png": PIXEL, "text/plain": "<Figure>"}),
        ),
    )
    page = render(tmp_path, nb)
    assert_inert(page)
    assert 'alt="A line falls."' in page and page.count(PIXEL) == 2


def test_banners_say_synthetic_draft_and_failed(tmp_path):
    error = v4.new_output("error", ename="ValueError", evalue="no", traceback=[])
    nb = notebook(
        v4.new_markdown_cell("# T"), code("fine()"), code("boom()", error), code("x", count=None)
    )
    page = render(tmp_path, nb, synthetic=True, draft=True, status="failed: cell 3: ValueError")
    for word in ("SYNTHETIC", "DRAFT", "FAILED", "This cell failed", "This cell did not run",
                 "ValueError: no"):  # fmt: skip
        assert word in page
    assert 'href="#failed-cell"' in page and page.count('id="failed-cell"') == 1
    assert page.index('id="failed-cell"') > page.index("fine")
    plain = render(tmp_path, notebook(v4.new_markdown_cell("# T")))
    assert not re.search("SYNTHETIC|DRAFT|FAILED", plain)


def test_a_dead_kernel_leads_to_the_cell_that_did_not_finish(tmp_path):
    nb = notebook(v4.new_markdown_cell("# T"), code("one()"), code("two()", count=None))
    page = render(tmp_path, nb, status="failed: the kernel died")
    assert page.index('id="failed-cell"') > page.index("one")


def test_unknown_status_is_refused(tmp_path):
    with pytest.raises(ValueError, match="status"):
        render(tmp_path, notebook(), status="running")


def test_links_between_notebooks_lead_to_pages(tmp_path):
    text = "# T\n\n[next](3_evaluation.ipynb) [other](1_scoring.ipynb) [none](5_analysis.ipynb)"
    nav = [("index", "../../index.html"), ("1_scoring", "../../1_scoring.html"),
           ("ppm/r0.40/3_evaluation", "3_evaluation.html")]  # fmt: skip
    page = render(tmp_path, notebook(v4.new_markdown_cell(text)), nav=nav)
    assert '<a href="3_evaluation.html">next' in page
    assert '<a href="../../1_scoring.html">other' in page
    assert '<a href="../../index.html#pages">none' in page
    assert "Evaluation of ppm r0.40" in page


def test_scrubbing_takes_paths_out_and_leaves_images_and_parameters(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(inert.socket, "gethostname", lambda: "node-17.cluster")
    inert._host.cache_clear()
    image = "data:image/png;base64,iVBOR/tmp/home/+/usr/lib=="
    lines = [
        f'File "{tmp_path}/records/x.json", line 3 on node-17.cluster',
        "File \x1b[32m/home/me/v/lib/python3.11/site-packages/torch/nn.py:12\x1b[0m",
        "/tmp/ipykernel_12/345.py:3: UserWarning",
    ]
    nb = notebook(
        code(
            "x",
            v4.new_output("stream", name="stderr", text="\n".join(lines)),
            v4.new_output("display_data", {"text/html": f'<img src="{image}">/scratch/me/y.txt'}),
            v4.new_output("error", ename="E", evalue="/home/me/z", traceback=["at /home/me/z.py"]),
        ),
        input_path="/home/me/in.ipynb",
        output_path="/home/me/out.ipynb",
        parameters={"pruning_ratio": 0.4},
        duration=1.5,
        exception=True,
    )
    scrubbed = nbformat.writes(inert.scrub_notebook(nb))
    inert._host.cache_clear()
    assert not re.search(
        r"/home/me|/scratch|node-17|ipykernel_|" + re.escape(str(tmp_path)), scrubbed
    )
    assert image in scrubbed and ".../site-packages/torch/nn.py:12" in scrubbed
    kept = nb.metadata.papermill
    assert kept.parameters == {"pruning_ratio": 0.4} and kept.exception and kept.duration == 1.5


def test_the_plain_twin_of_a_figure_does_not_swell_the_notebook():
    data = {"text/html": "<b>x</b>", "text/plain": "Figure(png=b'" + "\\x00" * 50_000}
    nb = notebook(code("x", v4.new_output("execute_result", data, execution_count=1)))
    assert len(nbformat.writes(inert.scrub_notebook(nb))) < 5000


@pytest.mark.parametrize(
    "text", ["and/or 5 tokens/s", "https://a.org/b/c", "<td>a</td></tr>", "1/2/3"]
)
def test_scrubbing_leaves_ordinary_text(text):
    assert inert.scrub_text(text) == text


# --- the study's page, from a fake study ---


@pytest.fixture
def index(tmp_path):
    """The page of a fake study, as text, with chosen records taken away."""

    def build(leave_out=(), **settings):
        plan = fake_study(tmp_path, leave_out, **settings)
        return pages.build_index(tmp_path, study=plan).read_text(encoding="utf-8")

    return build


def test_index_answers_from_the_records(index):
    page = index()
    assert_inert(page)
    for text in ("Which abilities go?", "Facts fell by 12.0 points", "One model only.", "SYNTHETIC",
                 "\u221212.0", "[\u221215.0, \u22129.0]", "not above floor", "308 of 512",
                 "nothing may be found", "1.90\u20132.10", "in 1 of 2 layers",
                 "score[i] =", "ppm verify reports/fake", "Scores against expansion ratio.",
                 'href="tables/verdicts.tex"', "not measurable here", "&lt; 0.001",
                 "Decode takes 0.98", "the axis", "\u22120.1235"):  # fmt: skip
        assert text in page, text
    assert "incomplete" not in page.replace("class=", "").split("</style>")[1]


def test_headline_table_holds_declared_ratios_only(index):
    first = index().split("Headline metrics at the declared ratios")[2].split("</table>")[0]
    assert "ppm/r0.40" in first and "ppm/r0.20" not in first
    assert "+80.0%" in first and "+4.0<" in first


def test_index_opens_with_what_is_missing_or_failed(tmp_path, index):
    records.write_json(
        tmp_path / "logs/ppm/r0.40/3_evaluation.failed.json",
        {
            "run": "ppm/r0.40/3_evaluation",
            "cell": 7,
            "error": "ValueError: <b>no</b>",
            "interrupted": False,
        },
    )
    page = index(leave_out=["ppm/r0.40/3_evaluation", "5_analysis", "ppm/4_profiling"])
    assert_inert(page)
    assert "This record is incomplete: 3 of" in page
    assert page.index("This record is incomplete") < page.index("<h1>")
    assert "cell 7: ValueError: &lt;b&gt;no" in page
    assert "There is no answer yet" in page and "Nothing was measured" in page


def test_index_of_a_study_without_records_still_builds(tmp_path, index):
    page = index()
    plan = fake_study(tmp_path)
    for key in plan["jobs"]:
        records.record_path(tmp_path, key).unlink()
    page = pages.build_index(tmp_path, study=plan).read_text(encoding="utf-8")
    assert_inert(page)
    assert f"{len(plan['jobs'])} of {len(plan['jobs'])} notebooks" in page


def test_a_changed_record_is_called_damaged(tmp_path):
    plan = fake_study(tmp_path)
    path = records.record_path(tmp_path, "1_scoring")
    path.write_text(path.read_text().replace('"results": {}', '"results": {"a": 1}'))
    page = pages.build_index(tmp_path, study=plan).read_text(encoding="utf-8")
    assert "damaged" in page and str(tmp_path) not in page


def test_a_planted_truth_that_was_not_found_is_shouted(index):
    assert ">NO<" in index(planted_held=False)


def test_names_sentences_and_failures_of_a_hostile_study_are_inert(tmp_path):
    plan = hostile_study(tmp_path)
    page = pages.build_index(tmp_path, study=plan).read_text(encoding="utf-8")
    assert_inert(page)
    assert "&lt;script&gt;alert(1)" in page and len(page) < 300_000
    assert "more characters are in the log" in page


def test_same_records_same_bytes(tmp_path):
    plan = fake_study(tmp_path)
    first = pages.build_index(tmp_path, study=plan).read_bytes()
    assert pages.build_index(tmp_path, study=plan).read_bytes() == first
    nb = notebook(v4.new_markdown_cell("# T"), code(PARAMETERS_CELL, tags=["parameters"]))
    assert render(tmp_path, nb) == render(tmp_path, nb)
