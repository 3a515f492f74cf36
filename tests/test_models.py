import json
import shutil
import subprocess
import sys

import huggingface_hub
import pytest
import torch

from ppmlib import bench
from ppmlib.model import checkpoint, hashes, models
from ppmlib.record import records

COMMIT = "4e20de362430cd3b72f300e6b0f18e50e7166e08"


@pytest.fixture
def folder(tmp_path):
    """A copy of the small bench model that a test may damage."""
    return shutil.copytree(bench.model_dir("bench-small"), tmp_path / "a-model")


def change_json(path, **changes):
    path.write_text(json.dumps(records.read_json(path) | changes))


@pytest.fixture
def hub_cache(tmp_path, monkeypatch, folder):
    """A hub cache that holds the folder as `someone/a-model`, and no network."""
    cache = tmp_path / "hub"
    repo = cache / "models--someone--a-model"
    (repo / "refs").mkdir(parents=True)
    (repo / "blobs").mkdir()
    (repo / "refs" / "main").write_text(COMMIT)
    snapshot = repo / "snapshots" / COMMIT
    snapshot.mkdir(parents=True)
    for file in folder.iterdir():
        blob = repo / "blobs" / records.sha256_file(file)
        shutil.copyfile(file, blob)
        (snapshot / file.name).symlink_to(blob)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(cache))
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    return snapshot


def test_a_packaged_model_loads_ready_to_use():
    loaded = models.load("bench-small", device="cpu")
    assert not loaded.model.training
    identity = loaded.identity
    assert identity["id"] == "bench-small" and identity["synthetic"]
    assert identity["attn_implementation"] == "sdpa" and identity["dtype"] == "float32"
    assert identity["threads"] == torch.get_num_threads()
    assert records.canonical(identity)


def test_a_folder_is_known_by_its_name_alone(folder):
    identity = models.load(str(folder), device="cpu").identity
    assert identity["id"] == "a-model" and identity["revision"] is None
    assert str(folder.parent) not in records.canonical(identity)
    packaged = models.load("bench-small", device="cpu").identity
    assert identity["weights_sha256"] == packaged["weights_sha256"]
    assert not identity["synthetic"]


def test_a_hub_id_is_found_in_the_cache_without_a_network(hub_cache):
    for revision in (None, "main", COMMIT):
        loaded = models.load("someone/a-model", revision=revision, device="cpu")
        assert loaded.identity["id"] == "someone/a-model"
        assert loaded.identity["revision"] == COMMIT
    same = hashes.weights_sha256(bench.model_dir("bench-small"))
    assert loaded.identity["weights_sha256"] == same


def test_a_hub_id_outside_the_cache_says_what_to_do(hub_cache):
    with pytest.raises(models.ModelError, match="cannot be reached.*hf download someone/"):
        models.locate("someone/another-model")
    with pytest.raises(models.ModelError, match="cannot be reached.*hf download someone/"):
        models.locate("someone/a-model", "0" * 40)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("bench-smal", "use a packaged one \\(bench, bench-small\\)"),
        ("./no-such-folder", "there is no folder"),
        ("/no/such/folder", "there is no folder"),
        ("C:\\models\\x", "there is no folder"),
    ],
)
def test_a_model_that_is_not_there_is_refused_in_one_line(name, reason):
    with pytest.raises(models.ModelError, match=reason) as refusal:
        models.load(name)
    assert "\n" not in str(refusal.value)


def test_a_revision_of_a_folder_is_refused():
    with pytest.raises(models.ModelError, match="remove revision 'main'"):
        models.locate("bench", "main")


def test_rotary_buffers_stay_in_float32_when_the_weights_are_bfloat16():
    loaded = models.load("bench-small", device="cpu", dtype="bfloat16")
    assert {p.dtype for p in loaded.model.parameters()} == {torch.bfloat16}
    whole = models.load("bench-small", device="cpu").model.model.rotary_emb.inv_freq
    assert torch.equal(loaded.model.model.rotary_emb.inv_freq, whole)


def test_an_unknown_dtype_is_refused():
    with pytest.raises(models.ModelError, match="unknown dtype 'int8'"):
        models.load("bench-small", dtype="int8")


def test_pickled_weights_are_refused(folder):
    (folder / "model.safetensors").unlink()
    (folder / "pytorch_model.bin").write_bytes(b"pickle")
    with pytest.raises(models.ModelError, match="pickled weights only"):
        models.load(str(folder))


def test_missing_parts_are_named(folder):
    (folder / "model.safetensors").rename(folder / "m-1.safetensors")
    with pytest.raises(
        models.ModelError, match="no safetensors weights .model.safetensors missing"
    ):
        models.load(str(folder))
    weight_map = {"a": "m-1.safetensors", "b": "m-2.safetensors"}
    (folder / checkpoint.WEIGHTS_INDEX).write_text(json.dumps({"weight_map": weight_map}))
    with pytest.raises(models.ModelError, match="incomplete: m-2.safetensors missing"):
        models.load(str(folder))
    (folder / "config.json").unlink()
    with pytest.raises(models.ModelError, match="no config.json"):
        models.load(str(folder))


def test_weights_of_another_shape_or_missing_are_not_made_up(folder):
    change_json(folder / "config.json", intermediate_size=100)
    with pytest.raises(models.ModelError, match="another shape: .*down_proj"):
        models.load(str(folder))
    layers = records.read_json(bench.model_dir("bench-small") / "config.json")["num_hidden_layers"]
    shutil.copyfile(bench.model_dir("bench-small") / "config.json", folder / "config.json")
    change_json(folder / "config.json", num_hidden_layers=layers + 1)
    with pytest.raises(models.ModelError, match="weights missing"):
        models.load(str(folder))


def test_remote_code_is_never_run(folder):
    change_json(
        folder / "config.json",
        model_type="my_own",
        auto_map={
            "AutoConfig": "code.MyConfig",
            "AutoModelForCausalLM": "code.MyModel",
        },
    )
    (folder / "code.py").write_text("raise SystemExit('remote code ran')\n")
    with pytest.raises(models.ModelError, match="cannot be loaded"):
        models.load(str(folder))


def test_quantised_models_are_refused_before_loading(folder):
    change_json(folder / "config.json", quantization_config={"quant_method": "gptq"})
    with pytest.raises(models.ModelError, match="quantised"):
        models.locate(str(folder))


def test_a_tokenizer_with_more_tokens_than_the_model_embeds_is_refused(folder):
    tokenizer = records.read_json(folder / "tokenizer.json")
    used = [*tokenizer["model"]["vocab"].values(), *(t["id"] for t in tokenizer["added_tokens"])]
    tokenizer["model"]["vocab"] |= {f"extra{n}": max(used) + n for n in range(1, 5000)}
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer))
    with pytest.raises(models.ModelError, match="do not belong together"):
        models.load(str(folder), device="cpu")


def test_hashes_notice_weights_tokenizer_and_configuration(folder):
    before = [f(folder) for f in (
        hashes.weights_sha256, hashes.tokenizer_sha256, hashes.config_sha256)]  # fmt: skip
    change_json(folder / "config.json", transformers_version="0")
    assert hashes.config_sha256(folder) == before[2]
    change_json(folder / "config.json", rms_norm_eps=0.5)
    with open(folder / "model.safetensors", "ab") as handle:
        handle.write(b"x")
    (folder / "tokenizer_config.json").write_text("{}")
    assert hashes.weights_sha256(folder) != before[0]
    assert hashes.tokenizer_sha256(folder) != before[1]
    assert hashes.config_sha256(folder) != before[2]


def test_locating_and_hashing_need_neither_torch_nor_transformers():
    code = (
        "import sys; from ppmlib.model import hashes, models;"
        "hashes.weights_sha256(models.locate('bench'));"
        "assert not {'torch', 'transformers'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
