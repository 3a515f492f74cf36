import matplotlib.style
import pandas as pd
import pytest
import torch
from tiny_models import llama

from ppmlib.prune import neurons, scoring, selection, slicing
from ppmlib.show import pruning as words
from ppmlib.show.figures import neurons as figures

SCORES = torch.tensor([[4.0, 1.0, 2.0, 2.0], [1.0, 8.0, 2.0, 4.0]])
OTHER = torch.tensor([[1.0, 2.0, 3.0, 4.0], [1.0, 8.0, 2.0, 4.0]])


def test_widths_show_what_was_asked_for_and_what_whole_neurons_allow():
    table = neurons.tabulate_widths(llama(), [0.4], [1.6])
    assert neurons.count_kept(table) == {"r0.40": 116, "e1.60": 77}
    assert table.loc["r0.40", "pruning ratio, achieved"] == pytest.approx(76 / 192)
    model = llama()
    slicing.slice_mlps(model, torch.arange(77).expand(3, -1))
    counted = sum(parameter.numel() for parameter in model.parameters())
    assert table.loc["e1.60", "parameters"] == counted


def test_no_width_at_all_is_refused():
    with pytest.raises(ValueError, match="no width"):
        neurons.tabulate_widths(llama(), [])


def test_the_cut_is_the_lowest_score_that_stays():
    table = neurons.tabulate_cuts(SCORES, {"half": 2})
    assert table["cut at half"].tolist() == [2.0, 4.0]
    assert table[["lowest", "highest"]].values.tolist() == [[1.0, 4.0], [1.0, 8.0]]
    assert neurons.count_ties(SCORES, {"half": 2})["half"].tolist() == [2, 0]


def test_shared_removals_by_hand():
    scored = {"a": SCORES, "b": OTHER}
    # a removes neurons 1, 3 and 0, 2 (a tie goes to the lower index); b removes 0, 1 and 0, 2.
    table = neurons.compare_removals(scored, "a", {"half": 2})
    assert table.loc["half"].to_dict() == {"b": 75.0, neurons.CHANCE: 50.0}


def test_rank_correlations_are_means_over_layers():
    table = neurons.correlate_ranks({"a": SCORES, "b": OTHER, "c": -SCORES})
    first = pd.DataFrame({"a": SCORES[0].tolist(), "b": OTHER[0].tolist()}).rank().corr()
    assert table.loc["a", "b"] == pytest.approx((first.loc["a", "b"] + 1) / 2)
    assert table.loc["a", "c"] == pytest.approx(-1)


def test_the_layer_table_by_hand():
    table = neurons.tabulate_layers(SCORES, torch.tensor([[0, 2], [1, 3]]))
    assert table["mean score, kept"].tolist() == [3.0, 6.0]
    assert table["mean score, removed"].tolist() == [1.5, 1.5]
    assert table["share of score kept (%)"].tolist() == pytest.approx([100 * 6 / 9, 80])
    assert table["tied at the cut"].tolist() == [2, 0]


def test_conclusions_are_computed():
    sentences = words.describe_scores({"a": SCORES, "b": OTHER}, "a", {"r0.50": 2})
    text = " ".join(sentences)
    assert "between 1 and 8" in text and "tied at the cut in 1 of 2" in text and "b 75.0%" in text


@pytest.mark.parametrize("name", ["ppm", "vow", "inverse"])
def test_figures_carry_their_numbers_and_the_same_bytes_every_time(tmp_path, name):
    values = scoring.score_model(llama(), name)
    counts = {"r0.20": 154, "r0.50": 96}
    drawn = [figures.draw_distributions(values, counts, selection=name) for _ in range(2)]
    assert drawn[0].png == drawn[1].png
    files = [figure.write(tmp_path / str(at)) for at, figure in enumerate(drawn)]
    assert all(a.read_bytes() == b.read_bytes() for a, b in zip(*files, strict=True))
    keep = selection.select_layers(values, 96)
    figure = figures.draw_kept_strip(keep, values, run=f"{name}/r0.50")
    figure.write(tmp_path)
    assert (tmp_path / "figures" / name / "r0.50" / "kept.png").read_bytes() == figure.png
    assert figure.table["neurons kept"].tolist() == [96, 96, 96]


def test_the_dense_model_has_a_figure_too():
    values = scoring.score_model(llama(), "ppm")
    figure = figures.draw_kept_strip(torch.arange(192).expand(3, -1), values, run="dense/r0.00")
    assert figure.table["share of score kept (%)"].tolist() == pytest.approx([100] * 3)


def test_figures_leave_the_settings_of_matplotlib_alone_and_do_not_depend_on_them():
    values = scoring.score_model(llama(), "ppm")
    before = matplotlib.rcParams.copy()
    figure = figures.draw_distributions(values, {"r0.20": 154}, selection="ppm")
    assert matplotlib.rcParams == before
    assert not matplotlib.rcParams["figure.constrained_layout.use"], "a style was set on import"
    with matplotlib.style.context("classic"):
        assert figures.draw_distributions(values, {"r0.20": 154}, selection="ppm").png == figure.png
