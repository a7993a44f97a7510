"""Tables for pages that are kept beside the code."""

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import Any


def table(head: Sequence[Any], rows: Iterable[Sequence[Any]]) -> str:
    """A Markdown table, with an empty line behind it."""
    lines = ("| " + " | ".join(str(x) for x in row) + " |" for row in (head, ("---",) * len(head), *rows))
    return "\n".join(lines) + "\n"


def origin(record: Mapping[str, Any], written: float) -> str:
    """When (seconds since 1970), on what and with which versions a record was made, and how long its phases took.

    Phases of parts that other processes made are not counted.
    """
    date = time.strftime("%d %B %Y", time.gmtime(written))
    versions = ", ".join(f"{name} {record['versions'][name]}" for name in ("python", "jax", "flax", "anaxon"))
    seconds = sum(v for k, v in record["seconds"].items() if not k.startswith("part "))
    made = f"Configuration {record['config_hash']}, seed {record['seed']}."
    return (
        f"{date}, {record['device']['kind']}, {versions}. {made} "
        f"The phases of the process that wrote the results took {seconds / 60:.1f} min."
    )
