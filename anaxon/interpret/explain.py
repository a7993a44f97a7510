"""`explain`: which non-ideality is active where, how large it is and in which unit, and what is not modelled."""

from dataclasses import dataclass
from math import prod

import numpy as np

from anaxon.converter.adc import ADC
from anaxon.converter.dac import DAC
from anaxon.crossbar.array import EXACT_DAC
from anaxon.hardware import Hardware
from anaxon.interpret import text
from anaxon.interpret.counts import arrays, largest
from anaxon.interpret.plan import Plan, Ranges, Site

Row = tuple[str, str]
NOT_MODELLED = "wire resistance and sneak paths, stuck cells, settling and timing, changes of temperature"


@dataclass(frozen=True)
class Explanation:
    """What is active.

    Attributes:
      sections: `(title, ((what, sentence), ...))`, one per kind of hardware.
      sites: a header and one row per placed weight; empty for hardware alone.
    """

    sections: tuple[tuple[str, tuple[Row, ...]], ...]
    sites: tuple[tuple[str, ...], ...] = ()

    def __repr__(self) -> str:
        blocks = [
            f"{title}\n" + text.columns([(f"  {name}", line) for name, line in rows]) for title, rows in self.sections
        ]
        if self.sites:
            blocks.append("Weights\n" + text.columns([(f"  {row[0]}", *row[1:]) for row in self.sites]))
        return "\n\n".join(blocks)


def explain(subject: Hardware | Plan) -> Explanation:
    """Explains hardware, or a plan: its kinds of hardware and the arrays and ranges of every weight.

    Raises:
      TypeError: for anything else.
    """
    if isinstance(subject, Hardware):
        return Explanation((("Hardware", _hardware(subject)),))
    if not isinstance(subject, Plan):
        raise TypeError(f"explain: expected a Hardware or a Plan; got {type(subject).__name__}")
    used = sorted({site.hardware for site in subject.sites})
    many = len(used) > 1
    sections = tuple((_title(subject, i, many), _hardware(subject.hardware[i])) for i in used)
    return Explanation(sections, (_HEAD, *(_site(subject, site) for site in subject.sites)))


def _title(plan: Plan, index: int, many: bool) -> str:
    names = [site.path for site in plan.sites if site.hardware == index]
    number = f" {index}" if many else ""
    return f"Hardware{number} of {len(names)} weight(s): {', '.join(names[:4])}{', ...' if len(names) > 4 else ''}"


def _hardware(hw: Hardware) -> tuple[Row, ...]:
    if hw.device is None:
        return (("device", "none: products stay the digital ones, bit for bit"),)
    rows = list(hw.device.explain())
    own = [line for name, line in rows if name == "not modelled"]
    rows = [row for row in rows if row[0] != "not modelled"]
    if not any("drift" in name for name, _ in rows) and not any("drift" in line for line in own):
        own = [*own, "drift"]
    dac = hw.dac or EXACT_DAC
    rows += [("weights", _mapping(hw)), ("array", _array(hw)), ("inputs", _inputs(hw.dac)), *_adc(hw)]
    rows += [("bias", "a row of the array" if hw.bias == "row" else "added digitally")]
    if hasattr(hw.device, "disturb_share") and getattr(hw.device, "programming", "") != "ideal":
        lowest = -float(dac.v_max)
        share = float(hw.device.disturb_share(lowest))
        line = f"the most negative read, {lowest:.3g} V, sets {share:.2%} of the high-resistance cells"
        rows.append(("disturb here", f"{line} (only applied by `disturb`)"))
    return (*rows, ("not modelled", "; ".join([NOT_MODELLED, *own])))


def _mapping(hw: Hardware) -> str:
    array = hw.array
    shared = (
        "weight, so that all on one array have one column unit (scale x input range)"
        if hw.activation
        else "weight (and stack index)"
    )
    scale = "column" if array.scale == "column" and not hw.activation else shared
    limit = "" if array.clip_sigma is None else f", limited to {float(array.clip_sigma):.3g} standard deviations"
    if array.weight_bits is None:
        return f"one analog pair per weight, one scale per {scale}{limit}"
    return (
        f"{array.weight_bits} bit with sign, {int(2 * array.max_level + 1)} levels; {array.slices} slice(s) of "
        f"{array.cell_bits} bit in pairs: {2 * array.slices} cells per weight; one scale per {scale}{limit}"
    )


def _array(hw: Hardware) -> str:
    pieces = 2 * hw.array.slices
    return (
        f"{hw.array.rows} x {hw.array.cols}; {pieces} arrays per tile of a weight (slices x polarities); "
        "sums over tiles and slices are digital"
    )


def _inputs(dac: DAC | None) -> str:
    if dac is None:
        return f"no DAC: exact voltages up to +-{float(EXACT_DAC.v_max):.3g} V at the absmax of the operand"
    bent = ", predistorted by the inverse I-V curve" if dac.predistortion == "inverse" else ""
    cycles = f", {dac.cycles} reads per vector" if dac.cycles > 1 else ""
    return (
        f"DAC {dac.bits} bit, {2 * dac.levels + 1} levels over +-{float(dac.v_max):.3g} V by {dac.encoding}"
        f"{bent}{cycles}; range: absmax of the operand unless calibrated"
    )


def _adc(hw: Hardware) -> list[Row]:
    rows = [("columns", _linear(hw.adc))]
    if hw.activation is not None:
        rows += hw.activation.explain()
    names = {"noise": "ADC noise", "offset_sigma": "ADC offset", "gain_sigma": "ADC gain"}
    drawn = {"noise": "column units, every conversion", "offset_sigma": "column units, once per chip and column"}
    for field, name in names.items():
        value = getattr(hw.adc, field, None)
        if value is not None:
            rows.append((name, f"std {float(value):.3g} {drawn.get(field, 'relative, once per chip and column')}"))
    return rows


def _linear(adc: ADC | None) -> str:
    if adc is None:
        return "no ADC: exact sums (1 column unit = one pair fully on at full input)"
    unit = "column units (1 = one pair fully on at full input)"
    if adc.full_scale is None:
        codes = f"ADC {adc.total_bits} bit, {2 * adc.steps + 1} codes"
        return f"{codes} over the absmax of the columns unless calibrated, {unit}"
    full = float(np.max(np.asarray(adc.full_scale)))
    step = full / adc.steps if adc.step is None else float(np.max(np.asarray(adc.step)))
    return f"ADC {adc.total_bits} bit, step {step:.4g}, saturates at +-{full:.4g} {unit}"


_HEAD = ("weight", "rows x cols", "arrays", "cells used", "input range", "ADC range", "of at most", "ends in")


def _site(plan: Plan, site: Site) -> tuple[str, ...]:
    """A site's arrays and ranges; "of at most" is the sum of a tile whose cells are all on."""
    hw, ranges, use = plan.of(site), plan.ranges[plan.index(site.path)], largest(site)
    rows, cols = (use.rows, use.cols) if use else (1, prod(site.shape))
    size = f"{rows} x {cols}"
    if hw.is_ideal:
        return site.path, size, *("-" for _ in range(5)), "digital product"
    kinds = sorted({kind for u in site.uses for kind, _ in u.conversions})
    ends = "bias row" if site.bias else "+".join(kinds) or "unused"
    return (
        site.path,
        size,
        str(count) if (count := arrays(plan, site)) else "shared",
        _utilisation(plan, site),
        "1" if site.bias else _range(ranges.input, "absmax"),
        "-" if kinds != ["linear"] else _column_range(hw, ranges),
        f"{min(rows, hw.array.rows)}",
        ends,
    )


def _utilisation(plan: Plan, site: Site) -> str:
    """Programmed cells of the physical ones; of a shared array, those of all its weights."""
    members = [site] if site.group is None else [s for s in plan.sites if s.group == site.group]
    hw, count = plan.of(site), sum(arrays(plan, s) for s in members)
    return f"{sum(s.cells(hw) for s in members) / (count * hw.array.rows * hw.array.cols):.0%}"


def _range(value: object, default: str) -> str:
    if value is None:
        return default
    array = np.asarray(value)
    return f"{float(array):.4g}" if array.ndim == 0 else f"{array.min():.4g}..{array.max():.4g}"


def _column_range(hw: Hardware, ranges: Ranges) -> str:
    if hw.adc is None:
        return "no ADC"
    return _range(ranges.column if ranges.column is not None else hw.adc.full_scale, "absmax")
