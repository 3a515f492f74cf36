"""ppmlib: width-pruning studies of GLU-MLP language models, as notebooks.

The library computes, the notebook tells, Snakemake schedules, the record proves.

params      the study file: strict, with units; the names of runs
study_file  YAML as it is written; a study that extends another
records     provenance, fingerprints, atomic files, verification
checkpoint  what a model's folder says about itself, read without torch
random_shapes  models of a published shape with random weights, for time and energy
models      load a model and its tokenizer from the package, a folder or the hub; hash them
offline/    a data root: runs without a network; filled by prefetch, proven by check
code_files  Python files that a score or a task brings: their hash, the packages they import
glu         find the GLU MLPs of a causal LM; widths, expansion ratio, parameter counts
scores      importance scores: one value per neuron, higher = keep
weight_rows what is read off the rows of weight matrices, each matrix once
pruning     how many neurons stay, which ones, slicing in memory
compaction  neurons taken out of a weight in its own memory
export      a pruned model as an ordinary checkpoint with its card
streaming   a checkpoint's weights copied with fewer neurons, tensor by tensor
neurons     tables and sentences about scores and kept neurons (notebooks 1 and 2)
evaluation  lm-eval: tasks to tidy rows and per-document outcomes; resume by fingerprint
batch_sizes batches that did not fit into memory, and the smaller ones then used
evaluation_records  a run's evaluation, in one record or one per task
lmeval/     what evaluation needs of lm-eval
responses   what a response looks like: length, repetition
subject     what one evaluation is of: a model sliced to its width, or a trivial responder
calibration text of no evaluated task, and a model's perplexity on it
noise       damage without narrowing: weight noise that does as much as pruning
floors      a model's responses permuted across documents and scored again
scorecard   one run's tables, prompts, examples and sentences (notebook 3)
cost/       time, memory and energy of every width (notebook 4)
progress    the progress bar of a notebook's long cell
device      what the device is and can do
proportions right/wrong documents: score interval, exact test, detectable difference
stats       paired differences, intervals, corrected p-values, verdicts
resampling  bootstrap intervals and sign-flip tests over independent units
crossed     means over documents and random selections, both drawn
simulations coverage, false positives and power of these statistics (notebook 8)
simulated   the bounds they must keep, in sentences and tables
analysis/   records to verdicts and computed sentences (notebooks 5 and 7)
paper/      the published numbers, judged (notebook 6)
plots/      the study's figures, one style
report/     executed notebooks and records to self-contained HTML
workflow/   the Snakefile and the process that runs one notebook
bench/      the bench model: its world, its lm-eval tasks, its weights
rerun       run a recorded notebook or study again and compare
readme      the README's figure and table, from the committed example
cli         the `ppm` command
"""
