"""`engine: fast`: lm-eval's Hugging Face backend, computing nothing twice and nothing unread.

Requests, their tokens, truncation and what is returned are those of `RecordingLM`; only the order
in which the model sees them differs. Log-likelihood requests go through `PrefixEncoder`, greedy
generation through `Writer`; other generation goes through lm-eval's own, and the notes say so.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from lm_eval.models.utils import (
    handle_stop_sequences,
    normalize_gen_kwargs,
    postprocess_generated_text,
)

from ppmlib.evaluation import engines
from ppmlib.evaluation.fast.greedy import Writer, why_not
from ppmlib.evaluation.fast.head import head_of
from ppmlib.evaluation.fast.masks import Attention
from ppmlib.evaluation.fast.prefixes import PrefixEncoder, encode_alone, families
from ppmlib.evaluation.fast.scored import log_probabilities
from ppmlib.evaluation.harness import RecordingLM
from ppmlib.evaluation.samples import EvaluationError

# Tokens of one pass over sequences side by side: so few that attention to the others' tokens, which
# is masked but computed, stays below the work of the layers, and so many that asking a GPU for the
# layers does not take longer than they do. Separate rows take the most.
FEWEST_TOKENS, MOST_TOKENS = {"cpu": 256, "cuda": 2048}, {"cpu": 2048, "cuda": 8192}
PASS_PER_HIDDEN = 4
ALL_WINDOWS = 1 << 30


class FastLM(RecordingLM):
    """`RecordingLM` with shared prefixes encoded once and logits only where they are read.

    Raises:
        EvaluationError: for a model whose attention or head is not of the plain kind.
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.decoder = self.model.get_decoder()
        hidden = self.model.config.get_text_config().hidden_size
        kind = self.device.type if self.device.type in MOST_TOKENS else "cpu"
        most = MOST_TOKENS[kind]
        self.pass_tokens = min(max(PASS_PER_HIDDEN * hidden, FEWEST_TOKENS[kind]), most)
        self.row_tokens = most
        self._prepare()

    def begin(self) -> None:
        """Forget the notes of the task before."""
        super().begin()
        self._rows = self.batch_size  # of a pass; `loglikelihood_rolling` takes all windows at once
        self.engine_notes: dict[str, Any] = {
            "engine": "fast",
            "pass_tokens": self.pass_tokens,
            "row_tokens": self.row_tokens,
        }

    def _encoder(self, longest: int) -> PrefixEncoder:
        return PrefixEncoder(
            self.decoder,
            self.attention,
            self.model.config.get_text_config().num_hidden_layers,
            # No more than lm-eval's own batch would hold, however many sequences that are here.
            pass_tokens=min(self.pass_tokens, self._rows * longest),
            longest=longest,
        )

    def _prepare(self) -> None:
        """The model's attention and head; refuse what would not give lm-eval's numbers."""
        config = self.model.config.get_text_config()
        what = f"engine fast: {type(self.model).__name__}"
        if reason := engines.why_not_fast(config.to_dict()):
            raise EvaluationError(f"{what}: {reason}: set engine: plain")
        implementation = self.model.config._attn_implementation
        if implementation not in ("sdpa", "eager"):
            raise EvaluationError(f"{what}: attention without custom masks: set engine: plain")
        kinds = engines.layer_kinds(config)
        self.attention = Attention(
            kinds,
            config.sliding_window if engines.SLIDING in kinds else None,
            self.model.dtype if implementation == "eager" else None,
        )
        ids = torch.arange(8, device=self.device)[None] % config.vocab_size
        with torch.inference_mode():
            hidden, logits = self.decoder(ids).last_hidden_state, self.model(ids).logits
            self._head = head_of(self.model, hidden, logits)
        if self._head is None:
            raise EvaluationError(f"{what} changes the logits of its head: set engine: plain")

    def loglikelihood_rolling(self, requests, disable_tqdm=True):
        """lm-eval's own; all windows of all documents are handed over at once."""
        before, self.batch_size_per_gpu = self.batch_size_per_gpu, ALL_WINDOWS
        try:
            return super().loglikelihood_rolling(requests, disable_tqdm=disable_tqdm)
        finally:
            self.batch_size_per_gpu = before

    @torch.inference_mode()
    def _loglikelihood_tokens(self, requests, disable_tqdm=True, override_bs=None):
        """lm-eval's log-likelihoods: (sum of log-probabilities, whether greedy) per request."""
        self.note_requests(requests)
        numbers: dict[tuple[int, ...], int] = {}
        asking: list[list[int]] = []  # by sequence: its requests
        for number, (_, context, continuation) in enumerate(requests):
            assert 0 < len(continuation) <= self.max_length and context
            tokens = tuple((context + continuation)[-(self.max_length + 1) :][:-1])
            if numbers.setdefault(tokens, len(asking)) == len(asking):
                asking.append([])
            asking[numbers[tokens]].append(number)
        sequences = [np.array(tokens, dtype=np.int64) for tokens in numbers]
        answers = self._score(sequences, asking, [continuation for _, _, continuation in requests])
        for (text, _, _), answer in zip(requests, answers, strict=True):
            if text is not None:
                self.cache_hook.add_partial("loglikelihood", text, answer)
        return answers

    def _score(
        self, sequences, asking: list[list[int]], targets: list[list[int]]
    ) -> list[tuple[float, bool]]:
        longest = [max(len(targets[number]) for number in numbers) for numbers in asking]
        wanted = [len(s) - count for s, count in zip(sequences, longest, strict=True)]
        found: list[list[torch.Tensor]] = [[] for _ in targets]
        greedy = [True] * len(targets)

        def consume(hidden, parts):
            pieces, rows, tokens = [], [], []
            for part in parts:
                for number in asking[part.sequence]:
                    new, asked = self._asked(sequences, part, targets[number])
                    pieces.append((number, len(new)))
                    rows += new
                    tokens += asked
            if not rows:
                return
            logs, most = log_probabilities(
                self._head, hidden, np.array(rows), np.array(tokens), self.softmax_dtype
            )
            first = 0
            for number, count in pieces:
                found[number].append(logs[first : first + count])
                greedy[number] &= bool(most[first : first + count].all())
                first += count

        related, alone = [], []
        for family in families(sequences):
            apart = len(family) == 1 and len(sequences[family[0]]) <= self.row_tokens
            (alone if apart else related).extend(family)
        encoder = self._encoder(max((len(sequences[i]) for i in related), default=0))
        encoder.encode(sequences, wanted, consume, related)
        encode_alone(
            self.decoder,
            sequences,
            wanted,
            alone,
            consume,
            encoder.composition,
            pass_tokens=self.row_tokens,
            pass_rows=self._rows,
        )
        self._count(encoder)
        return [(float(torch.cat(f).sum()), g) for f, g in zip(found, greedy, strict=True)]

    @staticmethod
    def _asked(sequences, part, target: list[int]) -> tuple[list[int], list[int]]:
        """Of one request in one pass: rows of its tokens' hidden states, and the tokens."""
        after = len(sequences[part.sequence]) - len(part.path)  # tokens still to come
        # part.rows ends at the last token so far; the target's tokens end `after` later.
        end = len(target) - after
        count = min(len(part.rows), max(end, 0))
        return part.rows[len(part.rows) - count :], target[end - count : end]

    def _count(self, encoder: PrefixEncoder, **more: int) -> None:
        summary = encoder.composition.summary() | more
        self.largest_batch = max(self.largest_batch, summary["most_rows"])
        notes = self.engine_notes.setdefault("passes", {})
        for name, value in summary.items():
            together = max if name.startswith("most") else sum
            notes[name] = together((notes.get(name, 0), value))

    def generate_until(self, requests, disable_tqdm=True):
        """lm-eval's responses, greedy; afterwards `generated` holds (tokens, stopped)."""
        groups: dict[str, list[int]] = {}
        for number, request in enumerate(requests):
            groups.setdefault(repr(sorted(request.args[1].items())), []).append(number)
        plans = [self._plan(requests[numbers[0]].args[1]) for numbers in groups.values()]
        reasons = sorted({reason for *_, reason in plans if reason is not None})
        if reasons:
            self.engine_notes |= {"engine": "plain", "because": "; ".join(reasons)}
            return super().generate_until(requests, disable_tqdm=disable_tqdm)
        self._first_context = requests[0].args[0]
        responses: list[str] = [""] * len(requests)
        for numbers, (stop, new_tokens, _) in zip(groups.values(), plans, strict=True):
            contexts = [requests[number].args[0] for number in numbers]
            for number, text in zip(numbers, self._write(contexts, stop, new_tokens), strict=True):
                responses[number] = text
                self.cache_hook.add_partial("generate_until", requests[number].args, text)
        return responses

    def _plan(self, settings) -> tuple[list[str], int, str | None]:
        """Stop strings, most new tokens, and why lm-eval has to write itself, if it has to."""
        eos = self.tok_decode(self.eot_token_id, skip_special_tokens=False)
        request = normalize_gen_kwargs(settings, self.max_gen_toks)
        stop = handle_stop_sequences(request.pop("until", None), eos=eos)
        new_tokens = request.pop("max_gen_toks")
        return stop, new_tokens, why_not(self, request, stop)

    def _write(self, contexts: Sequence[str], stop: list[str], new_tokens: int) -> list[str]:
        room = self.max_length - new_tokens
        assert room > 0, f"{new_tokens} new tokens leave no room in {self.max_length}"
        prompts = []
        for context in contexts:
            ids, _ = self.tok_batch_encode(
                [context], left_truncate_len=room, truncation=self.truncation
            )
            if not ids.numel():
                raise EvaluationError("engine fast: a prompt without tokens: set engine: plain")
            prompts.append(ids[0].numpy())
        encoder = self._encoder(max(map(len, prompts)))
        writer = Writer(
            self, encoder, self._head, rows=self.batch_size, stop=stop, new_tokens=new_tokens
        )
        responses = [""] * len(contexts)

        def done(number: int, tokens: list[int]) -> None:
            self.generated[contexts[number]].append(self._ending(tokens, stop))
            text = self.tok_decode(tokens)
            responses[number] = postprocess_generated_text(text, stop, None)

        writer.write(prompts, done)
        self._count(encoder, most_rows=writer.most_rows, steps=writer.steps)
        self.largest_batch = max(self.largest_batch, writer.most_rows)
        return responses
