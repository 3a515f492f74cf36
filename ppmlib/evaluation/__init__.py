"""lm-eval's tasks on one model: definitions untouched, a backend that takes notes.

run          all tasks of one run: tidy rows, per-document outcomes, resumed by fingerprint
subject      what one evaluation is of: a model sliced to its width, or a trivial baseline
protocol     settings checked, what of them is fingerprinted, which documents a subset takes
batch_sizes  tasks that ran out of memory, and the smaller batches all widths then use
task_files   names, metrics and filters, read from lm-eval's task files
task_data    which data sets a task reads, from its file
tasks        lm-eval's tasks found by name and loaded
saved        a task's stored result, reused while its fingerprint fits
taskrun      one task or group from its definition to its rows, table and notes
samples      lm-eval's samples to per-document tables, metric rows, chance levels, hashes
task_code    the Python functions and classes that a task is defined with
prompt_format   whether prompts start with the BOS a model was trained with
responses    length and repetition of a response

permuted_baseline   a model's responses, scored at other documents
trivial_baselines   lm-eval models that answer by a rule, without a model

engines      which engine evaluates a model, decided from its configuration
backends     lm-eval's backend of a model, by engine
harness      lm-eval's Hugging Face backend, taking notes
fast_lm      the same backend with shared prefixes encoded once (`engine: fast`)
fast/        what it is made of
"""
