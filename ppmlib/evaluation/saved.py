"""One task's result in a study's folder: saved at once, reused while its fingerprint fits."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ppmlib.record import records
from ppmlib.record.evaluation_records import STAGE, task_slug


@dataclass(frozen=True)
class SavedTask:
    """The files `<root>/samples/<run>/<task>.{parquet,json,lm-eval.json}` of one task."""

    root: Path
    run: str
    task: str

    def file(self, kind: str) -> Path:
        """The file of this ending."""
        return Path(self.root, "samples", self.run, f"{task_slug(self.task)}.{kind}")

    @property
    def files(self) -> list[Path]:
        """The documents' outcomes and lm-eval's own results."""
        return [self.file("parquet"), self.file("lm-eval.json")]

    def read(self, inputs: Mapping[str, Any]) -> dict[str, Any] | None:
        """The result if it is undamaged and of these inputs' fingerprint, else None."""
        try:
            stored = records.read_json(self.file("json"))
        except records.RecordError:
            return None
        if not isinstance(stored, dict) or stored.get("sha256", _own(stored)) != _own(stored):
            return None
        if stored.get("fingerprint") != records.fingerprint(_full(inputs)):
            return None
        for name, digest in stored["files"].items():
            file = self.file("json").with_name(name)
            if not file.is_file() or records.sha256_file(file) != digest:
                return None
        return stored

    def write(self, inputs: Mapping[str, Any], measured, identity) -> dict[str, Any]:
        """Save a `taskrun.Measured`, the file that declares it complete last."""
        parquet, plain = self.files
        records.write_parquet(parquet, measured.table)
        source = "ppmlib" if "responder" in identity else "hf"
        model_name = {"model_source": source, "model_name": identity["id"]}
        records.write_json(plain, {**measured.lm_eval, **model_name})
        full = _full(inputs)
        stored = {
            "fingerprint": records.fingerprint(full),
            "inputs": full,
            "rows": measured.rows,
            "task": {**inputs["task"], **measured.notes},
            "files": {file.name: records.sha256_file(file) for file in self.files},
        }
        records.write_json(self.file("json"), {**stored, "sha256": _own(stored)})
        return records.read_json(self.file("json"))


def _full(inputs: Mapping[str, Any]) -> dict[str, Any]:
    version = records.STAGE_VERSIONS[STAGE]
    return {**inputs, "stage_version": version, "versions": records.package_versions()}


def _own(stored: Mapping[str, Any]) -> str:
    """The hash of a saved result's own content."""
    return records.fingerprint({n: value for n, value in stored.items() if n != "sha256"})
