"""Calibration text: text of no evaluated task, on which damage is measured and matched."""

import hashlib
import math
import random
import re
from dataclasses import dataclass
from pathlib import Path

from ppmlib import bench

BENCH_TEXTS = 100
BENCH_SEED = 0


class CalibrationError(Exception):
    """Calibration text is missing or cannot be used; the message says what to do."""


@dataclass(frozen=True)
class Text:
    """Documents to compute a perplexity on; `name` is their source."""

    name: str
    documents: tuple[str, ...]

    @property
    def words(self) -> int:
        """Words between white space, counted as lm-eval's perplexity tasks do."""
        return sum(len(re.split(r"\s+", document)) for document in self.documents)

    def describe(self) -> dict[str, str | int]:
        """For a record: name, documents, words and a SHA-256 of all documents."""
        digest = hashlib.sha256("\0".join(self.documents).encode()).hexdigest()
        return {
            "name": self.name,
            "documents": len(self.documents),
            "words": self.words,
            "sha256": digest,
        }


def load_text(file: str | None, *, model: str) -> Text:
    """The calibration text of a study: the user's file, or for a bench model its world's text.

    Args:
        file: UTF-8 text; documents are separated by empty lines.
        model: a packaged model needs no file.
    Raises:
        CalibrationError: if there is no file, or it holds no text.
    """
    if file:
        return _read(Path(file))
    if model in bench.MODELS:
        return make_bench_text()
    raise CalibrationError(
        "there is no calibration text for this model: name one in the study file, "
        "`calibration: {file: my_text.txt}`, with no document of an evaluated task"
    )


def _read(path: Path) -> Text:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise CalibrationError(f"{path.name}: cannot be read ({error.strerror})") from None
    except UnicodeDecodeError:
        raise CalibrationError(f"{path.name}: is not UTF-8 text") from None
    documents = [part.strip() for part in re.split(r"\n\s*\n", text) if part.strip()]
    if not documents:
        raise CalibrationError(f"{path.name}: holds no text")
    return Text(path.name, tuple(documents))


def make_bench_text() -> Text:
    """Plain text of the bench world that neither training nor any task has."""
    from ppmlib.bench import prose
    from ppmlib.bench.documents import build_documents
    from ppmlib.bench.world import build_world, held_out

    world = build_world(0)
    evaluated = {document["text"] for document in build_documents(world, 0)["text"]}
    generator = random.Random(f"calibration {BENCH_SEED}")
    found: dict[str, None] = {}
    while len(found) < BENCH_TEXTS:
        text = prose.draw_text(generator, world)
        if held_out(text) and text not in evaluated:
            found[text] = None
    return Text("held-out text of the bench world", tuple(found))


def log_perplexity(lm, text: Text) -> float:
    """Natural logarithm of a model's word perplexity on a text, each document separately.

    Args:
        lm: a backend of `evaluation.harness`; the log-likelihoods are lm-eval's rolling ones.
    Raises:
        CalibrationError: if it is not finite.
    """
    import torch
    from lm_eval.api.instance import Instance

    from ppmlib.model.quiet import quiet_libraries

    requests = [
        Instance("loglikelihood_rolling", {}, (document,), 0, metadata=("calibration", i, 1))
        for i, document in enumerate(text.documents)
    ]
    lm.begin()
    with quiet_libraries(), torch.inference_mode():
        total = sum(lm.loglikelihood_rolling(requests, disable_tqdm=True))
    value = -total / text.words
    if not math.isfinite(value):
        raise CalibrationError(f"the word perplexity on {text.name} is not finite")
    return value
