"""The study file: strict, with units.

params    the schema; the names of runs
extends   YAML as it is written; a study that extends another
mistakes  what is wrong with a study file, one line per mistake
"""
