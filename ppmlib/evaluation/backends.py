"""lm-eval's backend of a model: `plain` is its Hugging Face one, `fast` shares prefixes."""

import torch

from ppmlib.evaluation.fast_lm import FastLM
from ppmlib.evaluation.harness import RecordingLM
from ppmlib.evaluation.protocol import CHAT_DATE
from ppmlib.evaluation.samples import EvaluationError
from ppmlib.model.checkpoint import count_not_finite
from ppmlib.model.quiet import quiet_libraries

ENGINES = {"plain": RecordingLM, "fast": FastLM}


def load(
    model,
    tokenizer,
    *,
    batch_size: int,
    add_bos_token: bool,
    max_length: int | None = None,
    softmax_dtype: str | None = None,
    engine: str = "plain",
) -> RecordingLM:
    """lm-eval's backend of one model; the batch size is set on it, where lm-eval reads it.

    Raises:
        EvaluationError: if the backend did not take the batch size, or the engine cannot run the
            model, or its logits are not finite.
    """
    if engine not in ENGINES:
        raise EvaluationError(f"no engine {engine!r}; there is {' and '.join(ENGINES)}")
    _check_logits(model)
    with quiet_libraries():
        lm = ENGINES[engine](
            pretrained=model,
            tokenizer=tokenizer,
            batch_size=batch_size,
            add_bos_token=add_bos_token,
            max_length=max_length,
            softmax_dtype=softmax_dtype,
            chat_template_args={"date_string": CHAT_DATE},
        )
    if lm.batch_size != batch_size:
        raise EvaluationError(f"lm-eval runs batches of {lm.batch_size}, not {batch_size}")
    return lm


def _check_logits(model) -> None:
    """EvaluationError, with the cause, unless the logits of a few tokens are finite."""
    if model.device.type == "meta":
        return
    ids = torch.arange(8, device=model.device)[None] % model.config.get_text_config().vocab_size
    with torch.no_grad():
        if model(ids).logits.isfinite().all():
            return
    what = f"{type(model).__name__}: its logits are not finite"
    for name, weights in model.named_parameters():
        if count := count_not_finite(weights):
            raise EvaluationError(f"{what}: {name} has {count}: fetch or convert the weights again")
    raise EvaluationError(
        f"{what} although its weights are: {str(model.dtype).removeprefix('torch.')} overflows "
        "along the way: set model.dtype to another one, such as bfloat16 or float32"
    )
