import copy
import json
import subprocess
import sys

import pytest
import torch
import yaml
from safetensors.torch import load_file, save_file
from tiny_models import token_ids

from ppmlib.model import glu, models
from ppmlib.prune import export, kept_neurons, slicing
from ppmlib.record import records
from ppmlib.study_file.selection import Selection

WANTED = Selection("ppm", pruning_ratio=0.4)
PLAIN_LOADING = """
import sys
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM, AutoTokenizer
torch.set_num_threads(1)
model = AutoModelForCausalLM.from_pretrained(sys.argv[1], dtype=sys.argv[4])
assert len(AutoTokenizer.from_pretrained(sys.argv[1])) <= model.config.vocab_size
with torch.inference_mode():
    logits = model(load_file(sys.argv[2])["ids"]).logits
save_file({"logits": logits.contiguous()}, sys.argv[3])
assert "ppmlib" not in sys.modules
"""


def exported(tmp_path, dtype="float32", **more):
    loaded = models.load("bench-small", device="cpu", dtype=dtype)
    plan = kept_neurons.choose_neurons(loaded.model, WANTED)
    folder = export.export(loaded, plan.keep, tmp_path / "narrow", WANTED, **more)
    return loaded, plan, folder


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_plain_transformers_in_a_clean_process_gives_the_same_bits(tmp_path, dtype):
    loaded, _, folder = exported(tmp_path, dtype)
    ids = token_ids(loaded.model, rows=3, length=40)
    save_file({"ids": ids}, tmp_path / "ids.safetensors")
    arguments = [folder, tmp_path / "ids.safetensors", tmp_path / "logits.safetensors", dtype]
    subprocess.run(
        [sys.executable, "-c", PLAIN_LOADING, *map(str, arguments)], check=True, timeout=120
    )
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    with torch.inference_mode():
        own = loaded.model(ids).logits
    torch.set_num_threads(threads)
    theirs = load_file(tmp_path / "logits.safetensors")["logits"]
    assert theirs.dtype == own.dtype == getattr(torch, dtype)
    assert torch.equal(own, theirs)


def test_the_folder_is_an_ordinary_checkpoint(tmp_path):
    loaded, plan, folder = exported(tmp_path)
    config = records.read_json(folder / "config.json")
    assert config["intermediate_size"] == plan.k
    names = {file.name for file in folder.iterdir()}
    assert {"model.safetensors", "generation_config.json", "tokenizer.json", "README.md"} <= names
    shapes = {name: tuple(t.shape) for name, t in load_file(folder / "model.safetensors").items()}
    hidden = glu.hidden_size(loaded.model)
    assert shapes["model.layers.0.mlp.down_proj.weight"] == (hidden, plan.k)
    assert [p.name for p in tmp_path.iterdir()] == ["narrow"]


def test_the_export_can_be_loaded_as_a_model_and_pruned_again(tmp_path):
    loaded, plan, folder = exported(tmp_path)
    again = models.load(str(folder), device="cpu")
    assert glu.intermediate_size(again.model) == plan.k
    ids = token_ids(again.model)
    assert torch.equal(again.model(ids).logits, loaded.model(ids).logits)


def row(value, **changes):
    return {
        "task": "bench_text",
        "metric": "acc",
        "filter": "none",
        "value": value,
        "stderr": 0.01,
        "n": 300,
        "num_fewshot": 0,
        "headline": True,
        "source": "model",
    } | changes


def test_the_card_says_where_the_model_comes_from_and_how_it_scored(tmp_path):
    study = {
        "dense": [row(0.9), row(0.1, source="permuted"), row(0.7, metric="acc_norm")],
        "pruned": [row(0.5, stderr=None), row(0.2, source="permuted")],
    }
    loaded, plan, folder = exported(tmp_path, study=study)
    text = (folder / "README.md").read_text()
    front = yaml.safe_load(text.split("---")[1])
    assert front["library_name"] == "transformers" and "pruned" in front["tags"]
    for fact in (
        "SYNTHETIC",
        plan.keep_sha256,
        loaded.identity["weights_sha256"],
        "pruning ratio 0.4",
        f"{glu.parameter_count(loaded.model):,}",
        "| bench_text | acc (none) | 0 | 300 | 0.9000 ± 0.0100 | 0.5000 (no standard error) |",
    ):
        assert fact in text, fact
    assert text.count("bench_text") == 1


def test_the_card_names_base_and_revision_of_a_hub_model():
    loaded = models.load("bench-small", device="cpu")
    identity = loaded.identity | {"id": "someone/a-model", "revision": "abc", "synthetic": False}
    loaded = models.Loaded(copy.deepcopy(loaded.model), loaded.tokenizer, identity, loaded.folder)
    plan = kept_neurons.choose_neurons(loaded.model, WANTED)
    sizes = glu.describe(loaded.model)
    slicing.slice_mlps(loaded.model, plan.keep)
    text = export.model_card(loaded, plan.keep, Selection(expansion_ratio=2.4), dense=sizes)
    front = yaml.safe_load(text.split("---")[1])
    assert front["base_model"] == "someone/a-model" and front["base_model_revision"] == "abc"
    assert "SYNTHETIC" not in text


def test_scores_of_other_documents_are_not_put_side_by_side(tmp_path):
    with pytest.raises(ValueError, match="300 documents dense, 200 pruned"):
        exported(tmp_path, study={"dense": [row(0.9)], "pruned": [row(0.5, n=200)]})
    assert not list(tmp_path.iterdir())


def test_a_folder_that_holds_something_is_left_alone(tmp_path):
    (tmp_path / "narrow").mkdir()
    (tmp_path / "narrow" / "notes.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="holds something"):
        exported(tmp_path)
    assert [p.name for p in (tmp_path / "narrow").iterdir()] == ["notes.txt"]


def test_an_export_that_fails_leaves_no_folder_behind(tmp_path, monkeypatch):
    def full(*_):
        raise OSError("no space left on device")

    monkeypatch.setattr(export.shutil, "copyfile", full)
    with pytest.raises(OSError, match="no space"):
        exported(tmp_path)
    assert not list(tmp_path.iterdir())


def write_run(root):
    loaded = models.load("bench-small", device="cpu")
    plan = kept_neurons.choose_neurons(loaded.model, WANTED)
    records.write(
        root,
        f"{plan.run}/2_pruning",
        inputs=kept_neurons.pruning_inputs(loaded.identity, WANTED),
        results={"keep_sha256": plan.keep_sha256},
        files=[kept_neurons.write_keep(kept_neurons.keep_path(root, plan.run), plan.keep)],
    )
    for run, value in (("dense/r0.00", 0.9), (plan.run, 0.5)):
        rows = {"rows": [row(value)]}
        records.write(root, f"{run}/3_evaluation", inputs={"run": run}, results=rows)
    return plan


SETTINGS = {"model": "bench-small", "revision": None, "dtype": "float32", **WANTED.settings()}


def test_a_run_of_a_study_is_exported_with_its_scores(tmp_path):
    plan = write_run(tmp_path / "study")
    folder = export.export_run(tmp_path / "study", plan.run, SETTINGS, tmp_path / "narrow")
    text = (folder / "README.md").read_text()
    assert "0.9000" in text and "0.5000" in text and plan.keep_sha256 in text
    assert json.loads((folder / "config.json").read_text())["intermediate_size"] == plan.k


def test_a_run_is_not_exported_from_other_weights(tmp_path):
    plan = write_run(tmp_path / "study")
    with pytest.raises(records.RecordError, match="no longer the one"):
        export.export_run(
            tmp_path / "study", plan.run, SETTINGS | {"model": "bench"}, tmp_path / "narrow"
        )
