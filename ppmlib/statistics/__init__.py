"""Statistics of documents that two models answered.

paired        differences of two models on the same documents, with intervals and p-values
proportions   right/wrong documents: score interval, exact test, detectable difference
resampling    bootstrap intervals and sign-flip tests over independent units
crossed       means over documents and random selections, both drawn
multiplicity  p-values adjusted for several tests
verdicts      better, worse, equivalent; above or below the floor
"""
