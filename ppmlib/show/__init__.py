"""Sentences, tables and figures: what readers see.

wording               numbers as words; tables of verdicts
conclusions           the answers of a study, in computed sentences
limits                what the study cannot tell
reading               tables of claims, controls and the trade-off
scorecard             one run's tables, prompts, examples and sentences (notebook 3)
efficiency_sentences  what profiling rows say (notebooks 4 and 5)
efficiency_tables     their tables (notebook 4)
published_sentences   the conclusions about the published numbers (notebook 6)
published_tables      the published numbers for a page
simulated             what the simulations say: bounds, sentences, tables (notebook 8)
figures/              the study's figures, one style
images                the size at which a figure is shown
progress              the progress bar of a notebook's long cell
readme                the README's figure and table, from the committed reports
"""
