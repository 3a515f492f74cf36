"""The record of a study: atomic files, fingerprints, verified reading.

records             fingerprints, atomic files, verification, provenance
code_files          hashes of a user's or a task's Python files
evaluation_records  a run's evaluation, in one record or one per task
"""
