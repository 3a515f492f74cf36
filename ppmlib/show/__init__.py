"""Sentences, tables and figures: what readers see.

wording               numbers as words: one way for each
table                 tables for reading, row by row
verdict_tables        verdicts, baselines, claims, controls, the trade-off (notebook 5)
runs                  the evaluated widths (notebook 5)
conclusions           a study's conclusions, limits what it cannot say
worked_example        one verdict step by step
trivial_baselines     what trivial baselines score, and where every width stands
equal_damage          instruction scores at equal perplexity
written_answers       lengths, ends, kinds of instruction, examples
planted               planted truths, declared and found
time_saved            speed and break-even (notebook 5)
several_models        several studies compared (notebook 7)
scorecard             one width's scores (notebook 3)
efficiency_sentences  what profiling rows say (notebooks 4 and 5)
efficiency_tables     their tables (notebook 4)
published_sentences   the conclusions about the published numbers (notebook 6)
published_tables      the published numbers for a page
published_claims      the paper's claims: verdicts, numbers, levels
published_measured    published and measured side by side (notebooks 4 and 5)
simulated             what the simulations show: sentences, tables (notebook 8)
pruning               scores, kept neurons, tuned noise (notebooks 1 and 2)
figures/              the study's figures, one style
images                the size at which a figure is shown
progress              the progress bar of a notebook's long cell
"""
