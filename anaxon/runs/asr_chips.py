"""What networks, digital and on chips, make of a panel, and what the columns of a chip look like."""

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from anaxon.adc_ranges import fixed_range
from anaxon.columns import Columns, column_study
from anaxon.data.batches import Batch
from anaxon.decoding.posteriors import kl
from anaxon.ensemble import OtherEnsembleError, ensemble
from anaxon.hardware import Hardware
from anaxon.interpret.analog import analog
from anaxon.interpret.plan import Chip, Plan, Ranges, Site
from anaxon.interpret.program import mapped, program
from anaxon.prng import fold_name
from anaxon.runs.asr_conditions import CONDITIONS
from anaxon.runs.asr_decoding import Decoder, errors_of
from anaxon.runs.asr_networks import Recogniser
from anaxon.runs.asr_panel import Panel
from anaxon.runs.chips import chip_mesh
from anaxon.types import Array, PyTree, replace

Say = Callable[[Array, Array, Array], tuple[Array, Array]]  # (batch number, features, lengths) -> (log_probs, lengths)


def listen(stacks: tuple[Batch, ...], say: Say) -> list[tuple[Array, Array]]:
    """Log probabilities `[batches, rows, frames, tokens]` and lengths of every stack, one batch after another."""
    found, first = [], 0
    for stack in stacks:
        count = stack.features.shape[0]
        xs = (first + jnp.arange(count), jnp.asarray(stack.features), jnp.asarray(stack.lengths))
        found.append(jax.lax.map(lambda x: say(*x), xs))
        first += count
    return found


def digital(net: Recogniser, plan: Plan | None, panel: Panel) -> list[tuple[np.ndarray, np.ndarray]]:
    """Log probabilities and lengths of every stack, of the float network or of the one on a plan's perfect cells."""
    key = jax.random.key(0)

    @jax.jit
    def run(params: PyTree, ranges: PyTree, stacks: tuple[Batch, ...]) -> list[tuple[Array, Array]]:
        if plan is None:
            return listen(stacks, lambda number, x, n: net.fn(params, x, n))
        chip = program(key, replace(plan, ranges=ranges), params)
        return listen(stacks, lambda number, x, n: analog(net.fn)(key, chip, x, n))

    return jax.device_get(run(net.params, None if plan is None else plan.ranges, panel.stacks))


def digital_errors(panel: Panel, decoder: Decoder, said: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Word errors `[utterances]` of what `digital` returned."""
    kept = [jax.vmap(decoder.keep)(jnp.asarray(p), jnp.asarray(n)) for p, n in said]
    return errors_of(panel, decoder, [np.asarray(k) for k in kept])


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
        alike = tuple((s.path, _but_ranges(plan.of(s))) for s in plan.sites)
        found.setdefault((kind, repr(alike)), []).append(condition)
    groups = []
    for (kind, _), conditions in found.items():
        same = [plans[c] for c in conditions]
        offsets = {s.path for p in same for s, r in zip(p.sites, p.ranges, strict=True) if r.offset is not None}
        ranges = {c: tuple(_all_numbers(plans[c], s, s.path in offsets) for s in plans[c].sites) for c in conditions}
        common = next(
            (plans[c] for c in conditions if CONDITIONS[c].equal), same[0]
        )  # whose ADC figures are in units of
        groups.append(Programs(nets[kind], common, ranges))
    return groups


def _but_ranges(hardware: Hardware) -> tuple:
    """What does not follow from ranges: the program of conditions that share it is the same."""
    adc = hardware.adc
    errors = adc and (adc.noise, adc.offset_sigma, adc.gain_sigma)
    return hardware.device, hardware.array, hardware.dac, adc is None, errors


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


class Ears(NamedTuple):
    """What chips hear and how it is judged: KL is to the `reference` log probabilities of every stack."""

    panel: Panel
    decoder: Decoder
    reference: list[np.ndarray]


def on_chips(
    programs: Programs, ears: Ears, keys: Array, path: Path, progress: bool
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Word errors and KL to the reference [nats/frame] of every condition, chip and utterance.

    Both `[chips, utterances]`, by condition. Chip i has the same key, and so the same cells, in every condition;
    finished chips are kept in `path`.
    """
    panel, decoder, exact = ears.panel, ears.decoder, [jnp.asarray(r) for r in ears.reference]
    stacks = jax.tree.map(jnp.asarray, panel.stacks)

    def one(key: Array) -> list[tuple[Array, Array]]:
        def read(ranges: PyTree) -> list[tuple[Array, Array]]:
            heard = listen(stacks, _saying(programs, programs.chip(key, ranges), fold_name(key, "read")))
            both = zip(heard, exact, strict=True)
            return [(jax.vmap(decoder.keep)(p, n), jax.vmap(kl)(e, p, n)) for (p, n), e in both]

        return jax.lax.map(read, programs.stacked)

    mesh = chip_mesh()
    run = partial(ensemble, one, keys, chunk=1 if mesh is None else mesh.size, mesh=mesh, progress=progress, path=path)
    try:
        found = run()
    except OtherEnsembleError:  # begun with other devices, or a digital reference that was rounded differently
        shutil.rmtree(path)
        found = run()
    tables = {}
    for j, condition in enumerate(programs.ranges):
        errors = [errors_of(panel, decoder, [kept[i, j] for kept, _ in found]) for i in range(len(keys))]
        tables[condition] = np.stack(errors), panel.in_order([k[:, j] for _, k in found])
    return tables


def _saying(programs: Programs, chip: Chip, key: Array) -> Say:
    def say(number: Array, features: Array, lengths: Array) -> Any:
        return analog(programs.net.fn)(jax.random.fold_in(key, number), chip, features, lengths)

    return say


def studied(programs: Programs, speech: tuple[np.ndarray, np.ndarray], keys: Array) -> dict[str, dict[str, Columns]]:
    """Columns of every layer over some speech, the mean over the keys' chips, by condition.

    Errors are to the same layer with its weights as they are mapped: what chip and converters add to quantisation.
    """
    study = column_study(programs.net.fn)

    @jax.jit
    def run(params: PyTree, ranges: PyTree, keys: Array, inputs: tuple[Array, Array]) -> dict[str, Columns]:
        own = programs._replace(net=programs.net._replace(params=params))
        exact = mapped(own.plan, params)
        one = lambda key: study(fold_name(key, "study"), own.chip(key, ranges), exact, *inputs)  # noqa: E731
        return jax.tree.map(lambda x: x.mean(0), jax.lax.map(one, keys))

    inputs, found = jax.tree.map(jnp.asarray, speech), {}
    for j, condition in enumerate(programs.ranges):
        ranges = jax.tree.map(lambda x, j=j: x[j], programs.stacked)  # of one type: compiled once
        found[condition] = jax.device_get(run(programs.net.params, ranges, keys, inputs))
    return found
