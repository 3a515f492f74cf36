"""The README's figure and table, made from the committed example report.

`python -m ppmlib.readme` rewrites them; a test holds the README to what this module makes.
"""

from pathlib import Path

from ppmlib import records

BEGIN = "<!-- example: begin (made by `make readme` from reports/example-bench) -->\n"
END = "<!-- example: end -->\n"
SHOWN_RATIO = 0.4


def block(root: Path) -> str:
    """The markdown between the markers: main figure, table at one ratio, link to the report."""
    results = records.read(root, "5_analysis")["results"]
    (figure,) = [f for f in results["figures"] if f["name"] == results["main_figure"]]
    shown = [
        row
        for row in results["verdicts"]
        if row["criterion"] == "ppm" and row["pruning_ratio"] == SHOWN_RATIO and row["headline"]
    ]
    lines = [
        f"![{figure['alt']}](reports/{root.name}/figures/{figure['name']}.png)",
        "",
        f"*{figure['title']} SYNTHETIC: an instrument check, no evidence about Llama.*",
        "",
        f"At expansion ratio {shown[0]['expansion_ratio']:.2f} ({SHOWN_RATIO:.0%} of the neurons "
        "removed), differences in points with 95% intervals, paired by document:",
        "",
        "| task | dense | pruned | difference | change | level |",
        "|---|---|---|---|---|---|",
        *(_table_row(row) for row in shown),
        "",
        f"The whole report: [reports/{root.name}/index.html](reports/{root.name}/index.html).",
    ]
    return "\n".join(lines) + "\n"


def _table_row(row: dict) -> str:
    unit = "%" if row["metric"].endswith("perplexity") else ""
    numbers = (row["diff_points"], row["ci_low_points"], row["ci_high_points"])
    difference = "{:+.1f}{unit} [{:+.1f}, {:+.1f}]".format(*numbers, unit=unit)
    values = f"{row['dense_value']:.3g} | {row['value']:.3g}"
    return f"| {row['task']} | {values} | {difference} | {row['change']} | {row['level']} |"


def updated(text: str, root: Path) -> str:
    """README text with the block between the markers made anew. ValueError without markers."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError("README.md has lost the markers of its example block")
    return f"{before}{BEGIN}{block(root)}{END}{after}"


def main() -> None:
    """Rewrite the README beside the package."""
    repository = Path(__file__).parents[1]
    path = repository / "README.md"
    records.write_text(path, updated(path.read_text(), repository / "reports" / "example-bench"))


if __name__ == "__main__":
    main()
