"""Documents and scoring of the bench tasks. Stands alone: lm-eval loads it by its path."""

import json
import math
from pathlib import Path

import datasets


def load(file: str, **_) -> dict[str, datasets.Dataset]:
    """The test split of `data/<file>` beside this module; nothing is cached on disk."""
    lines = (Path(__file__).parent / "data" / file).read_text(encoding="utf-8").splitlines()
    return {"test": datasets.Dataset.from_list([json.loads(line) for line in lines])}


def _bare(response: str) -> list[str]:
    """The response's words in lower case, without commas and quotes."""
    return response.replace(",", " ").replace('"', " ").lower().split()


def follows(instruction: str, response: str, words: list[str]) -> bool:
    """Whether a response follows one instruction; KeyError for an unknown one.

    copy, repeat, reverse and sort ask for the words in the right order, whatever their form;
    capitals, commas and quotes ask for a form, whatever the words.
    """
    response = response.strip()
    parts = response.strip('"').split()
    checks = {
        "capitals": response.isupper(),
        "commas": len(parts) > 1
        and all(part.endswith(",") for part in parts[:-1])
        and response.count(",") == len(parts) - 1,
        "quotes": len(response) > 2
        and response.startswith('"')
        and response.endswith('"')
        and response.count('"') == 2,
    }
    in_order = _bare(response) == words
    checks |= dict.fromkeys(("copy", "repeat", "reverse", "sort"), in_order)
    return checks[instruction]


def loose_variants(response: str) -> list[str]:
    """IFEval's loose reading: without asterisks, without the first line, the last line, or both."""
    lines = response.split("\n")
    cuts = (lines, lines[1:], lines[:-1], lines[1:-1])
    texts = ["\n".join(cut).strip() for cut in cuts]
    return texts + [text.replace("*", "") for text in texts]


def score_instructions(doc: dict, results: list[str]) -> dict[str, bool | list[bool]]:
    """Strict and loose, per prompt and per instruction, with IFEval's four names."""
    ids, words = doc["instruction_id_list"], doc["words"]
    strict = [follows(name, results[0], words) for name in ids]
    variants = loose_variants(results[0])
    loose = [any(follows(name, text, words) for text in variants) for name in ids]
    return {
        "prompt_level_strict_acc": all(strict),
        "inst_level_strict_acc": strict,
        "prompt_level_loose_acc": all(loose),
        "inst_level_loose_acc": loose,
    }


def mean_of_flat(items: list[list[bool]]) -> float:
    """Mean over all instructions of all documents."""
    flat = [item for sublist in items for item in sublist]
    return sum(flat) / len(flat)


def score_exact(doc: dict, results: list[str]) -> dict[str, float]:
    """1.0 if the response, without surrounding space, is the answer."""
    return {"exact_match": float(results[0].strip() == doc["answer"])}


def score_mc2(doc: dict, results: list[tuple[float, bool]]) -> dict[str, float]:
    """Share of the probability that falls on the true answers, as in TruthfulQA's MC2."""
    top = max(loglikelihood for loglikelihood, _ in results)
    masses = [math.exp(loglikelihood - top) for loglikelihood, _ in results]
    true = sum(mass for mass, label in zip(masses, doc["mc2_labels"], strict=True) if label)
    return {"acc": true / sum(masses)}


def within_limit(limit: str, response: str) -> bool:
    """Whether a response is not empty and keeps a limit on form; KeyError for an unknown one."""
    kept = {"no_comma": "," not in response, "no_capitals": response == response.lower()}
    return bool(response.strip()) and kept[limit]


def score_trap(doc: dict, results: list[str]) -> dict[str, float]:
    """1.0 if the response keeps the limit: it need not answer the question."""
    return {"acc": float(within_limit(doc["limit"], results[0]))}
