"""What `engine: fast` is made of; nothing here knows lm-eval.

prefixes  token sequences side by side in one pass, what they share encoded once
slots     keys and values in buffers allocated once
scored    log-probabilities from hidden states, the logits a block at a time
greedy    greedy generation of many prompts, finished rows replaced
"""
