"""What a speech recognition run was asked: the float network's rate, and what cures remove at equal bits and energy.

A goal is met where the whole 95 % interval meets it, and not resolved where only a part does.
"""

from typing import TYPE_CHECKING, Any

from anaxon import rates
from anaxon.runs.asr_conditions import DIGITAL, NO_LINEAR

if TYPE_CHECKING:
    from anaxon.runs.asr_results import Measured

AUTOMATIC = "layers"  # the automatic choice that the goals are about, named before it is measured
NO_CURES = ("default", DIGITAL, NO_LINEAR)  # the last one is another network
MARGIN = 0.1  # of (default - digital): a difference that counts as none
WORDS = 5000  # that a float network's rate is to be measured on


def goals(measured: "Measured", conditions: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The float network's rate, and what the cures remove of (default - digital), for every resolution."""
    found = [_float(measured)] if measured.corpus.name.startswith("synthetic") else []
    for bits in measured.settings.study.weight_bits:
        cures = {c["condition"]: c for c in conditions if c["bits"] == bits and c["condition"] not in NO_CURES}
        equal = {name: c for name, c in cures.items() if c["equal_bits"]}
        budget = {name: c for name, c in cures.items() if not c["equal_bits"] and c["adc_energy_share"] <= 1}
        found += _shares(f"{bits} bits, equal bits and energy", equal) + _shares(f"{bits} bits, equal energy", budget)
        found += _automatic(measured, bits, equal)
    return found


def _goal(what: str, obtained: str, asked: str, met: bool | None) -> dict[str, Any]:
    return {"what": what, "obtained": obtained, "asked": asked, "met": met}


def _float(measured: "Measured") -> dict[str, Any]:
    words = measured.test.words
    wer = rates.rate(measured.network(0, "", "test"), words)
    lo, hi = wer.ci95
    met = True if lo >= 0.05 and hi <= 0.15 else False if hi < 0.05 or lo > 0.15 else None
    obtained = f"{wer.mean:.1%} [{lo:.1%}, {hi:.1%}] of {words.sum():,} words"
    return _goal("float network, WER on the test set", obtained, f"5 to 15 % of {WORDS:,} words or more",
                 met if words.sum() >= WORDS else False)  # fmt: skip


def _automatic(measured: "Measured", bits: int, equal: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """The automatic choice against the best by hand."""
    hand = [c for c in equal.values() if not c["automatic"]]
    if not hand or AUTOMATIC not in equal or "default" not in measured.settings.study.conditions:
        return []
    what = f"{bits} bits: {AUTOMATIC!r} at least as good as the best by hand"
    if not equal[AUTOMATIC]["removed"]:
        return [_goal(what, "not told: default and digital differ by under 4 standard errors", "a tenth of that", None)]
    words = measured.panel.words
    default, digital = measured.condition(bits, "default", "errors"), measured.digital(bits, "default")
    margin = MARGIN * max(0.0, rates.rate_difference(default, digital, words).mean)
    best = min(hand, key=lambda c: c["wer"]["mean"])["condition"]
    ours, theirs = (measured.condition(bits, c, "errors") for c in (AUTOMATIC, best))
    gap = rates.rate_difference(ours, theirs, words)
    lo, hi = gap.ci95
    obtained = f"{100 * gap.mean:+.2f} points [{100 * lo:+.2f}, {100 * hi:+.2f}] to {best}"
    met = True if hi <= margin else False if lo > margin else None
    asked = f"not more than {100 * margin:.2f} points worse, a tenth of (default - digital)"
    return [_goal(what, obtained, asked, met)]


def _shares(where: str, cures: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """What the automatic cure removes, and the best of all, which is the best of several."""
    if not cures:
        return []
    quoted = [c for c in cures.values() if c["removed"]]
    what = f"{where}: share of (default - digital) removed by"
    if not quoted:
        return [_goal(f"{what} a cure", "not quoted: the gap is under 4 standard errors", ">= 50 %", None)]
    best = max(quoted, key=lambda c: c["removed"]["mean"])
    named = [c for c in quoted if c["condition"] == AUTOMATIC]
    return [_share(f"{what} {AUTOMATIC!r}", c) for c in named] + [
        _share(f"{what} the best of {len(quoted)}, {best['condition']!r}", best)
    ]


def _share(what: str, cure: dict[str, Any]) -> dict[str, Any]:
    share, (lo, hi) = cure["removed"]["mean"], cure["removed"]["ci95"]
    met = True if lo >= 0.5 else False if hi < 0.5 else None
    return _goal(what, f"{share:.0%} [{lo:.0%}, {hi:.0%}]", ">= 50 %", met)
