"""Whether prompts start with the BOS that a model was trained with.

Without it a sound model can look ruined: Gemma's LAMBADA perplexity is then in the billions.
"""

from collections.abc import Collection

FAMILIES_WITH_BOS = ("gemma", "gemma2", "gemma3_text", "gemma3n_text")


def why_bos(tokenizer, family: str, *, chat: bool) -> str | None:
    """Why prompts should start with a BOS; None where nothing asks for one.

    Args:
        tokenizer: a Hugging Face tokenizer.
        family: the model's `model_type`.
        chat: whether prompts are rendered with the chat template.
    """
    bos = tokenizer.bos_token
    if bos is None:
        return None
    template = tokenizer.chat_template or ""
    if chat and ("bos_token" in template or template.startswith(bos)):
        return "the chat template writes one"
    if tokenizer("a")["input_ids"][:1] == [tokenizer.bos_token_id]:
        return "the tokenizer adds one"
    if family in FAMILIES_WITH_BOS:
        return f"models of the family {family} are trained with one"
    return None


def bos_warning(counts: Collection[int] | None, reason: str | None) -> str | None:
    """What is wrong with the number of BOS at the start of prompts; None if nothing is.

    Args:
        counts: how many BOS prompts start with; None where that is not known.
        reason: as `why_bos` gives it.
    """
    if counts and max(counts) > 1:
        return f"prompts start with {max(counts)} BOS tokens"
    if counts and reason and min(counts) == 0:
        return f"prompts start without a BOS, but {reason}"
    return None
