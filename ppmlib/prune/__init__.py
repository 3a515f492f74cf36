"""Which neurons stay, and a model with fewer of them.

scores        the criteria: one value per neuron, higher = keep
scoring       a model's scores, its weights read once by weight_rows
scored        the scores of a study in its record
selection     which neurons stay, given their scores
kept_neurons  the kept neurons of a run: chosen, written, read back
slicing       neurons removed in memory (compaction: in a weight's own memory) or silenced
streaming     a checkpoint's weights copied with fewer neurons, tensor by tensor
export        a pruned model as an ordinary checkpoint with its card
noise         damage without narrowing: weight noise that does as much as pruning
calibration   text of no evaluated task, on which damage is measured
neurons       tables of scores and kept neurons (notebooks 1 and 2)
"""
