"""ppmlib: width-pruning studies of GLU-MLP language models, as notebooks.

The library computes, the notebook tells, Snakemake schedules, the record proves.

    models      load a model and its tokenizer from the package, a folder or the hub; hash them
    glu         find the GLU MLPs of a causal LM; widths, expansion ratio, parameter counts
    scores      importance scores: one value per neuron, higher = keep
    pruning     how many neurons stay, which ones, slicing in memory, export to disk
    evaluation  lm-eval: tasks to tidy rows and per-document outcomes
    floors      what answers earn without reading their prompts
    profiling   time and memory of a fixed amount of work
    stats       paired differences, intervals, corrected p-values, verdicts
    analysis    records to tables, verdicts and computed sentences
    plots       the study's figures, one style
    params      the study file: strict, with units; the names of runs
    records     provenance, fingerprints, atomic files, verification
    report      executed notebook to self-contained HTML; the study's index page
    cli         the `ppm` command
    workflow    the Snakefile and the process that runs one notebook
    bench       the bench model: its world, its lm-eval tasks, its weights
"""
