"""GGUF files as models: dequantised once, refused in a line."""

import os

import pytest
import torch
from gguf import GGMLQuantizationType as Kind
from gguf_files import write_gguf
from small_study import TINY, write_study
from transformers import AutoModelForCausalLM, AutoTokenizer, GgufConfig

from ppmlib.model import checkpoint, gguf_source, models
from ppmlib.model.checkpoint import ModelError
from ppmlib.record import records
from ppmlib.study_file.params import ParamsError, Study
from ppmlib.workflow import plan


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HOME", str(tmp_path / "hf"))
    return tmp_path / "hf"


@pytest.fixture
def file(tmp_path):
    return write_gguf(tmp_path / "tiny.Q8_0.gguf")


def test_the_folder_computes_what_transformers_own_gguf_loading_does(file):
    folder = gguf_source.dequantise(file, "./tiny.Q8_0.gguf")
    checkpoint.check(folder, "tiny")
    source = gguf_source.read_source(folder)
    assert (source.file, source.file_type, source.architecture) == (file.name, "Q8_0", "llama")

    theirs = AutoModelForCausalLM.from_pretrained(
        file.parent,
        gguf_file=file.name,
        dtype=torch.float32,
        quantization_config=GgufConfig(dequantize=True),
    )
    ours = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    other = AutoTokenizer.from_pretrained(file.parent, gguf_file=file.name)
    assert tokenizer.chat_template == other.chat_template != None  # noqa: E711
    given = tokenizer("The cat sat on a mat", return_tensors="pt")["input_ids"]
    assert (
        given.tolist() == other("The cat sat on a mat", return_tensors="pt")["input_ids"].tolist()
    )
    assert torch.equal(ours(given).logits, theirs(given).logits)
    written = [m.generate(given, max_new_tokens=12, do_sample=False) for m in (ours, theirs)]
    assert torch.equal(*written)


def test_a_file_is_dequantised_once_and_again_when_it_changes(file, capsys):
    folder = gguf_source.dequantise(file, "tiny")
    assert "dequantising Q8_0 weights once" in capsys.readouterr().out
    made = (folder / "model.safetensors").stat().st_mtime_ns
    assert gguf_source.dequantise(file, "tiny") == folder
    assert (folder / "model.safetensors").stat().st_mtime_ns == made
    assert capsys.readouterr().out == ""

    write_gguf(file, kind=Kind.Q4_0)
    assert gguf_source.dequantise(file, "tiny") != folder


def test_a_conversion_that_was_stopped_leaves_nothing(file, cache, monkeypatch):
    def stopped(*args):
        args[1].mkdir()
        (args[1] / "model.safetensors").write_bytes(b"half")
        raise KeyboardInterrupt

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(gguf_source, "_convert", stopped)
        gguf_source.dequantise(file, "tiny")
    assert not [name for *_, names in os.walk(cache) for name in names]
    checkpoint.check(gguf_source.dequantise(file, "tiny"), "tiny")


def test_what_cannot_be_read_is_refused_in_a_line(tmp_path, file):
    whole = file.read_bytes()
    cases = {
        "'x' is damaged or not GGUF": whole[: len(whole) * 2 // 3],
        "'x' is damaged or not GGUF (GGUF magic invalid)": b"not a model" * 100,
        "'x' is damaged or not GGUF (": whole[:40],
    }
    for message, content in cases.items():
        file.write_bytes(content)
        with pytest.raises(ModelError) as refused:
            gguf_source.dequantise(file, "x")
        assert str(refused.value).startswith(message) and "\n" not in str(refused.value)
    with pytest.raises(ModelError, match="'x': there is no such file"):
        gguf_source.dequantise(tmp_path / "none.gguf", "x")

    bare = write_gguf(tmp_path / "bare.gguf", with_tokenizer=False)
    with pytest.raises(ModelError, match="'x' carries no tokenizer"):
        gguf_source.dequantise(bare, "x")
    other = write_gguf(tmp_path / "other.gguf", architecture="clip")
    with pytest.raises(ModelError, match="'x': transformers cannot read GGUF files of 'clip'"):
        gguf_source.dequantise(other, "x")
    with pytest.raises(ModelError, match=r"has the sha256 \w{64}, not abc: fetch it again"):
        gguf_source.dequantise(bare, "x", sha256="abc")


def test_a_study_of_a_gguf_file_names_its_quantisation_and_hash(tmp_path, file):
    folder = tmp_path / "params"
    folder.mkdir()
    file.rename(folder / file.name)
    path = write_study(folder, TINY, model={"id": f"./{file.name}"}, floors=[])
    root = tmp_path / "reports"
    planned = plan.build(Study.load(path), path, root)
    assert planned["study"]["model"]["id"] == "tiny.Q8_0 (dequantised from Q8_0)"
    assert planned["study"]["engine"] == "fast"
    loaded = models.load(str(planned["located"]))
    assert models.weights_identity(loaded.identity) | {"gguf_sha256": None} == {
        "id": "tiny.Q8_0 (dequantised from Q8_0)",
        "revision": None,
        "dtype": "float32",
        "weights_sha256": loaded.identity["weights_sha256"],
        "config_sha256": loaded.identity["config_sha256"],
        "gguf_sha256": None,
    }
    assert loaded.identity["gguf_sha256"] == records.sha256_file(folder / file.name)

    wrong = write_study(folder, TINY, model={"id": f"./{file.name}", "sha256": "0" * 64}, floors=[])
    with pytest.raises(ModelError, match=r"has the sha256 \w{64}, not 0{64}: fetch it again"):
        plan.build(Study.load(wrong), wrong, root)
    with pytest.raises(ParamsError, match="sha256 is that of a GGUF file"):
        Study.load(write_study(folder, TINY, model={"id": "bench", "sha256": "0" * 64}))
    lost = write_study(folder, TINY, model={"id": "./none.gguf"}, floors=[])
    with pytest.raises(ParamsError, match="there is no file './none.gguf'"):
        plan.build(Study.load(lost), lost, root)
    inside = write_study(folder, TINY, model={"id": "../params"}, floors=[])
    with pytest.raises(ModelError, match=r"GGUF file itself: ../params/tiny.Q8_0"):
        plan.build(Study.load(inside), inside, root)
