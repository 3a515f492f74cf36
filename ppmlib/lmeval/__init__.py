"""lm-eval behind `ppmlib.evaluation`: its tasks untouched, its backend with notes taken.

protocol    settings checked, what of them is fingerprinted, which documents a subset takes
tasks       lm-eval's tasks found by name and loaded
harness     lm-eval's Hugging Face backend with notes taken
responders  trivial responders: lm-eval models that answer without a model
taskrun     one task or group from its definition to its rows, table and notes
samples     lm-eval's samples to per-document tables, metric rows, chance levels, hashes
"""
