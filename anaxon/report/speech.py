"""What the pages of all speech jobs say about their corpus."""

from html import escape
from typing import Any

from anaxon.report.html import interval, percent, table, warning


def origin(data: dict[str, Any], metrics: dict[str, Any]) -> str:
    """A line about a real corpus; a box about a synthetic one, with its accuracy on voices that it never heard."""
    if not data["synthetic"]:
        return f"<p>Data: {escape(data['name'])}, its official split into training, validation and test speakers.</p>"
    checks = _check_table(data, metrics)
    told = (
        "The table shows the same network and chips on voices that the corpus never heard:"
        if checks
        else "No recorded voices were found on this machine to check it with (Debian packages "
        "<code>asterisk-core-sounds-en-wav</code>, <code>flite</code>)."
    )
    return "<h2>What the data are</h2>" + warning(
        "<p><b>This speech is synthetic.</b> The clips are spoken by the "
        f"formant synthesiser espeak-ng in many timbres ({data['test_voices']} of them held out for the test), with "
        "random rate, pitch, rooms and noise. Accuracy on such a test set says little about real speech, and must not "
        "be compared with accuracies on Speech Commands. It does say how the same network fares with and without "
        "analog hardware. Give a Speech Commands folder as <code>data.path</code> for a real corpus.</p>"
        f"<p>{told}</p>{checks}"
    )


def _check_table(data: dict[str, Any], metrics: dict[str, Any]) -> str:
    rows = []
    for check in data["checks"]:
        name, m = check["name"], metrics
        digital, chips = m[f"{name}: float"], m[f"{name}: chips"]
        rows.append([escape(name), str(check["clips"]), f"{percent(digital['mean'])} {interval(digital)}",
                     f"{percent(chips['mean'])} {interval(chips)}"])  # fmt: skip
    return table(["Voices", "clips", "digital", "chips"], rows, numbers=(1, 2, 3)) if rows else ""
