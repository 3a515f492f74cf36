"""What a generated response looks like, whatever its task: length and repetition."""

from collections.abc import Sequence

NGRAM_WORDS = 4


def repetition(response: str, *, n: int = NGRAM_WORDS) -> float:
    """Share of a response's word n-grams that it has written before: 0 is none, near 1 is a loop.

    1 - (distinct n-grams) / (n-grams), over the words between white space. A response of fewer
    than n words, the empty one included, has no n-gram and repeats nothing: 0.

    Source: seq-rep-n of Welleck et al. 2020, arXiv:1908.04319, with words for tokens, so that
    models of different tokenizers can be compared.
    """
    words = response.split()
    ngrams = [tuple(words[i : i + n]) for i in range(len(words) - n + 1)]
    return 1 - len(set(ngrams)) / len(ngrams) if ngrams else 0.0


def describe_responses(responses: Sequence[str]) -> dict[str, list]:
    """Columns of a per-document table: response_characters (Unicode) and response_repetition."""
    return {
        "response_characters": [len(response) for response in responses],
        "response_repetition": [repetition(response) for response in responses],
    }
