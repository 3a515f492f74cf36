"""Records to verdicts, tables and computed sentences; no model is run.

sources        the records a bare or a study's analysis reads, and the tables it writes
outcomes       one score per document; two of them paired
study_records  all records of a study, refused where widths cannot be compared
levels         scores with their intervals, and their floors
verdicts       every width against the dense model; claims; planted truths
contrasts      axes, the dichotomy, controls, the trade-off
trivial        every width against answers that understand nothing
damage         instruction scores against perplexity, for every kind of damage
responses      length, repetition and ends of answers; kinds of instruction; examples
noise_floor    what flips when the dense model runs again in other batches
across         several finished studies beside each other (notebook 7)
savings        speed, and how much longer a narrower model's answers may be
conclusions    the answers, in computed sentences
limits         what the study cannot tell, in computed sentences
wording        numbers as words, tables for reading
reading        tables of claims, controls and the trade-off for reading
"""
