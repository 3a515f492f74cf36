"""The record of a study: atomic files, fingerprints, verified reading.

records             fingerprints, atomic files, verification, provenance
evaluation_records  a run's evaluation, in one record or one per task
"""
