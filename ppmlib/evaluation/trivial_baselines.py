"""Trivial baselines: lm-eval models that answer by a rule, without a model.

They run through a study's own tasks; their scores can be reached without any ability.

    constant         "the" to every prompt
    repeated_token   " the" until the limit of new tokens
    echo             the prompt
    empty            nothing
    uniform          one of a document's options at random, seeded
    majority         the position that is right most often among documents with as many options

The first four answer generation tasks, the other two multiple-choice tasks. Perplexity has none:
it is not an answer.
"""

import zlib
from collections import Counter, defaultdict, deque
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from lm_eval.api.model import LM
from lm_eval.models.utils import normalize_gen_kwargs

from ppmlib import bench
from ppmlib.evaluation.samples import CERTAIN, IMPOSSIBLE, EvaluationError
from ppmlib.evaluation.tasks import NEW_TOKENS, LoadedTask
from ppmlib.model import checkpoint, hashes, models
from ppmlib.study_file.selection import RESPONDERS, responder_slug

WORD = "the"
SEED = 0
WHAT = {
    "constant": f"answers `{WORD}` to every prompt",
    "repeated_token": f"writes ` {WORD}` again and again until it may write no more",
    "echo": "gives the prompt back",
    "empty": "answers nothing",
    "uniform": "picks one of the options at random",
    "majority": "picks the position that is right most often",
}

TASKS = {"generate_until": "no generation task", "multiple_choice": "no multiple-choice task"}


class Responder(LM):
    """A trivial baseline behind lm-eval's interface, with the notes that `harness` takes.

    Responses end where a model's would: at the first stop string of the task, or at its limit of
    new tokens, which the study's tokenizer counts.
    """

    batch_size = 1
    largest_batch = 1
    engine_notes = {"engine": "none"}
    truncated = 0
    bos_counts = None  # nothing is encoded for a model
    model_type = "ppmlib responder"

    def __init__(self, kind: str, tokenizer, *, max_length: int) -> None:
        super().__init__()
        self.kind, self.tokenizer, self.max_length = kind, tokenizer, max_length
        self.first_ids: list[int] = []
        self._prompts: dict[str, str] = {}
        self.begin()

    def begin(self) -> None:
        """Forget the notes of the task before."""
        self.generated: dict[str, deque[tuple[int, bool]]] = defaultdict(deque)
        self.positions: dict[int, int] = {}

    def prepare(self, task: LoadedTask, indices: Mapping[str, Sequence[int]] | None) -> str | None:
        """Get ready for a task; why it cannot be answered, or None if it can."""
        if task.output_type != RESPONDERS[self.kind]:
            return TASKS[RESPONDERS[self.kind]]
        if self.kind == "majority":
            self._majority = majority_positions(task, indices)
            if self._majority is None:
                return "no position is right in some documents and wrong in others"
        return None

    def loglikelihood(self, requests) -> list[tuple[float, bool]]:
        """All the probability on one option of each document, so that no length norm matters."""
        options: dict[tuple, list] = defaultdict(list)
        for request in requests:
            options[request.task_name, request.doc_id].append(request)
        chosen = {}
        for (task_name, doc_id), group in options.items():
            asked = [request for request in group if request.args[0] != ""] or group
            if self.kind == "majority":
                chosen[task_name, doc_id] = self._majority[len(asked)]
            else:
                seed = [SEED, zlib.crc32(task_name.encode()), doc_id]
                chosen[task_name, doc_id] = int(np.random.default_rng(seed).integers(len(asked)))
        answers = []
        for request in requests:
            picked = request.idx == chosen[request.task_name, request.doc_id]
            answers.append((CERTAIN if picked else IMPOSSIBLE, picked))
        return answers

    def loglikelihood_rolling(self, requests) -> list[float]:
        """Refused: a trivial baseline predicts no text."""
        raise EvaluationError(f"floor-{self.kind} has no perplexity")

    def generate_until(self, requests) -> list[str]:
        """The response to each prompt, cut as a model's would be."""
        return [self._response(*request.args) for request in requests]

    def _response(self, prompt: str, settings: Mapping[str, Any]) -> str:
        kwargs = normalize_gen_kwargs(dict(settings), NEW_TOKENS)
        limit, until = kwargs["max_gen_toks"], kwargs.get("until") or []
        until = [until] if isinstance(until, str) else until
        text = self.answer(self._prompts.get(prompt, prompt), limit)
        ids = self._encode(text)
        stopped = len(ids) < limit  # the end of text is a token too
        if not stopped:
            text = self.tokenizer.decode(ids[:limit], clean_up_tokenization_spaces=False)
        tokens = min(len(ids) + 1, limit)
        ends = [(text.find(stop), stop) for stop in until if stop and stop in text]
        if ends:
            at, stop = min(ends)
            tokens, stopped = len(self._encode(text[: at + len(stop)])), True
            text = text[:at]
        self.generated[prompt].append((tokens, stopped))
        return text

    def answer(self, prompt: str, limit: int) -> str:
        """The whole response to a user's prompt; `limit` is in tokens."""
        texts = {
            "constant": WORD,
            "repeated_token": f" {WORD}" * limit,
            "echo": prompt,
            "empty": "",
        }
        return texts[self.kind]

    def _encode(self, text: str) -> list[int]:
        return self.tokenizer.encode(text, add_special_tokens=False)

    def apply_chat_template(self, chat_history, add_generation_prompt: bool = True) -> str:
        """The tokenizer's template; `echo` gives back what the user said last."""
        rendered = self.tokenizer.apply_chat_template(
            chat_history,
            tokenize=False,
            add_generation_prompt=add_generation_prompt,
            continue_final_message=not add_generation_prompt,
        )
        self._prompts[rendered] = [m["content"] for m in chat_history if m["role"] == "user"][-1]
        return rendered

    @property
    def tokenizer_name(self) -> str:
        """For lm-eval's request cache, which is not used."""
        return self.tokenizer.name_or_path.replace("/", "__")


def majority_positions(
    task: LoadedTask, indices: Mapping[str, Sequence[int]] | None
) -> dict[int, int] | None:
    """The position that is right most often, by number of options; the lowest where several are.

    It is read from the targets of the evaluated documents themselves, so what it scores is the
    most that a fixed position can.

    Returns:
        None where the task has no such position: some target is not one position, or all targets
        are the same one (TruthfulQA lists the truth first, which no model is shown).
    """
    counts: dict[int, Counter] = defaultdict(Counter)
    for name, sub in task.tasks.items():
        for _, doc in sub.doc_iterator(samples=indices[name] if indices else None):
            target = sub.doc_to_text(doc) if sub.multiple_input else sub.doc_to_target(doc)
            if isinstance(target, str) and not sub.multiple_input:
                target = sub.doc_to_choice(doc).index(target)
            if isinstance(target, bool) or not isinstance(target, (int, np.integer)):
                return None
            counts[len(sub.doc_to_choice(doc))][int(target)] += 1
    if len({position for count in counts.values() for position in count}) < 2:
        return None
    return {
        options: min(count, key=lambda position: (-count[position], position))
        for options, count in counts.items()
    }


def load(kind: str, *, model: str, revision: str | None = None) -> models.Loaded:
    """A trivial baseline as `models.load` gives a model: the study's tokenizer and an identity.

    Raises:
        EvaluationError: for an unknown kind.
        ModelError: as `models.load_tokenizer`.
    """
    if kind not in RESPONDERS:
        raise EvaluationError(f"no trivial responder {kind!r}; there is: {', '.join(RESPONDERS)}")
    tokenizer, folder = models.load_tokenizer(model, revision=revision)
    identity = {
        "id": responder_slug(kind),
        "responder": kind,
        "seed": SEED if kind == "uniform" else None,
        "tokenizer_sha256": hashes.tokenizer_sha256(folder),
        "synthetic": model in bench.MODELS,
    }
    return models.Loaded(None, tokenizer, identity, folder)


def backend(loaded: models.Loaded, *, max_length: int | None) -> Responder:
    """The trivial baseline itself; its context limit is the model's where the study sets none."""
    config = checkpoint.text_config(checkpoint.read_json(loaded.folder / "config.json"))
    own = config.get("max_position_embeddings")
    if max_length is None and own is None:
        raise EvaluationError(
            f"{loaded.identity['id']}: the model's config.json has no max_position_embeddings; "
            "set max_length in the study"
        )
    limit = own if max_length is None else max_length
    return Responder(loaded.identity["responder"], loaded.tokenizer, max_length=limit)
