"""Log-probabilities of tokens from hidden states, the vocabulary's logits a block at a time."""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

LOGITS_BYTES = 32 * 2**20  # of one block of logits


def block_rows(head, dtype: torch.dtype | None) -> int:
    """How many hidden states go through the head at once."""
    width = (dtype or head.weight.dtype).itemsize
    return max(1, LOGITS_BYTES // (head.weight.shape[0] * width))


def log_probabilities(
    head, hidden: Tensor, rows: np.ndarray, tokens: np.ndarray, dtype: torch.dtype | None
) -> tuple[Tensor, np.ndarray]:
    """The log-probability of each token after each row, and whether it is the most probable one.

    As lm-eval computes them: log-softmax in `dtype` (None: the model's), then the largest of it.

    Args:
        head: the model's output layer.
        hidden: (n, hidden size).
        rows, tokens: (m,) which hidden state and which token; a row may come several times.
    Returns:
        (m,) tensor on the CPU in the dtype of the log-softmax, and (m,) bool.
    """
    unique, where = np.unique(rows, return_inverse=True)
    order = np.argsort(where, kind="stable")
    asked = torch.from_numpy(tokens[order]).to(hidden.device)
    place = torch.from_numpy(where[order]).to(hidden.device)
    source = torch.from_numpy(unique).to(hidden.device)
    step = block_rows(head, dtype)
    found, greedy = [], []
    for first in range(0, len(unique), step):
        logits = head(hidden[source[first : first + step]])
        logs = F.log_softmax(logits, dim=-1, dtype=dtype)
        low, high = np.searchsorted(where[order], (first, first + step))
        mine = place[low:high] - first
        found.append(logs[mine, asked[low:high]])
        greedy.append(logs.argmax(dim=-1)[mine] == asked[low:high])
    back = np.argsort(order)
    return torch.cat(found).cpu()[back], torch.cat(greedy).cpu().numpy()[back]
