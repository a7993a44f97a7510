"""Self-contained HTML pages: what every report is made of, whatever its job."""

import base64
import json
from collections.abc import Collection, Mapping, Sequence
from html import escape
from typing import Any

from anaxon.interpret import text
from anaxon.report.style import CSS


def document(title: str, parts: Sequence[str]) -> str:
    """The whole page; `title` is text, `parts` are HTML."""
    title = escape(title)
    return (
        f'<!doctype html><html lang="en"><head><meta charset="utf-8"><title>{title}</title>'
        f'<meta name="viewport" content="width=device-width, initial-scale=1"><style>{CSS}</style></head>'
        f"<body><main>{''.join(parts)}</main></body></html>\n"
    )


def tiles(shown: Sequence[tuple[str, str, str]]) -> str:
    """The numbers at the top: name, value and a note each, all text."""
    cards = "".join(
        f'<div class="tile"><div class="name">{escape(n)}</div><div class="value">{escape(v)}</div>'
        f'<div class="note">{escape(t)}</div></div>'
        for n, v, t in shown
    )
    return f'<div class="tiles">{cards}</div>'


def gallery(figures: Mapping[str, bytes], captions: Mapping[str, str], wide: Collection[str] = ()) -> str:
    """Pictures (PNG by name) with their captions (text by name), two a row but for those in `wide`."""
    shown = (_figure(image, captions[name], " wide" * (name in wide)) for name, image in figures.items())
    return f'<div class="figures">{"".join(shown)}</div>'


def _figure(image: bytes, caption: str, kind: str) -> str:
    source = base64.b64encode(image).decode()
    return (
        f'<figure class="card{kind}"><img alt="{escape(caption)}" src="data:image/png;base64,{source}">'
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def table(head: list[str], rows: list[list[str]], numbers: tuple[int, ...] = ()) -> str:
    """An HTML table; cells are HTML, those in the columns `numbers` are aligned to the right."""

    def row(cells: list[str], tag: str) -> str:
        mark = lambda i: ' class="num"' if i in numbers else ""  # noqa: E731
        return "<tr>" + "".join(f"<{tag}{mark(i)}>{c}</{tag}>" for i, c in enumerate(cells)) + "</tr>"

    top = f"<thead>{row(head, 'th')}</thead>" if any(head) else ""
    return f"<table>{top}<tbody>{''.join(row(r, 'td') for r in rows)}</tbody></table>"


def card(content: str) -> str:
    """A white box that scrolls sideways where the screen is narrow."""
    return f'<div class="card scroll">{content}</div>'


def warning(content: str) -> str:
    """A box that nobody overlooks; `content` is HTML in paragraphs."""
    return f"<div class='warn'>{content}</div>"


def hardware(explained: Mapping[str, Any]) -> str:
    """What is active where: titled sections of (name, sentence), and a table of weights where there are any."""
    blocks = []
    for section in explained["sections"]:
        rows = [[escape(name), escape(words)] for name, words in section["rows"]]
        blocks.append(f"<p><b>{escape(section['title'])}</b></p>{card(table(['', ''], rows))}")
    head, *weights = explained["weights"] or [[]]
    if weights:
        cells = [[escape(c) for c in row] for row in weights]
        blocks.append(f"<p><b>Weights</b></p>{card(table(list(head), cells))}")
    return "".join(blocks)


def origin(facts: Sequence[list[str]], record: Mapping[str, Any]) -> str:
    """Where the numbers come from: facts (name, HTML), then machine, versions, seconds and the configuration."""
    device = record["device"]
    versions = ", ".join(f"{k} {v}" for k, v in record["versions"].items())
    computed = f"{device['count']} × {device['kind']} ({device['platform']}), {device['system']} {device['machine']}"
    seconds = ", ".join(f"{k} {v:g}" for k, v in record["seconds"].items())
    rows = [*facts, ["Computed on", escape(f"{computed}; {versions}")], ["Seconds", escape(seconds)]]
    config = escape(json.dumps(record["config"], indent=2))
    return (
        f"{card(table(['', ''], rows))}<details><summary>Configuration, resolved</summary><pre>{config}</pre></details>"
    )


def quantity(value: float, unit: str) -> str:
    """`1.23 µJ`."""
    return text.quantity(value, unit).replace(" u", " µ")


def percent(share: float, digits: int = 1) -> str:
    """`83.1 %`."""
    return f"{100 * share:.{digits}f} %"


def interval(m: Mapping[str, Any]) -> str:
    """`[80.2, 85.9]` in percent."""
    lo, hi = m["ci95"]
    return "–" if lo is None else f"[{100 * lo:.1f}, {100 * hi:.1f}]"


def points(m: Mapping[str, Any]) -> str:
    """`[+1.2, +3.4]` in percentage points."""
    lo, hi = m["ci95"]
    return "–" if lo is None else f"[{100 * lo:+.1f}, {100 * hi:+.1f}]"


def mean_and_std(m: Mapping[str, Any] | None) -> str:
    """`15 ± 3 %`."""
    return "–" if m is None else f"{100 * m['mean']:.3g} ± {100 * (m['std'] or 0):.2g} %"
