"""What networks, digital and on chips, write down of the test set."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from anaxon.adc_ranges import fixed_range
from anaxon.columns import Columns, column_study
from anaxon.data import tokens
from anaxon.data.asr import Corpus, Utterances
from anaxon.data.batches import Batch, Batches
from anaxon.decoding.greedy import best_path
from anaxon.decoding.posteriors import kl
from anaxon.decoding.word_errors import WordErrors, word_errors
from anaxon.ensemble import ensemble
from anaxon.interpret.analog import analog
from anaxon.interpret.plan import Chip, Plan, Ranges, Site
from anaxon.interpret.program import program
from anaxon.prng import fold_name
from anaxon.runs.asr_networks import Recogniser
from anaxon.runs.chips import chip_keys, chip_mesh
from anaxon.types import Array, PyTree, replace


class Panel(NamedTuple):
    """Utterances in a few stacks of batches of one shape, each leaf `[batches, rows, ...]`.

    Attributes:
      stacks: the batches.
      texts: of the utterances, `[n]`.
    """

    stacks: tuple[Batch, ...]
    texts: tuple[str, ...]

    @property
    def frames(self) -> int:
        """Input frames of a pass over it, padding included."""
        return sum(int(np.prod(s.features.shape[:3])) for s in self.stacks)


def panel_of(
    corpus: Corpus, split: Utterances, words: int, frames_per_batch: int, seed: int = 0, shapes: int = 2
) -> Panel:
    """Utterances of a split, chosen by the seed, of about so many words (0: all of it), in up to `shapes` stacks."""
    order = np.random.default_rng([seed, 303]).permutation(len(split))
    counts = np.cumsum([len(split.texts[k].split()) for k in order])
    chosen = np.sort(order[: np.searchsorted(counts, words) + 1]) if words else np.arange(len(split))
    part = taken(split, chosen)
    found: dict[tuple, list[Batch]] = {}
    for batch in Batches(corpus, part, frames_per_batch=frames_per_batch, count=shapes).in_order():
        found.setdefault(batch.features.shape, []).append(batch)
    return Panel(tuple(jax.tree.map(lambda *x: np.stack(x), *same) for same in found.values()), part.texts)


def taken(split: Utterances, index: np.ndarray) -> Utterances:
    """Some utterances of a split."""
    pieces = [split.features[split.starts[k] : split.starts[k + 1]] for k in index]
    starts = np.concatenate([[0], np.cumsum([len(p) for p in pieces])]).astype(np.int64)
    return Utterances(np.concatenate(pieces), starts, tuple(split.texts[k] for k in index), split.speakers[index],
                      tuple(split.ids[k] for k in index))  # fmt: skip


Say = Callable[[Array, Array, Array], tuple[Array, Array]]  # (batch number, features, lengths) -> (log_probs, lengths)


def _each(say: Say, stack: Batch, first: int) -> tuple[Array, Array]:
    """`say` of every batch of a stack, one after another."""
    numbers = first + jnp.arange(stack.features.shape[0])
    return jax.lax.map(lambda x: say(*x), (numbers, jnp.asarray(stack.features), jnp.asarray(stack.lengths)))


def listen(panel: Panel, say: Say) -> list[tuple[Array, Array]]:
    """Log probabilities `[batches, rows, frames, tokens]` and lengths of every stack."""
    found, first = [], 0
    for stack in panel.stacks:
        found.append(_each(say, stack, first))
        first += stack.features.shape[0]
    return found


def digital(net: Recogniser, plan: Plan | None, panel: Panel) -> tuple[list[str], list[np.ndarray]]:
    """Transcripts, and log probabilities of every stack, of the float network or of one on perfect cells."""

    @jax.jit
    def run(params: PyTree) -> list[tuple[Array, Array]]:
        if plan is None:
            return listen(panel, lambda number, x, n: net.fn(params, x, n))
        chip = program(jax.random.key(0), plan, params)
        return listen(panel, lambda number, x, n: analog(net.fn)(jax.random.key(0), chip, x, n))

    found = run(net.params)
    paths = [np.asarray(jax.vmap(best_path)(p, n)) for p, n in found]
    return transcripts(panel, paths), [np.asarray(p) for p, _ in found]


def transcripts(panel: Panel, paths: Sequence[np.ndarray]) -> list[str]:
    """Texts in the panel's order, of best paths `[batches, rows, frames]`."""
    texts = [""] * len(panel.texts)
    for stack, path in zip(panel.stacks, paths, strict=True):
        for index, row in zip(np.asarray(stack.index).reshape(-1), path.reshape(-1, path.shape[-1]), strict=True):
            if index >= 0:
                texts[index] = tokens.decode(row[row > 0])
    return texts


def errors_of(panel: Panel, texts: Sequence[str]) -> WordErrors:
    """Word errors of every utterance."""
    return word_errors(panel.texts, texts)


class Programs(NamedTuple):
    """One network under several conditions that differ in numbers alone: one compiled program, and the same cells.

    `plan` is their common hardware, `ranges` those of every condition.
    """

    net: Recogniser
    plan: Plan
    ranges: dict[str, PyTree]

    @property
    def stacked(self) -> PyTree:
        """Ranges of all conditions, each leaf `[conditions, ...]`."""
        return jax.tree.map(lambda *x: jnp.stack(x), *self.ranges.values())

    def chip(self, key: Array, ranges: PyTree) -> Chip:
        """The key's chip under these ranges."""
        return program(fold_name(key, "program"), replace(self.plan, ranges=ranges), self.net.params)


def programs_of(nets: dict[str, Recogniser], plans: dict[str, Plan]) -> list[Programs]:
    """Conditions in as few programs as they allow; `nets` by condition, "" for all others."""
    found: dict[Any, list[str]] = {}
    for condition, plan in plans.items():
        kind = condition if condition in nets else ""
        cells = tuple((s.path, plan.of(s).device, plan.of(s).array) for s in plan.sites)
        found.setdefault((kind, repr(cells)), []).append(condition)
    groups = []
    for (kind, _), conditions in found.items():
        same = [plans[c] for c in conditions]
        offsets = {s.path for p in same for s, r in zip(p.sites, p.ranges, strict=True) if r.offset is not None}
        ranges = {c: tuple(_all_numbers(plans[c], s, s.path in offsets) for s in plans[c].sites) for c in conditions}
        groups.append(Programs(nets[kind], same[0], ranges))
    return groups


def _all_numbers(plan: Plan, site: Site, offset: bool) -> Ranges:
    """What the converters of a site do, in ranges alone: of every physical array, in one shape for all conditions."""
    own, hw = plan.ranges[plan.index(site.path)], plan.of(site)
    if hw.adc is None:
        return own
    use = site.uses[0]
    arrays = (hw.array.slices, use.stack, hw.array.tiles(use.rows), -(-use.cols // hw.array.cols))
    limit = jnp.broadcast_to(jnp.asarray(fixed_range(plan, site) if own.column is None else own.column), arrays)
    step = limit / (hw.adc.full_scale / hw.adc.step) if own.step is None else own.step  # type: ignore[operator]
    known = own.offset
    if offset and known is None:
        known = jnp.zeros([n if a in site.row_axes else 1 for a, n in enumerate(site.shape)])
    return replace(own, column=limit, step=jnp.broadcast_to(step, arrays), offset=known)


def on_chips(
    programs: Programs, panel: Panel, reference: list[np.ndarray], seed: int, chips: int, path: Path, progress: bool
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Word errors and KL to the reference [nats/frame] of every condition, chip and utterance.

    Both `[chips, utterances]`, by condition. Chip i has the same key, and so the same cells, in every condition.
    """
    net, exact = programs.net, [jnp.asarray(r) for r in reference]

    def one(key: Array) -> list[tuple[Array, Array]]:
        def read(ranges: PyTree) -> list[tuple[Array, Array]]:
            heard = listen(panel, _saying(net, programs.chip(key, ranges), fold_name(key, "read")))
            return [
                (jax.vmap(best_path)(p, n).astype(jnp.uint8), jax.vmap(kl)(e, p, n))
                for (p, n), e in zip(heard, exact, strict=True)
            ]

        return jax.lax.map(read, programs.stacked)

    mesh = chip_mesh()
    chunk = mesh.size if mesh is not None else 1
    found = ensemble(one, chip_keys(seed, chips), chunk=chunk, mesh=mesh, progress=progress, path=path)
    tables = {}
    for j, condition in enumerate(programs.ranges):
        errors = [errors_of(panel, transcripts(panel, [p[i, j] for p, _ in found])).errors for i in range(chips)]
        tables[condition] = np.stack(errors), _in_order(panel, [k[:, j] for _, k in found])
    return tables


def _saying(net: Recogniser, chip: Chip, key: Array) -> Say:
    def say(number: Array, features: Array, lengths: Array) -> Any:
        return analog(net.fn)(jax.random.fold_in(key, number), chip, features, lengths)

    return say


def _in_order(panel: Panel, values: Sequence[np.ndarray]) -> np.ndarray:
    """Values `[chips, batches, rows]` of every stack as `[chips, utterances]`."""
    table = np.zeros((values[0].shape[0], len(panel.texts)))
    for stack, value in zip(panel.stacks, values, strict=True):
        index = np.asarray(stack.index).reshape(-1)
        table[:, index[index >= 0]] = value.reshape(len(value), -1)[:, index >= 0]
    return table


def studied(programs: Programs, panel: Panel, seed: int) -> dict[str, dict[str, Columns]]:
    """Columns of every layer on the first chip, over the first batch of the panel, by condition."""
    stack, key = panel.stacks[0], chip_keys(seed, 1)[0]
    study = column_study(programs.net.fn)

    @jax.jit
    def run(params: PyTree, ranges: PyTree, features: Array, lengths: Array) -> dict[str, Columns]:
        chip = programs._replace(net=programs.net._replace(params=params)).chip(key, ranges)
        return study(fold_name(key, "study"), chip, params, features, lengths)

    inputs = jnp.asarray(stack.features[0]), jnp.asarray(stack.lengths[0])
    return {c: jax.device_get(run(programs.net.params, r, *inputs)) for c, r in programs.ranges.items()}
