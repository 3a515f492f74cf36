"""The job that tunes a noise control: its notebook, its parameters, the text it needs."""

from pathlib import Path
from typing import Any

from ppmlib.prune import calibration
from ppmlib.study_file.params import ParamsError, Run, Study

NOTEBOOK = "2_noise"


def calibration_file(study: Study, source: Path) -> Path | None:
    """The study's calibration file, relative to the folder of the study file; None for no file."""
    return study.calibration and source / Path(study.calibration.file).expanduser()


def static(study: Study, study_file: Path, file: Path | None) -> dict[str, Any]:
    """What of the calibration text re-runs the job when it changes.

    Raises:
        ParamsError: if the file cannot be read or holds no text.
    """
    try:
        text = calibration.load(file and str(file), model=study.model.id)
    except calibration.CalibrationError as error:
        raise ParamsError(f"{study_file}: calibration: {error}") from None
    return {"calibration": text.described()}


def parameters(study: Study, run: Run, file: str | None) -> dict[str, Any]:
    """Parameters of the notebook, without the model's and the criterion that is matched."""
    return {
        "seed": run.seed,
        "pruning_ratio": run.pruning_ratio,
        "expansion_ratio": run.expansion_ratio,
        "keep_multiple_of": study.keep_multiple_of,
        "calibration_file": file or "",
        "add_bos_token": study.add_bos_token,
        "batch_size": study.batch_size,
        "max_length": study.max_length,
        "softmax_dtype": study.softmax_dtype,
    }
