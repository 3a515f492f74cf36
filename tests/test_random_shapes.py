"""Models of a published shape with random weights, and studies of time and energy alone."""

from pathlib import Path

import pytest
import torch
import yaml
from fake_study import fake_study
from transformers import AutoModelForCausalLM, LlamaConfig

from ppmlib import published as paper
from ppmlib.model import glu, models, random_shapes
from ppmlib.model.checkpoint import ModelError
from ppmlib.page import pages
from ppmlib.profile import profiling
from ppmlib.profile.widths import Widths, choose_widths
from ppmlib.record import records
from ppmlib.study_file.params import ParamsError, Study
from ppmlib.study_file.selection import Selection
from ppmlib.workflow import plan

PARAMS = Path(__file__).parents[1] / "params"
TINY = {
    "hidden_size": 16, "intermediate_size": 40, "num_hidden_layers": 2, "vocab_size": 50,
    "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 4, "tie_word_embeddings": True,
    "max_position_embeddings": 80, "rms_norm_eps": 1e-5, "bos_token_id": 1, "eos_token_id": 2,
}  # fmt: skip
STUDY = {
    "study": "shape", "model": {"id": "shape:tiny", "dtype": "bfloat16"}, "pruning_ratios": [0.5],
    "tasks": [], "profiling": {"repeats": 2},
}  # fmt: skip


@pytest.fixture(autouse=True)
def tiny(monkeypatch):
    monkeypatch.setitem(random_shapes.SHAPES, "tiny", TINY)


def load_study(folder, **changes):
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump(STUDY | changes))
    return Study.load(path), path


@pytest.mark.parametrize("name", ["llama-3.2-1b", "llama-3.2-3b"])
def test_a_shape_has_the_published_parameters_at_every_width(name):
    published = paper.read("architecture")
    mine = published[published["model"] == f"meta-llama/Llama-3.2-{name[-2:].upper()}"]
    with torch.device("meta"):
        config = LlamaConfig(**random_shapes.config_of(f"shape:{name}"))
        model = AutoModelForCausalLM.from_config(config)
    assert len(mine) == 7
    for row in mine.to_dict("records"):
        assert glu.pruned_parameter_count(model, row["intermediate_size"]) == row["parameters"]


def test_random_weights_are_seeded_finite_and_leave_the_random_state_alone():
    torch.manual_seed(7)
    before = torch.get_rng_state()
    first, second = (models.load("shape:tiny", dtype="bfloat16", device="cpu") for _ in range(2))
    assert torch.equal(torch.get_rng_state(), before)
    weights = first.model.state_dict()
    for name, value in second.model.state_dict().items():
        assert torch.equal(value, weights[name]) and value.isfinite().all()
    assert first.model.dtype == torch.bfloat16 and not first.model.training
    assert first.model.model.rotary_emb.inv_freq.dtype == torch.float32
    assert first.random_weights and first.vocabulary == (50, [1, 2])
    assert first.identity["weights_sha256"] == second.identity["weights_sha256"]
    assert not models.load("bench-small", device="cpu").random_weights


def test_an_unknown_shape_is_refused_with_the_names_there_are():
    with pytest.raises(ModelError, match="unknown shape 'llama-9': use one of llama-3.2-1b"):
        models.load("shape:llama-9")


def test_widths_are_drawn_without_records_and_once_more_per_multiple(tmp_path):
    loaded = models.load("shape:tiny", device="cpu")
    wanted = Selection().with_ratios([0, 0.1, 0.5])
    kept, asked = choose_widths(tmp_path, loaded, wanted, [8, 1], record_dir=".")
    assert {run: k.k for run, k in kept.items()} == {
        "ppm/r0.10": 36, "ppm/r0.10-m8": 32, "ppm/r0.50": 20, "ppm/r0.50-m8": 16,
    }  # fmt: skip
    assert asked["ppm/r0.50-m8"] == {"requested": "r0.50", "keep_multiple_of": 8}
    assert next(iter(asked)) == "dense/r0.00" and asked["dense/r0.00"]["keep_multiple_of"] == 1
    widths = Widths(loaded.model, {run: k.keep for run, k in kept.items()})
    assert widths.describe("ppm/r0.50-m8")["intermediate_size"] == 16


def test_a_study_of_random_weights_has_one_notebook(tmp_path):
    study, path = load_study(tmp_path)
    made = plan.build(study, path, tmp_path / "root")
    assert list(made["jobs"]) == ["ppm/4_profiling"]
    assert made["jobs"]["ppm/4_profiling"]["reads"] == []


def test_without_tasks_a_packaged_model_is_scored_and_pruned_but_not_evaluated(tmp_path):
    study, path = load_study(tmp_path, model={"id": "bench-small"})
    jobs = plan.build(study, path, tmp_path / "root")["jobs"]
    assert {job["stage"] for job in jobs.values()} == {"1_scoring", "2_pruning", "4_profiling"}
    assert jobs["ppm/4_profiling"]["reads"] == ["dense/r0.00/2_pruning", "ppm/r0.50/2_pruning"]


TASK = {"name": "bench_text", "num_fewshot": 0, "metric": "word_perplexity", "axis": "language"}
WORK = {"name": "a", "prompt_tokens": 8, "new_tokens": 4}


@pytest.mark.parametrize(
    "changes, complaint",
    [
        ({"tasks": [TASK]}, "random weights cannot be evaluated"),
        ({"profiling": None}, "tasks is empty and there is no profiling"),
        ({"profiling": {"workloads": [WORK], "new_tokens": 4}}, "give either workloads, or"),
        ({"profiling": {"workloads": [WORK, WORK]}}, "workloads: a appears twice"),
        ({"profiling": {"repeats": 2, "prompt_seeds": [1, 2, 3]}}, "at least as many as"),
        ({"profiling": {"energy_windows": {"seconds": 0.1}}}, "must be at least 1"),
    ],
)
def test_studies_that_would_measure_nothing_or_something_else_are_refused(
    tmp_path, changes, complaint
):
    with pytest.raises(ParamsError, match=complaint):
        load_study(tmp_path, **changes)


@pytest.mark.parametrize(
    "profiling_keys, complaint",
    [
        ({"also_keep_multiples_of": [64]}, "ppm/r0.50: nothing would be left"),
        ({"prompt_tokens": 76, "new_tokens": 5}, "76 prompt tokens and 5 new ones do not fit"),
    ],
)
def test_what_the_shape_cannot_do_is_refused_before_a_kernel_starts(
    tmp_path, profiling_keys, complaint
):
    study, path = load_study(tmp_path, profiling=STUDY["profiling"] | profiling_keys)
    with pytest.raises(ParamsError, match=complaint):
        plan.build(study, path, tmp_path / "root")


@pytest.mark.parametrize("path", sorted(PARAMS.glob("*-[13]b.yaml")) + [PARAMS / "alignment.yaml"],
                         ids=lambda path: path.stem)  # fmt: skip
def test_the_shipped_studies_of_shapes_are_complete(path, tmp_path):
    text = yaml.safe_load(path.read_text())
    if not text.get("model", {}).get("id", "").startswith("shape:"):
        pytest.skip("a study of a real model")
    study = Study.load(path)
    jobs = plan.build(study, path, tmp_path)["jobs"]
    assert study.study == path.stem and list(jobs) == ["ppm/4_profiling"]
    given = jobs["ppm/4_profiling"]["parameters"]
    works = profiling.make_workloads(
        given["workloads"], given["prompt_tokens"], given["new_tokens"], given["batch_sizes"]
    )
    profiling.Rounds(given["warmup"], given["repeats"], tuple(given["prompt_seeds"]))
    assert works


def test_the_page_of_a_study_without_tasks_answers_with_times(tmp_path):
    planned = fake_study(tmp_path)
    record = records.read(tmp_path, "ppm/4_profiling")
    for name in ("figures/ppm/speed.png", "tables/ppm/speed.csv"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / "figures/ppm/speed.png").write_bytes((tmp_path / "figures/main.png").read_bytes())
    (tmp_path / "tables/ppm/speed.csv").write_text("run,speed\nppm/r0.40,1.5\n")
    figure = {"name": "ppm/speed", "title": "Speed", "alt": "Speed against parameters removed."}
    measured = record["measured"] | {"figures": [figure], "main_figure": "ppm/speed"}
    results = record["results"] | {"random_weights": True}
    results["widths"] = [w | {"requested": "r"} for w in results["widths"]]
    records.write(tmp_path, "ppm/4_profiling", inputs={}, results=results, measured=measured)
    for key in list(planned["jobs"]):
        if key != "ppm/4_profiling":
            records.record_path(tmp_path, key).unlink()
            del planned["jobs"][key]
    planned["study"] |= {"tasks": [], "claims": []}
    planned["study"]["model"]["id"] = "shape:tiny"
    planned["synthetic"] = False
    page = pages.build_index(tmp_path, study=planned).read_text()
    for said in ("random, of the shape named", "none: a study of time, memory and energy",
                 "Decode takes 0.98 of the dense", 'alt="Speed against parameters removed."',
                 "With random weights no selection is recorded"):  # fmt: skip
        assert said in page
    for absent in ("Verdicts", "No verdicts", "There is no answer yet", 'id="limits"', "planted"):
        assert absent not in page
