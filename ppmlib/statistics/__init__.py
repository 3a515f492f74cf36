"""Statistics of documents that two models answered.

stats        paired differences, intervals, corrected p-values, verdicts
proportions  right/wrong documents: score interval, exact test, detectable difference
resampling   bootstrap intervals and sign-flip tests over independent units
crossed      means over documents and random selections, both drawn
"""
