"""A character language model in plain Flax NNX: embedding, LSTM with a projected state, linear readout.

The default sizes are inferred: their gates are an array of 633 rows (128 embedding + 504 projection + 1 bias) by 8064
columns (4 x 2016), which at one bit a cell is the memory of Table 1 in Yang et al., Nat. Commun. 16:1136 (2025),
doi:10.1038/s41467-025-56254-6.
"""

import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from anaxon.types import Array, PyTree

State = tuple[Array, Array]  # cell state [batch, hidden], projected state [batch, projection]
Forward = Callable[[PyTree, Array, State], tuple[Array, State]]  # (params, codes, state) -> logits, state


@dataclasses.dataclass(frozen=True)
class Sizes:
    """Widths of the embedding, the LSTM's cell and its projection.

    Raises:
      ValueError: for a size that is not a positive whole number.
    """

    embedding: int = 128
    hidden: int = 2016
    projection: int = 504

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if not isinstance(value, int) or isinstance(value, bool) or value < 1:
                raise ValueError(f"model.{field.name} must be a positive whole number; got {value!r}")

    def state(self, batch: int) -> State:
        """The state before the first character."""
        return jnp.zeros((batch, self.hidden)), jnp.zeros((batch, self.projection))


class Gates(nnx.Module):
    """Pre-activations `[batch, 4 hidden]` of all four gates from the embedding and the projected state.

    One kernel for each and one bias: together the array `[embedding + projection + 1, 4 hidden]` of a ramp's hardware.
    """

    def __init__(self, sizes: Sizes, *, rngs: nnx.Rngs) -> None:
        columns = 4 * sizes.hidden
        self.input = nnx.Linear(sizes.embedding, columns, use_bias=False, rngs=rngs)
        self.recurrent = nnx.Linear(
            sizes.projection,
            columns,
            kernel_init=nnx.initializers.orthogonal(column_axis=-1),
            bias_init=_forget_bias,
            rngs=rngs,
        )

    def __call__(self, x: Array, h: Array) -> Array:
        """Gate order i, f, g, o."""
        return self.input(x) + self.recurrent(h)


class CharLM(nnx.Module):
    """Codes `[batch, time]` and a state to logits `[batch, time, symbols]` of the next character, and the state after.

    Paths: `embedding/embedding`, `cell/input/kernel`, `cell/recurrent/kernel`, `cell/recurrent/bias`,
    `projection/kernel`, `readout/kernel`, `readout/bias`; the rule "cell/.*kernel" places the gates alone.
    """

    def __init__(self, symbols: int, sizes: Sizes = Sizes(), *, rngs: nnx.Rngs) -> None:  # noqa: B008 - frozen
        if not isinstance(symbols, int) or symbols < 2:
            raise ValueError(f"symbols must be a whole number, 2 or more; got {symbols!r}")
        small = nnx.initializers.normal(0.5)
        self.embedding = nnx.Embed(symbols, sizes.embedding, embedding_init=small, rngs=rngs)
        self.cell = Gates(sizes, rngs=rngs)
        self.projection = nnx.Linear(sizes.hidden, sizes.projection, use_bias=False, rngs=rngs)
        self.readout = nnx.Linear(sizes.projection, symbols, rngs=rngs)

    def __call__(self, codes: Array, state: State) -> tuple[Array, State]:
        """One scan over time; the readout runs over all times at once."""
        inputs = self.embedding(jnp.swapaxes(codes, 0, 1).astype(jnp.int32))
        state, hidden = jax.lax.scan(self.step, state, inputs)
        return jnp.swapaxes(self.readout(hidden), 0, 1), state

    def step(self, state: State, x: Array) -> tuple[State, Array]:
        """One character: `[batch, embedding]` to the new state and the projected state (Sak et al. 2014, eq. 7-12)."""
        c, h = state
        i, f, g, o = jnp.split(self.cell(x, h), 4, axis=-1)
        c = jax.nn.sigmoid(f) * c + jax.nn.sigmoid(i) * jnp.tanh(g)
        h = self.projection(jax.nn.sigmoid(o) * jnp.tanh(c))
        return (c, h), h


def _forget_bias(key: Array, shape: tuple[int, ...], dtype: jnp.dtype = jnp.float32) -> Array:
    """The forget gate starts at 1 (Jozefowicz et al. 2015, section 2.2)."""
    return jnp.zeros((4, shape[0] // 4), dtype).at[1].set(1.0).reshape(shape)


def next_character(outputs: tuple[Array, State], targets: Array) -> tuple[Array, State]:
    """The mean cross entropy [bits per character] of the targets `[batch, time]`, and the state to go on with.

    A loss for `anaxon.training`: an objective made with it is what `train_characters` takes.
    """
    logits, state = outputs
    return _nats(logits, targets).mean() / jnp.log(2.0), state


def _nats(logits: Array, targets: Array) -> Array:
    """Cross entropy of every target, `[batch, time]`."""
    chosen = jnp.take_along_axis(logits, targets.astype(jnp.int32)[..., None], axis=-1)[..., 0]
    return jax.nn.logsumexp(logits, axis=-1) - chosen


def rows(codes: np.ndarray, count: int) -> np.ndarray:
    """A text's codes `[n]` as `count` rows of consecutive characters, `[count, n // count]`; the rest is left out.

    Raises:
      ValueError: when a row would hold fewer than two characters.
    """
    if count < 1 or len(codes) < 2 * count:
        raise ValueError(f"rows: {len(codes)} characters do not make {count} rows of at least two")
    return codes[: len(codes) // count * count].reshape(count, -1)


def bits_per_character(
    fn: Forward, params: PyTree, codes: Array, state: State, *, segment: int = 64, skip: int = 0
) -> Array:
    """The cross entropy [bits per character] of rows of text `[rows, time]`, read from left to right.

    The mean of `bits_by_row`, whose arguments and errors it has.
    """
    return bits_by_row(fn, params, codes, state, segment=segment, skip=skip).mean()


def bits_by_row(fn: Forward, params: PyTree, codes: Array, state: State, *, segment: int = 64, skip: int = 0) -> Array:
    """The cross entropy [bits per character] of every row of text, `[rows]`.

    A pure function of `(params, codes, state)`: `analog(lambda p, codes: bits_by_row(fn, p, codes, state))` is that of
    a chip. The state is carried along a row; each row starts from `state`, so its first characters are hard to guess:
    `skip` leaves them out of the mean. What is unknown counts like any other symbol.

    Args:
      fn: `(params, codes, state) -> (logits, state)`.
      params: of `fn`.
      codes: `[rows, time]`; the last of each row is only a target.
      state: of `rows` rows, such as `Sizes.state(rows)`.
      segment: characters read at a time; bounds the memory. Characters beyond the last whole segment are left out.
      skip: targets at the start of every row that do not count.

    Raises:
      ValueError: when nothing is left to count.
    """
    count = (codes.shape[1] - 1) // segment
    if not 0 <= skip < count * segment:
        raise ValueError(f"codes: {codes.shape[1]} characters a row make {count} segments of {segment} and a last "
                         f"target; got skip={skip}, which leaves none to count")  # fmt: skip
    used = count * segment
    pieces = lambda x: jnp.swapaxes(x.reshape(x.shape[0], count, segment), 0, 1)  # noqa: E731
    counted = pieces(jnp.broadcast_to(jnp.arange(used) >= skip, (codes.shape[0], used)))

    def read(state: State, piece: tuple[Array, Array, Array]) -> tuple[State, Array]:
        inputs, targets, counts = piece
        logits, state = fn(params, inputs, state)
        return state, jnp.sum(_nats(logits, targets) * counts, axis=1)

    codes = jnp.asarray(codes)
    _, nats = jax.lax.scan(read, state, (pieces(codes[:, :used]), pieces(codes[:, 1 : used + 1]), counted))
    return nats.sum(0) / (used - skip) / jnp.log(2.0)
