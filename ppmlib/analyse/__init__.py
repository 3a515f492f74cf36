"""Records to tables with verdicts; no model is run (notebooks 5 and 7).

sources        a study's records, refused where widths cannot be compared; its tables as files
study_records  all records of a study in memory: runs, outcomes, paired changes
outcomes       one score per document
worked_example one verdict counted out, document by document
tables         a finished study as DataFrames, for `ppmlib.study`
levels         scores with their intervals, and their baselines
verdicts       every width against the dense model; claims; planted truths
contrasts      axes, the dichotomy, controls, the trade-off
trivial        every width against trivial baselines
damage         instruction scores against perplexity, for every kind of damage
responses      length, repetition and ends of answers; kinds of instruction; examples
noise_floor    what flips in the A/A repeat of the dense model
across         several finished studies compared (notebook 7)
savings        break-even, and how much longer a narrower model's answers may be
"""
