"""Executed notebooks and records to self-contained HTML that runs no script.

pages         the page of a notebook, the study's page
cell_html     Markdown, formulas, outputs and code as inert HTML
inert         hostile text made harmless; paths and names of the machine taken out
study_page    what the study's page shows, from records alone
study_tables  its tables
assets/       templates and style
"""
