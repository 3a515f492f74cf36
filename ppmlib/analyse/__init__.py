"""Records to tables with verdicts; no model is run (notebooks 5 and 7).

sources        the records a bare or a study's analysis reads, and the tables it writes
study_records  all records of a study, refused where widths cannot be compared
worked_example one verdict counted out, document by document
tables         a finished study as DataFrames, for `ppmlib.study`
levels         scores with their intervals, and their baselines
verdicts       every width against the dense model; claims; planted truths
contrasts      axes, the dichotomy, controls, the trade-off
trivial        every width against trivial baselines
damage         instruction scores against perplexity, for every kind of damage
responses      length, repetition and ends of answers; kinds of instruction; examples
noise_floor    what flips in the A/A repeat of the dense model
across         several finished studies side by side (notebook 7)
savings        speed, and how much longer a narrower model's answers may be
"""
