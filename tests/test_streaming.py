"""Weights copied from file to file equal those of a model sliced in memory and saved."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from families import family
from safetensors.torch import load_file
from tiny_models import llama, qwen2
from transformers import AutoModelForCausalLM

from ppmlib.model import glu
from ppmlib.model.checkpoint import ModelError, shapes, weight_files
from ppmlib.prune import kept_neurons, slicing, streaming
from ppmlib.study_file.selection import Selection


def kept(model, ratio=0.4):
    return kept_neurons.choose_neurons(model, Selection(pruning_ratio=ratio)).keep


def tensors(folder):
    return {n: t for file in weight_files(folder) for n, t in load_file(file).items()}


@pytest.mark.parametrize("shard", ["40KB", "10GB"])
@pytest.mark.parametrize(
    "build",
    [
        lambda: llama(mlp_bias=True),
        qwen2,
        lambda: family("phi3"),
        lambda: family("lfm2-computed"),
    ],
    ids=["llama", "qwen2", "phi3", "lfm2"],
)
def test_streamed_weights_are_those_of_a_model_sliced_in_memory(
    tmp_path, build, shard, monkeypatch
):
    monkeypatch.setattr(streaming, "BLOCK_BYTES", 8 * 48 * 7)
    model = build()
    model.save_pretrained(tmp_path / "dense", max_shard_size=shard)
    keep = kept(model)
    (tmp_path / "narrow").mkdir()
    written = streaming.copy_weights(tmp_path / "dense", tmp_path / "narrow", keep, torch.float32)
    slicing.slice_mlps(model, keep)
    model.save_pretrained(tmp_path / "expected", max_shard_size="10GB")
    ours, theirs = tensors(tmp_path / "narrow"), tensors(tmp_path / "expected")
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(ours[name], theirs[name]) for name in ours)
    assert written == sum(t.nbytes for t in ours.values())
    names = [[file.name for file in weight_files(tmp_path / f)] for f in ("dense", "narrow")]
    assert names[0] == names[1] and (len(names[0]) > 1) == (shard == "40KB")
    shapes(tmp_path / "narrow")  # refuses files that are not as long as their headers say
    model.config.save_pretrained(tmp_path / "narrow")
    again = AutoModelForCausalLM.from_pretrained(tmp_path / "narrow", dtype="float32")
    assert glu.intermediate_size(again) == keep.shape[1]


def test_weights_are_rounded_to_another_dtype_as_transformers_does(tmp_path):
    model = llama()
    model.save_pretrained(tmp_path / "dense")
    (tmp_path / "narrow").mkdir()
    keep = kept(model)
    streaming.copy_weights(tmp_path / "dense", tmp_path / "narrow", keep, torch.bfloat16)
    rounded = AutoModelForCausalLM.from_pretrained(tmp_path / "dense", dtype=torch.bfloat16)
    slicing.slice_mlps(rounded, keep)
    ours = tensors(tmp_path / "narrow")
    for name, parameter in rounded.named_parameters():
        assert torch.equal(ours[name], parameter), name


def test_weights_without_one_of_the_three_projections_are_refused(tmp_path):
    model = llama()
    model.save_pretrained(tmp_path / "dense")
    file = tmp_path / "dense" / "model.safetensors"
    file.write_bytes(file.read_bytes().replace(b"layers.1.mlp.up_proj", b"layers.1.mlp.xy_proj"))
    with pytest.raises(ModelError, match="'dense': no gate, up and down weights in each"):
        streaming.copy_weights(tmp_path / "dense", tmp_path, kept(model), torch.float32)


KILLED = """
import signal, sys, time
signal.signal(signal.SIGINT, signal.default_int_handler)  # a job in the background ignores it
import torch
from pathlib import Path
from ppmlib.model import models
from ppmlib.prune import export, kept_neurons, slicing, streaming
from ppmlib.study_file.selection import Selection
loaded = models.load("bench-small", device="meta")
copy = streaming._copy_file
def slow(*arguments):
    copy(*arguments)
    print("written", flush=True)
    time.sleep(60)
streaming._copy_file = slow
scored = models.load("bench-small", device="cpu").model
keep = kept_neurons.choose_neurons(scored, Selection(pruning_ratio=0.4)).keep
export.export(loaded, keep, Path(sys.argv[1]), Selection(pruning_ratio=0.4))
"""


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_an_interrupted_export_leaves_nothing_under_its_name(tmp_path, how):
    command = [sys.executable, "-c", KILLED, str(tmp_path / "narrow")]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert process.stdout.readline() == "written\n"
    time.sleep(0.1)
    os.kill(process.pid, how)
    assert process.wait(30) != 0
    assert not (tmp_path / "narrow").exists()
    process.stdout.close()


def test_the_index_of_shards_says_how_many_bytes_there_are(tmp_path):
    model = llama()
    model.save_pretrained(tmp_path / "dense", max_shard_size="40KB")
    (tmp_path / "narrow").mkdir()
    written = streaming.copy_weights(
        tmp_path / "dense", tmp_path / "narrow", kept(model), torch.float32
    )
    index = json.loads((tmp_path / "narrow" / "model.safetensors.index.json").read_text())
    dense = json.loads((tmp_path / "dense" / "model.safetensors.index.json").read_text())
    assert index["metadata"]["total_size"] == written
    assert index["weight_map"] == dense["weight_map"]
