"""The study's figures, one style.

figure      one finished figure: PNG and PDF files, alt text, its numbers; `styled`, its style
drawing     what they share: small multiples, interval lines, forest plots, axes, legends
neurons     scores, cuts and kept neurons (notebooks 1 and 2)
noise       noise against damage (notebook 2_noise)
abilities   scores against expansion ratio, differences, the dichotomy (notebook 5)
scorecard   one run's scores with chance and the permuted baseline (notebook 3)
changes     differences from the dense model, speed (notebook 5)
decisions   declared claims and the trade-off (notebook 5)
damage      trivial baselines; instructions against perplexity (notebook 5)
answers     generated answers by width, kinds of instruction (notebook 5)
efficiency  time and memory against width (notebook 4)
published   the paper's numbers (notebook 6)
models      several studies side by side (notebook 7)
simulations coverage, false positives and power (notebook 8)
"""

import base64
import html
import io
from dataclasses import dataclass, field
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
from cycler import cycler
from PIL import Image

from ppmlib.record import records
from ppmlib.show.images import shown_width

# Okabe-Ito: distinguishable with any common colour vision; markers differ as well.
PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#8C6D31")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "*")
BASELINE = {"color": "#444444", "linestyle": "--", "linewidth": 1.2}
CHANCE = {"color": "#999999", "linestyle": ":", "linewidth": 1.4}
DPI = 192
STYLE = {
    "axes.prop_cycle": cycler(color=PALETTE),
    "figure.constrained_layout.use": True,
    "axes.titlesize": "medium",
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "grid.linewidth": 0.5,
    "legend.frameon": False,
    "pdf.fonttype": 42,
}


def styled():
    """A context in which figures have the one style, also as a decorator: `@styled()`.

    It must cover drawing and saving: matplotlib reads parts of the style only when it saves.
    seaborn's white grid comes with matplotlib; importing seaborn costs a second per notebook.
    """
    styles = ["seaborn-v0_8-whitegrid", "seaborn-v0_8-notebook", STYLE]
    return plt.style.context(styles, after_reset=True)


@dataclass(frozen=True)
class Figure:
    """A finished figure: shown with its alt text and, folded, the numbers it draws."""

    name: str
    title: str
    alt: str
    png: bytes = field(repr=False)
    table: pd.DataFrame = field(repr=False)
    drawn: plt.Figure = field(repr=False)

    def write(self, root: Path) -> tuple[Path, Path, Path]:
        """Write `figures/<name>.png`, `.pdf` and `tables/<name>.csv`, always the same bytes."""
        png, pdf = (Path(root) / "figures" / f"{self.name}.{kind}" for kind in ("png", "pdf"))
        csv = Path(root) / "tables" / f"{self.name}.csv"
        with records.atomic(png) as temporary:
            temporary.write_bytes(self.png)
        dates = {"CreationDate": None, "Creator": None}
        with records.atomic(pdf) as temporary, styled():
            self.drawn.savefig(temporary, format="pdf", metadata=dates)
        records.write_text(csv, self.table.to_csv())
        return png, pdf, csv

    def _repr_html_(self) -> str:
        data = base64.b64encode(self.png).decode()
        numbers = self.table.to_html(border=0, float_format=lambda value: f"{value:.4g}")
        return (
            f'<figure id="figure-{html.escape(self.name)}">'
            f'<img width="{shown_width(self.png)}" alt="{html.escape(self.alt)}" '
            f'src="data:image/png;base64,{data}">'
            f"<figcaption>{html.escape(self.title)}</figcaption>"
            f"<details><summary>The numbers of this figure</summary>{numbers}</details></figure>"
        )


def figure(fig: plt.Figure, *, name: str, title: str, alt: str, table: pd.DataFrame) -> Figure:
    """Finish a matplotlib figure and close it. `name` may hold slashes (`ppm/r0.40/kept`).

    Raises:
        ValueError: if the alt text is shorter than a sentence or the table is empty.
    """
    if len(alt.split()) < 5 or table.empty:
        raise ValueError(f"figure {name!r} needs a sentence of alt text and its numbers")
    buffer = io.BytesIO()
    fig.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None})
    fig.set_layout_engine("none")  # laid out already
    plt.close(fig)
    return Figure(name, title, alt, _indexed(buffer), table, fig)


def _indexed(png: io.BytesIO) -> bytes:
    """The same picture in 256 colours: a third of the bytes in every page that embeds it."""
    buffer = io.BytesIO()
    with Image.open(png) as picture:
        colours = picture.convert("RGB").quantize(256)
        colours.save(buffer, format="png", optimize=True, dpi=(DPI, DPI))
    return buffer.getvalue()
