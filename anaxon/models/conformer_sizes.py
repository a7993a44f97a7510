"""Sizes of a Conformer, with those of the papers.

Rossenbach et al., Interspeech 2025, arXiv:2505.24721 (TED-LIUM 2, 12 x 384) and Hilmes et al., Interspeech 2026,
arXiv:2606.13379 (LibriSpeech, 12 x 512); the architecture is that of Gulati et al. 2020, arXiv:2005.08100.
"""

import dataclasses
from typing import Any, Literal

from anaxon.check import choice, integer, require

Position = Literal["transformer-xl", "no-linear", "none"]
MODULES = ("ff", "mhsa", "conv")


@dataclasses.dataclass(frozen=True)
class ConformerSizes:
    """Widths, depths and variants of a Conformer with CTC.

    Attributes:
      mels: input features a frame.
      vocabulary: output tokens, the blank (0) included.
      width: of the residual stream.
      heads: of the attention; they divide `width`.
      feed_forward: hidden width of the feed-forward modules.
      blocks: how many.
      kernel: taps of the depthwise convolution, odd.
      front_end: channels of the 3x3 convolutions; each half of them halves the frames.
      subsampling: how a half ends: "pool" takes the larger of two frames, "stride" has a last convolution that moves
        by two frames and two mels (cheaper).
      modules: of a block, in order; two "ff" are half steps each.
      position: "transformer-xl" sends the encodings of relative positions through a linear layer, "no-linear" uses them
        as they are, "none" has none.
      depthwise: "convolution" is one that `place` sees; "sums" of shifted frames are the same to rounding and take the
        same parameters, train a fifth faster on a CPU, and have no kernel to place.
      norm: of the depthwise convolution's channels: "layer" as in the papers, or "batch".
      dropout: rate, used where the model is called with a key.
      score_bits: bits that queries and keys are quantised to before their digital product; None leaves them alone.

    Raises:
      ValueError: for a size out of range, or two that do not fit.
    """

    mels: int = 80
    vocabulary: int = 29
    width: int = 96
    heads: int = 4
    feed_forward: int = 384
    blocks: int = 4
    kernel: int = 15
    front_end: tuple[int, ...] = (8, 16)
    subsampling: Literal["pool", "stride"] = "stride"
    modules: tuple[str, ...] = ("ff", "mhsa", "conv", "ff")
    position: Position = "transformer-xl"
    depthwise: Literal["convolution", "sums"] = "convolution"
    norm: Literal["layer", "batch"] = "layer"
    dropout: float = 0.1
    score_bits: int | None = None

    def __post_init__(self) -> None:
        for name in ("mels", "width", "heads", "feed_forward", "blocks", "kernel"):
            integer(f"model.{name}", getattr(self, name), 1, 1 << 20)
        integer("model.vocabulary", self.vocabulary, 2, 1 << 20)
        choice("model.subsampling", self.subsampling, ("pool", "stride"))
        choice("model.position", self.position, ("transformer-xl", "no-linear", "none"))
        choice("model.depthwise", self.depthwise, ("convolution", "sums"))
        choice("model.norm", self.norm, ("layer", "batch"))
        if self.score_bits is not None:
            integer("model.score_bits", self.score_bits, 2, 16)
        self._check_fit()
        self._check_lists()

    def _check_fit(self) -> None:
        require(self.kernel % 2 == 1, "model.kernel", self.kernel, "an odd number of taps")
        require(self.width % self.heads == 0, "model.heads", self.heads, f"a divisor of model.width={self.width}")
        even = self.position == "none" or self.width % 2 == 0
        require(even, "model.width", self.width, "an even number, since encodings are pairs of sine and cosine")
        ok = isinstance(self.dropout, int | float) and not isinstance(self.dropout, bool) and 0 <= self.dropout < 1
        require(ok, "model.dropout", self.dropout, "a rate from 0 up to but not including 1")

    def _check_lists(self) -> None:
        """Lists, as a configuration has them, become tuples."""
        for name in ("front_end", "modules"):
            value: Any = getattr(self, name)
            require(isinstance(value, list | tuple) and len(value) > 0, f"model.{name}", repr(value), "a list")
            object.__setattr__(self, name, tuple(value))
        for channels in self.front_end:
            integer("model.front_end", channels, 1, 1 << 20)
        require(len(self.front_end) % 2 == 0, "model.front_end", self.front_end, "an even number of convolutions")
        for module in self.modules:
            choice("model.modules", module, MODULES)
        counts = {m: self.modules.count(m) for m in MODULES}
        once = counts["ff"] <= 2 and counts["mhsa"] <= 1 and counts["conv"] <= 1
        require(once, "model.modules", self.modules, "two 'ff', one 'mhsa' and one 'conv' at most")


PAPER_512 = ConformerSizes(
    width=512,
    heads=8,
    feed_forward=2048,
    blocks=12,
    kernel=31,
    front_end=(32, 64, 64, 32),
    subsampling="pool",
    modules=("ff", "conv", "mhsa", "ff"),
)
PAPER_384 = dataclasses.replace(
    PAPER_512,
    width=384,
    heads=4,
    feed_forward=1536,
    modules=("ff", "mhsa", "conv", "ff"),
    position="none",
    dropout=0.2,
)
SMALL = ConformerSizes()
