"""ppmlib: width-pruning studies of GLU-MLP language models, as notebooks.

The library computes, the notebook tells, Snakemake schedules, the record proves.

A room imports rooms above it in this list, never below.

record/      atomic files, fingerprints, verified reading, provenance
bench/       the packaged bench model: its world, its lm-eval tasks, its weights
data/        the data root and the hub: where models and data sets are read from
model/       find the GLU, load a model, its folder read without torch, random shapes, the device
study_file/  the study file: its schema, `extends`, mistakes in plain words
prune/       scores, fast row reading, selection, slicing, noise, export
evaluation/  lm-eval: run, subject, tasks, samples, permuted and trivial baselines
  fast/      shared prefixes encoded once, greedy generation in slots
profile/     time, memory and energy of every width
statistics/  paired changes, resampling, proportions, documents crossed with seeds
simulations/ coverage, false positives and power of these statistics (notebook 8)
analyse/     records to tables with verdicts (notebooks 5 and 7)
published/   the paper's tables, judged (notebook 6)
show/        sentences, tables and figures
page/        executed notebooks and records to self-contained HTML
workflow/    the Snakefile, the plan, the process that runs one notebook, rerun
offline/     fill a data root, check that everything loads without a network
cli          the `ppm` command
"""
