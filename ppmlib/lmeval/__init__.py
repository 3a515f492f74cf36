"""lm-eval behind `ppmlib.evaluation`: its tasks untouched, its backend with notes taken.

protocol    settings checked, what of them is fingerprinted, which documents a subset takes
task_files  names, metrics and filters, told from lm-eval's task files
task_data   which data sets a task reads, told from its file
tasks       lm-eval's tasks found by name and loaded
harness     lm-eval's Hugging Face backend with notes taken
fast        the same backend with shared prefixes encoded once (`engine: fast`)
prefixes    token sequences side by side in one pass, what they share encoded once
slots       keys and values in buffers allocated once
scored      log-probabilities from hidden states, the logits a block at a time
greedy      greedy generation of many prompts, finished rows replaced
responders  trivial responders: lm-eval models that answer without a model
task_code   the code a task runs: its files, the packages and nltk's data they use
taskrun     one task or group from its definition to its rows, table and notes
samples     lm-eval's samples to per-document tables, metric rows, chance levels, hashes
"""
