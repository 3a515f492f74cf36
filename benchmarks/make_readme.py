"""The README's figures and tables, made from the committed reports and the tested families.

The main figure is the published scores' (reports/published): it is evidence about Llama. The first
table is the example's (reports/example-bench): an instrument check. The table of families is made
from the small models that tests/test_families.py tries (tests/families.py).
`make readme` rewrites them; a test holds the README to what this module makes.
"""

from pathlib import Path
from typing import Any

from families import FAMILIES, TITLES, family, model_type

from ppmlib.evaluation import engines
from ppmlib.model import glu
from ppmlib.record import records

PUBLISHED_BEGIN = "<!-- published: begin (made by `make readme` from reports/published) -->\n"
PUBLISHED_END = "<!-- published: end -->\n"
BEGIN = "<!-- example: begin (made by `make readme` from reports/example-bench) -->\n"
END = "<!-- example: end -->\n"
FAMILIES_BEGIN = "<!-- families: begin (made by `make readme` from tests/families.py) -->\n"
FAMILIES_END = "<!-- families: end -->\n"
ATTENTION = {"full_attention": "full", "sliding_attention": "sliding window", "conv": "convolution"}
SHOWN_RATIO = 0.4


def published_block(root: Path) -> str:
    """The main figure of the published page, the claimed rises it shows, the link to it."""
    results = records.read(root, "6_published")["results"]
    (figure,) = [f for f in results["figures"] if f["name"] == results["main_figure"]]
    page = f"reports/{root.name}/6_published.html"
    count = len(results["claims"])
    rises = [
        claim
        for claim in results["claims"]
        if claim.get("task") == "ifeval" and claim.get("direction") == "better"
    ]
    lines = [
        f"![{figure['alt']}](reports/{root.name}/figures/{figure['name']}.png)",
        "",
        f"*{figure['title']}*",
        "",
        "| claimed rise | published change, points | p (Holm) | verdict |",
        "|---|---|---|---|",
        *(_claim_row(claim) for claim in rises),
        "",
        f"All {count} claims, each with its verdict and numbers: [{page}]({page}).",
    ]
    return "\n".join(lines) + "\n"


def _claim_row(claim: dict[str, Any]) -> str:
    low, high = 100 * claim["low"], 100 * claim["high"]
    change = f"{100 * claim['difference']:+.1f} [{low:+.1f}, {high:+.1f}]"
    where = f"{claim['scope']}, {100 * claim['pruning_ratio']:.0f}% removed ({claim['version']})"
    return f"| {where} | {change} | {claim['p_holm']:.2g} | {claim['verdict']} |"


def block(root: Path) -> str:
    """The example's table at one ratio, and the link to its report."""
    results = records.read(root, "5_analysis")["results"]
    shown = [
        row
        for row in results["verdicts"]
        if row["criterion"] == "ppm" and row["pruning_ratio"] == SHOWN_RATIO and row["headline"]
    ]
    page = f"reports/{root.name}/index.html"
    lines = [
        "What a study answers, here of the shipped bench model (SYNTHETIC: an instrument check, no "
        f"evidence about Llama): at expansion ratio {shown[0]['expansion_ratio']:.2f} "
        f"({SHOWN_RATIO:.0%} of the neurons removed), differences in points with 95% intervals, "
        "paired by document:",
        "",
        "| task | dense | pruned | difference | change | level |",
        "|---|---|---|---|---|---|",
        *(_table_row(row) for row in shown),
        "",
        f"The whole report: [{page}]({page}).",
    ]
    return "\n".join(lines) + "\n"


def _table_row(row: dict) -> str:
    unit = "%" if row["metric"].endswith("perplexity") else ""
    numbers = (row["diff_points"], row["ci_low_points"], row["ci_high_points"])
    difference = "{:+.1f}{unit} [{:+.1f}, {:+.1f}]".format(*numbers, unit=unit)
    values = f"{row['dense_value']:.3g} | {row['value']:.3g}"
    return f"| {row['task']} | {values} | {difference} | {row['change']} | {row['level']} |"


def families_block() -> str:
    """A row for each model type that is tested: its projections, kinds of layers and engine."""
    rows: dict[str, dict[str, Any]] = {}
    for name in FAMILIES:
        model = family(name)
        row = rows.setdefault(model_type(name), {"attention": set(), "engine": set()})
        row["implementation"] = "" if model._supports_sdpa else " (eager)"
        row["projections"] = _name_projections(glu.glu_mlps(model)[0].layout)
        row["attention"] |= {ATTENTION[kind] for kind in engines.layer_kinds(model.config)}
        row["engine"].add(engines.choose(engines.AUTO, model.config.to_dict())[0])
    lines = [
        "| family | `model_type` | projections | attention | engine |",
        "|---|---|---|---|---|",
    ]
    for kind in sorted(rows, key=lambda kind: TITLES[kind].lower()):
        row = rows[kind]
        attention = ", ".join(sorted(row["attention"])) + row["implementation"]
        engine = ", ".join(sorted(row["engine"]))
        lines.append(
            f"| {TITLES[kind]} | `{kind}` | {row['projections']} | {attention} | {engine} |"
        )
    return "\n".join(lines) + "\n"


def _name_projections(layout) -> str:
    names = ", ".join(f"`{name}`" for name in layout.names)
    return f"{names} (fused)" if layout.is_fused else names


def _between(text: str, begin: str, end: str, made: str) -> str:
    before, found, rest = text.partition(begin)
    _, closed, after = rest.partition(end)
    if not (found and closed):
        raise ValueError(f"README.md has lost a marker: {(end if found else begin).strip()}")
    return f"{before}{begin}{made}{end}{after}"


def updated(text: str, reports: Path) -> str:
    """README text with all blocks made again. ValueError without their markers.

    Args:
        reports: the folder of the committed reports.
    """
    made = published_block(reports / "published")
    text = _between(text, PUBLISHED_BEGIN, PUBLISHED_END, made)
    text = _between(text, FAMILIES_BEGIN, FAMILIES_END, families_block())
    return _between(text, BEGIN, END, block(reports / "example-bench"))


def main() -> None:
    """Rewrite the README of this repository."""
    repository = Path(__file__).parents[1]
    path = repository / "README.md"
    records.write_text(path, updated(path.read_text(), repository / "reports"))


if __name__ == "__main__":
    main()
