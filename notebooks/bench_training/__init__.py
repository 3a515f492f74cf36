"""Training of the bench model, for `0_bench_model.ipynb` alone.

texts       the training documents, in a declared mixture
tokenizer   a byte-level BPE tokenizer of the world's text
training    the model's configuration, its training loop, its export
exam        a look at its answers, its model card
"""
