import json

import pandas as pd
import pytest

from ppmlib.record import records


def write(root, **changes):
    arguments = {"inputs": {"a": 1}, "results": {"b": 0.1}, "measured": {"wall_s": 2.0}}
    return records.write(root, "ppm/r0.40/2_pruning", **{**arguments, **changes})


def test_a_record_reads_back_as_it_was_written(tmp_path):
    written = write(tmp_path)
    assert records.read(tmp_path, "ppm/r0.40/2_pruning") == written
    assert list(records.read_stage(tmp_path, "2_pruning")) == ["ppm/r0.40/2_pruning"]


def test_measured_time_does_not_change_the_fingerprint_and_inputs_do(tmp_path):
    first = write(tmp_path)
    assert write(tmp_path, measured={"wall_s": 9.0})["fingerprint"] == first["fingerprint"]
    assert write(tmp_path, inputs={"a": 2})["fingerprint"] != first["fingerprint"]


def test_a_changed_number_is_noticed(tmp_path):
    write(tmp_path)
    path = records.record_path(tmp_path, "ppm/r0.40/2_pruning")
    path.write_text(path.read_text().replace("0.1", "0.2"))
    with pytest.raises(records.RecordError, match="changed after it was written"):
        records.read(tmp_path, "ppm/r0.40/2_pruning")


def test_a_changed_data_file_is_named(tmp_path):
    data = tmp_path / "samples" / "a.parquet"
    records.write_parquet(data, pd.DataFrame({"x": [1, 2]}))
    write(tmp_path, files=[data])
    data.write_bytes(b"other")
    with pytest.raises(records.RecordError, match="a.parquet: changed"):
        records.read(tmp_path, "ppm/r0.40/2_pruning")


def test_nan_never_reaches_a_record(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        write(tmp_path, results={"b": float("nan")})
    assert not list(tmp_path.rglob("*.json"))


def test_an_interrupted_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "a.json"
    records.write_json(path, {"old": 1})
    with pytest.raises(RuntimeError), records.atomic(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert json.loads(path.read_text()) == {"old": 1}
    assert list(tmp_path.iterdir()) == [path]


def test_verify_is_clean_and_then_names_the_one_changed_byte(tmp_path):
    write(tmp_path)
    page = tmp_path / "index.html"
    page.write_text("<p>page</p>")
    records.write_manifest(tmp_path)
    assert records.verify(tmp_path) == []
    page.write_text("<p>pAge</p>")
    assert records.verify(tmp_path) == ["index.html: changed"]
    (tmp_path / "extra.csv").write_text("")
    page.unlink()
    assert records.verify(tmp_path) == ["extra.csv: not in the manifest", "index.html: missing"]


def test_a_width_that_left_the_study_file_is_no_part_of_the_study(tmp_path):
    write(tmp_path)
    records.write_json(tmp_path / records.PLAN_FILE, {"jobs": {"ppm/r0.30/2_pruning": {}}})
    assert records.read_stage(tmp_path, "2_pruning") == {}
