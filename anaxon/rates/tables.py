"""Tables of errors `[seeds, chips, utterances]`: checked, paired, linearised."""

import numpy as np


def checked(name: str, errors: np.ndarray, words: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Errors `[seeds, chips, utterances]` and words `[utterances]` in float64."""
    table, words = np.asarray(errors, np.float64), np.asarray(words, np.float64)
    table = table[:, None, :] if table.ndim == 2 else table
    if table.ndim != 3 or 0 in table.shape or table.shape[2] < 2:
        raise ValueError(
            f"{name}: expected [seeds, chips, utterances] or [seeds, utterances] with two utterances or more; "
            f"got shape {np.shape(errors)}"
        )
    if words.shape != table.shape[2:]:
        raise ValueError(f"words: expected one number for each of {table.shape[2]} utterances; got shape {words.shape}")
    if not (np.isfinite(words).all() and (words >= 0).all() and words.sum() > 0):
        raise ValueError("words: expected counts of 0 or more with a sum above 0; got others")
    if not np.isfinite(table).all():
        raise ValueError(f"{name}: expected finite counts; got {int((~np.isfinite(table)).sum())} that are not")
    return table, words


def paired(words: np.ndarray, **tables: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The difference of two tables, that without chips repeated over those of the other."""
    (one, first), (other, second) = ((name, checked(name, table, words)[0]) for name, table in tables.items())
    fits = first.shape[0] == second.shape[0] and (
        first.shape[1] == second.shape[1] or 1 in (first.shape[1], second.shape[1])
    )
    if not fits:
        raise ValueError(f"{other}: expected the seeds and chips of {one} {first.shape}; got shape {second.shape}")
    return first - second, np.asarray(words, np.float64)


def total(table: np.ndarray, words: np.ndarray) -> float:
    """Words read by all chips of all seeds."""
    return float(words.sum()) * table.shape[0] * table.shape[1]


def linearised(table: np.ndarray, words: np.ndarray) -> np.ndarray:
    """Values whose mean is 0 and whose mean's variance is that of the rate."""
    return (table - table.sum() / total(table, words) * words) / words.mean()


def over_of(table: np.ndarray) -> dict[str, int]:
    """What the table has several of; chips are those of all seeds together."""
    seeds, chips, utterances = table.shape
    counts = {"seeds": seeds, "chips": seeds * chips if chips > 1 else 1, "utterances": utterances}
    return {name: n for name, n in counts.items() if n > 1}
