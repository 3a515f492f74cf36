"""What a narrower model saves: from which width on, and where longer answers eat it up."""

import made_records as made
import pandas as pd
import pytest

from ppmlib.analyse import savings, sources
from ppmlib.record import records
from ppmlib.show import time_saved

TASKS = ["made_instructions"]


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return made.write_study(tmp_path_factory.mktemp("savings"), ratios=(0.2, 0.4), n=40)


@pytest.fixture(scope="module")
def study(root):
    return sources.load(root)


def profile_of(study, **changes):
    """The made profiling with the repeats of some runs changed: {run: (ttft_s, tpot_s)}."""
    record = study.profiling["ppm"]
    rows = []
    for row in record["measured"]["rows"]:
        ttft, tpot = changes.get(row["run"], (4.0, 0.2))
        repeats = {"ttft_s": [ttft] * 3, "tpot_s": [tpot] * 3}
        spread = {f"{name}{end}": repeats[name][0] for name in repeats
                  for end in ("", "_q25", "_q75")}  # fmt: skip
        rows.append({**row, "repeats": repeats, **spread})
    return record | {"measured": record["measured"] | {"rows": rows}}


def test_the_break_even_is_the_answer_made_in_the_dense_models_time(study):
    record = profile_of(study, **{"ppm/r0.40": (2.0, 0.1)})
    table = savings.break_even_table(record).set_index(["run", "batch_size"])
    # Dense: 16 tokens in 4 + 15 * 0.2 = 7 s. In 7 s at 2 + 0.1 per later token: 51 tokens.
    assert table.loc[("ppm/r0.40", 1), "length_ratio"] == pytest.approx(51 / 16)
    assert table.loc[("ppm/r0.20", 1), "length_ratio"] == pytest.approx(1)
    said = time_saved.describe_speed(record)
    assert any("Break-even, batch 1" in s and "ppm/r0.40 generates 3.19 times as many" in s
               for s in said)  # fmt: skip


def test_a_width_counts_as_faster_only_if_all_narrower_ones_are(study):
    both = {"ppm/r0.20": (2.0, 0.2), "ppm/r0.40": (1.0, 0.2)}
    first = time_saved.describe_speed(profile_of(study, **both))[0]
    assert first.startswith("Prefill, batch 1: measurably faster") and "from ppm/r0.20 on" in first
    only_wide = time_saved.describe_speed(profile_of(study, **{"ppm/r0.20": (2.0, 0.2)}))[0]
    assert only_wide.endswith("the narrowest width is not measurably faster than the dense "
                              "model.")  # fmt: skip


def test_longer_answers_eat_up_a_gain_in_speed(study, monkeypatch):
    lengths = {"dense/r0.00": 10.0, "ppm/r0.20": 10.0, "ppm/r0.40": 31.0}
    monkeypatch.setattr(savings, "generation_tasks", lambda study, tasks: tasks)
    monkeypatch.setattr(type(study), "headline", lambda self, run, task: {})

    def samples(self, run, task):
        return pd.DataFrame({"response_tokens": [lengths[run]]})

    monkeypatch.setattr(type(study), "samples", samples)
    record = profile_of(study, **{"ppm/r0.40": (4.0, 0.1)})
    table = savings.answers_table(study, record, "ppm", TASKS).set_index("run")
    # Dense 4 + 9 * 0.2 = 5.8 s; half the time per token, but 30 later tokens: 7 s.
    assert table.loc["ppm/r0.40", "time_ratio"] == pytest.approx(7 / 5.8)
    assert table.loc["ppm/r0.20", "time_ratio"] == pytest.approx(1)
    (said,) = time_saved.describe_answer_times(table.reset_index())
    assert "longer than the dense model's at 1 of 2 widths" in said and "3.10 times the tok" in said


def test_a_profile_of_another_version_is_named_not_read(study):
    record = study.profiling["ppm"]
    old = record | {"inputs": record["inputs"] | {"stage_version": 1}}
    study_of_old = type("Old", (), {"profiling": {"ppm": old}})()
    said = time_saved.describe_savings(study_of_old, "ppm", TASKS)
    figure = time_saved.draw_savings(study_of_old, "ppm")
    assert said == ["The profiling record is from another version of its notebook: run it again."]
    assert figure is None
    assert time_saved.describe_savings(type("No", (), {"profiling": {}})(), "ppm", TASKS) == [
        time_saved.NOTHING
    ]


def test_the_made_study_has_sentences_and_a_figure(study, root):
    said = time_saved.describe_savings(study, "ppm", TASKS)
    figure = time_saved.draw_savings(study, "ppm")
    assert len(said) > len(study.profiling["ppm"]["measured"]["conclusions"])
    assert figure.name == "speed" and "limit_speed_up" in figure.table
    assert records.read(root, "ppm/4_profiling")
