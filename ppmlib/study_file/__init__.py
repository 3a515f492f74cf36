"""The study file: strict, with units.

params    the schema
selection what is pruned: criterion, seed, ratio, multiple; the names of runs
extends   YAML as it is written; a study that extends another
mistakes  what is wrong with a study file, one line per mistake
"""
