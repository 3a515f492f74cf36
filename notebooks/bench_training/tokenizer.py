"""A byte-level BPE tokenizer of the world's text, as a plain Hugging Face fast tokenizer."""

import itertools

from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from bench_training.texts import Texts
from ppmlib.bench.world import World

BOS, EOS, PAD = "<s>", "</s>", "<pad>"


def train_tokenizer(
    world: World, *, vocab_size: int, n_texts: int, seed: int, max_length: int
) -> PreTrainedTokenizerFast:
    """Byte-level BPE with `vocab_size` entries, learnt from `n_texts` training documents.

    Any text round-trips. Encoding puts BOS in front unless `add_special_tokens=False`.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size,
        special_tokens=[BOS, EOS, PAD],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    texts = (document.text for document in itertools.islice(Texts(world, seed), n_texts))
    tokenizer.train_from_iterator(texts, trainer)
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{BOS} $A",
        pair=f"{BOS} $A {BOS} $B",
        special_tokens=[(BOS, tokenizer.token_to_id(BOS))],
    )
    return PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        bos_token=BOS,
        eos_token=EOS,
        pad_token=PAD,
        model_max_length=max_length,
        clean_up_tokenization_spaces=False,
    )
