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
MARGIN = 0.005  # a difference of word error rates that counts as none


def goals(measured: "Measured", conditions: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The float network's rate, and what the cures remove of (default - digital), for every resolution."""
    found = []
    if measured.corpus.name.startswith("synthetic"):
        wer = rates.rate(measured.network(0, "", "test"), measured.test.words).mean
        met = 0.05 <= wer <= 0.15
        found.append(_goal("float network, WER on the test set", f"{wer:.1%}", "5 to 15 %", met))
    for bits in measured.settings.study.weight_bits:
        cures = {c["condition"]: c for c in conditions if c["bits"] == bits and c["condition"] not in NO_CURES}
        equal = {name: c for name, c in cures.items() if c["equal_bits"]}
        budget = {name: c for name, c in cures.items() if not c["equal_bits"] and c["adc_energy_share"] <= 1}
        found += _shares(f"{bits} bits, equal bits and energy", equal) + _shares(f"{bits} bits, equal energy", budget)
        found += _automatic(measured, bits, equal)
    return found


def _goal(what: str, obtained: str, asked: str, met: bool | None) -> dict[str, Any]:
    return {"what": what, "obtained": obtained, "asked": asked, "met": met}


def _automatic(measured: "Measured", bits: int, equal: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """The automatic choice against the best by hand."""
    hand = [c for c in equal.values() if not c["automatic"]]
    if not hand or AUTOMATIC not in equal:
        return []
    best = min(hand, key=lambda c: c["wer"]["mean"])["condition"]
    ours, theirs = (measured.condition(bits, c, "errors") for c in (AUTOMATIC, best))
    gap = rates.rate_difference(ours, theirs, measured.panel.words)
    lo, hi = gap.ci95
    obtained = f"{100 * gap.mean:+.2f} points [{100 * lo:+.2f}, {100 * hi:+.2f}] to {best}"
    met = True if hi <= MARGIN else False if lo > MARGIN else None
    asked = f"within {100 * MARGIN:g} points"
    return [_goal(f"{bits} bits: {AUTOMATIC!r} at least as good as the best by hand", obtained, asked, met)]


def _shares(where: str, cures: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """What the automatic cure removes, and the best of all, which is the best of several."""
    if not cures:
        return []
    quoted = [c for c in cures.values() if c["removed"]]
    what = f"{where}: share of (default - digital) removed by"
    if not quoted:
        return [_goal(f"{what} a cure", "not quoted: the gap is under 4 standard errors", ">= 50 %", None)]
    best = max(quoted, key=lambda c: c["removed"]["mean"])
    named = [c for c in quoted if c["condition"] == AUTOMATIC and c is not best]
    return [_share(f"{what} {AUTOMATIC!r}", c) for c in named] + [
        _share(f"{what} the best of {len(quoted)}, {best['condition']!r}", best)
    ]


def _share(what: str, cure: dict[str, Any]) -> dict[str, Any]:
    share, (lo, hi) = cure["removed"]["mean"], cure["removed"]["ci95"]
    met = True if lo >= 0.5 else False if hi < 0.5 else None
    return _goal(what, f"{share:.0%} [{lo:.0%}, {hi:.0%}]", ">= 50 %", met)
