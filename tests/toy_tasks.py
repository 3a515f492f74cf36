"""Small lm-eval tasks over local JSONL, of every kind that an evaluation meets."""

import json
from pathlib import Path
from textwrap import dedent

ANIMALS = ("cat", "dog", "bird", "fish", "cow", "fox", "bear")

CHOICE = """
task: {name}
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}}}}}
test_split: test
output_type: multiple_choice
doc_to_text: "Question: {{{{question}}}}\\nAnswer:"
doc_to_choice: choices
doc_to_target: gold
metric_list:
  - {{metric: acc, aggregation: mean, higher_is_better: true}}
  - {{metric: acc_norm, aggregation: mean, higher_is_better: true}}
metadata: {{version: 2.0}}
"""
GENERATE = """
task: {name}
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}}}}}
test_split: test
output_type: generate_until
doc_to_text: "{{{{question}}}}"
doc_to_target: answer
generation_kwargs: {{until: ["."], do_sample: false, max_gen_toks: {max_gen_toks}}}
filter_list:
  - name: first-word
    filter:
      - {{function: regex, regex_pattern: "(\\\\w+)"}}
      - {{function: take_first}}
  - name: whole
    filter:
      - {{function: take_first}}
metric_list:
  - {{metric: exact_match, aggregation: mean, higher_is_better: true, ignore_case: true}}
metadata: {{version: 1.0}}
"""
TEXT = """
task: {name}
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}}}}}
test_split: test
output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: text
metric_list:
  - {{metric: word_perplexity}}
  - {{metric: byte_perplexity}}
  - {{metric: bits_per_byte}}
metadata: {{version: 1.0}}
"""
LAST_WORD = """
task: {name}
dataset_path: json
dataset_kwargs: {{data_files: {{test: {data}}}}}
test_split: test
output_type: loglikelihood
doc_to_text: question
doc_to_target: " {{{{answer}}}}"
metric_list:
  - {{metric: perplexity, aggregation: perplexity, higher_is_better: false}}
  - {{metric: acc, aggregation: mean, higher_is_better: true}}
metadata: {{version: 1.0}}
"""
GROUP = """
group: {name}
task: [{members}]
aggregate_metric_list:
  - {{metric: acc, weight_by_size: {weighted}}}
metadata: {{version: 3.0}}
"""
# As lm-eval's wikitext: words counted in another text than the one that is scored.
PAGES = """
def score(doc, results):
    return {"word_perplexity": (results[0], 2 * len(doc["text"].split()))}
"""


def _write(folder: Path, name: str, template: str, documents: list[dict], **values) -> None:
    data = folder / f"{name}.jsonl"
    data.write_text("".join(json.dumps(document) + "\n" for document in documents))
    text = template.format(name=name, data=data, **values)
    (folder / f"{name}.yaml").write_text(dedent(text))


def write_tasks(folder: Path) -> Path:
    """Write toy_choice, toy_generate, toy_text, toy_last, toy_group, toy_mean into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    choices = [
        {"question": f"Who sees the {a}?", "choices": [b, "the sun", f"a {a}"], "gold": i % 3}
        for i, (a, b) in enumerate(zip(ANIMALS * 4, ANIMALS[::-1] * 4, strict=True))
    ]
    _write(folder, "toy_choice", CHOICE, choices)
    _write(folder, "toy_left", CHOICE, choices[:5])
    _write(
        folder, "toy_right", CHOICE, [dict(c, choices=c["choices"][:2], gold=0) for c in choices]
    )
    for name, weighted in (("toy_group", "true"), ("toy_mean", "false")):
        text = GROUP.format(name=name, members="toy_left, toy_right", weighted=weighted)
        (folder / f"{name}.yaml").write_text(text)
    answers = ("park", "tree", "park", "house", "sea", "tree", "he")
    stories = [
        {"question": f"Once upon a time there was a {a}. The {a} went to the", "answer": answer}
        for a, answer in zip(ANIMALS, answers, strict=True)
    ]
    _write(folder, "toy_generate", GENERATE, stories, max_gen_toks=12)
    _write(folder, "toy_long", GENERATE, stories, max_gen_toks=512)
    _write(folder, "toy_last", LAST_WORD, stories)
    texts = [{"text": f"The {a} ran. " * (i + 1)} for i, a in enumerate(ANIMALS)]
    _write(folder, "toy_text", TEXT, texts)
    pages = (folder / "toy_text.yaml").read_text().replace("toy_text\n", "toy_pages\n", 1)
    (folder / "toy_pages.yaml").write_text(pages + "process_results: !function toy_pages.score\n")
    (folder / "toy_pages.py").write_text(PAGES)
    (folder / "toy_empty.yaml").write_text(
        CHOICE.format(name="toy_empty", data=folder / "toy_empty.jsonl")
    )
    (folder / "toy_empty.jsonl").write_text("")
    fixed = (folder / "toy_choice.yaml").read_text().replace("toy_choice\n", "toy_fixed\n", 1)
    (folder / "toy_fixed.yaml").write_text(fixed + "num_fewshot: 0\n")
    return folder


def spec(name: str, metric: str, filter_key: str = "none", num_fewshot: int = 0) -> dict:
    """A study's entry of a task."""
    return {
        "name": name,
        "num_fewshot": num_fewshot,
        "metric": metric,
        "filter": filter_key,
        "axis": "toy",
    }
