"""A Conformer with CTC in plain Flax NNX (Gulati et al. 2020, arXiv:2005.08100; sizes in `conformer_sizes`).

The rule "blocks/.*kernel" places the linear operations that arXiv:2505.24721 and arXiv:2606.13379 run on memristors:
feed-forward, qkv, out, linear_pos, pointwise and depthwise convolutions; the front end and `output` stay digital.
"""

import jax
import jax.numpy as jnp
from flax import nnx

from anaxon.models.conformer_blocks import Block
from anaxon.models.conformer_sizes import PAPER_384 as PAPER_384
from anaxon.models.conformer_sizes import PAPER_512 as PAPER_512
from anaxon.models.conformer_sizes import SMALL as SMALL
from anaxon.models.conformer_sizes import ConformerSizes as ConformerSizes
from anaxon.models.dropout import dropout, split
from anaxon.models.front_end import FrontEnd, halved, valid
from anaxon.models.relative_attention import encodings
from anaxon.types import Array


def out_frames(frames: int) -> int:
    """Output frames of an utterance of so many input frames: a quarter, rounded up."""
    return int(halved(halved(frames)))


class Conformer(nnx.Module):
    """Normalised log-mels `[batch, frames, mels]` and lengths `[batch]` to log probabilities of tokens, and lengths.

    Token 0 is the blank. What an utterance gives depends neither on its padding nor on the others of its batch (but in
    training with `norm="batch"`); frames behind its end hold finite numbers without meaning.

    Paths: `front_end`, `blocks/0` ... (see `Block`), `output`.
    """

    def __init__(self, sizes: ConformerSizes = SMALL, *, rngs: nnx.Rngs) -> None:
        self.rate, self.mels, self.width = sizes.dropout, sizes.mels, sizes.width
        self.relative = sizes.position != "none"
        self.front_end = FrontEnd(sizes, rngs=rngs)
        self.blocks = nnx.List(Block(sizes, rngs=rngs) for _ in range(sizes.blocks))
        self.output = nnx.Linear(sizes.width, sizes.vocabulary, rngs=rngs)

    def __call__(self, features: Array, lengths: Array, key: Array | None = None) -> tuple[Array, Array]:
        """`(log_probs [batch, out_frames(frames), vocabulary], lengths [batch])`; a key turns dropout on.

        Raises:
          ValueError: for features or lengths of another shape.
        """
        self._check(features, lengths)
        x, lengths = self.front_end(features, lengths)
        first, *keys = split(key, len(self.blocks) + 1)
        x, mask = dropout(first, x, self.rate), valid(lengths, x.shape[1])
        positions = encodings(x.shape[1], self.width) if self.relative else None
        for block, k in zip(self.blocks, keys, strict=True):
            x = block(x, mask, positions, k)
        return jax.nn.log_softmax(self.output(x)), lengths

    def _check(self, features: Array, lengths: Array) -> None:
        if features.ndim != 3 or features.shape[2] != self.mels or features.shape[1] < 1:
            raise ValueError(f"features: expected [batch, frames >= 1, {self.mels}]; got {features.shape}")
        if jnp.shape(lengths) != features.shape[:1]:
            raise ValueError(f"lengths: expected [{features.shape[0]}], one per utterance; got {jnp.shape(lengths)}")
