"""What `engine: fast` is made of; nothing here knows lm-eval.

prefixes  token sequences side by side in one pass, what they share encoded once
masks     which tokens each token sees, for layers with and without a sliding window
head      logits of hidden states, scaled or capped as the family does
slots     keys and values in buffers allocated once
scored    log-probabilities from hidden states, the logits a block at a time
greedy    greedy generation of many prompts, finished rows replaced
"""
