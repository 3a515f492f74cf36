"""Which neurons stay, and a model with fewer of them.

scores       importance scores: one value per neuron, higher = keep
weight_rows  what is read off the rows of weight matrices, each matrix once
pruning      how many neurons stay, which ones, slicing in memory
compaction   neurons taken out of a weight in its own memory
streaming    a checkpoint's weights copied with fewer neurons, tensor by tensor
export       a pruned model as an ordinary checkpoint with its card
noise        damage without narrowing: weight noise that does as much as pruning
calibration  text of no evaluated task, on which damage is measured
neurons      tables of scores and kept neurons (notebooks 1 and 2)
"""
