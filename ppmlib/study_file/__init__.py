"""The study file: strict, with units.

params    the schema
selection a selection of neurons: criterion, seed, ratio, multiple; the names of runs
extends   the YAML file; a study that extends another
mistakes  pydantic's errors, one line per mistake
"""
