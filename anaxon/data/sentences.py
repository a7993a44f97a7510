"""A grammar of plain English sentences, three to nine words each; one sentence is never in two splits."""

import re

import numpy as np

SPLITS = ("validation", "test", "train")  # in the order in which sentences are claimed: tests stay when training grows

# Words of a class come in the order in which a smaller vocabulary keeps them.
WORDS = {
    "NAME": "anna peter maria thomas helen martin clara oliver julia simon emma victor laura henry alice daniel "
            "robert susan edward rachel",
    "PERSON": "teacher doctor farmer brother mother child driver sister father baker student soldier painter nurse "
              "neighbor captain lawyer waiter singer guest uncle cousin butcher gardener manager writer",
    "ANIMAL": "dog horse rabbit cat bird monkey spider chicken tiger donkey elephant squirrel",
    "THING": "book basket bottle letter table hammer window candle picture blanket garden ladder bicycle camera "
             "umbrella box coffee sandwich mirror jacket clock carpet apple envelope guitar pencil kettle ticket "
             "pillow newspaper telephone wallet shovel helmet violin cushion",
    "PLACE": "kitchen station river market school office forest hotel bridge island village library museum hospital "
             "corner mountain harbor airport castle theater factory valley",
    "ADJECTIVE": "old green small heavy yellow broken quiet empty young black wooden happy clean cheap simple "
                 "strange golden dirty friendly modern orange purple gentle elegant silver curious",
    "DID": "carried found opened painted bought moved washed dropped wanted forgot sold covered repaired borrowed "
           "lifted noticed counted described collected ordered changed finished",
    "DO": "carry find open paint move wash drop cover repair borrow lift bring count hide clean collect order change",
    "WENT": "walked waited slept worked stopped played laughed traveled danced arrived listened jumped studied rested",
    "LIKED": "visited followed helped called thanked remembered watched invited answered believed trusted admired",
    "WHERE": "near behind under beside outside inside across above",
    "WHEN": "yesterday today again early tonight slowly together often quickly once",
    "SEASON": "summer winter morning evening spring autumn",
    "NUMBER": "three seven twenty nine eleven fifty thirty sixteen twelve several",
    "THINGS": "books windows bottles letters tickets candles apples boxes chairs pictures flowers stones knives "
              "brushes plates oranges",
    "FEELING": "tired hungry angry ready afraid late famous proud lonely careful nervous excited",
}  # fmt: skip
RULES = {
    "SENTENCE": (
        "WHO DID WHAT", "WHO DID WHAT SPOT", "WHO DID WHAT WHEN", "WHO WENT SPOT", "WHO WENT SPOT WHEN",
        "WHO LIKED WHOM", "WHO LIKED WHOM SPOT", "please DO WHAT", "please DO WHAT SPOT", "did WHO DO WHAT SPOT",
        "where did WHO DO WHAT", "WHO DID NUMBER THINGS SPOT", "there were NUMBER THINGS SPOT", "WHO was FEELING WHEN",
        "WHO was very FEELING last SEASON", "every SEASON WHO WENT SPOT", "can you DO WHAT WHEN",
        "NAME and NAME WENT SPOT", "WHO said that WHO was FEELING", "the ANIMAL WENT SPOT",
        "we should DO WHAT before SEASON", "why is WHAT so ADJECTIVE",
    ),
    "WHO": ("NAME", "the PERSON", "my PERSON", "the ADJECTIVE PERSON", "her PERSON", "the ANIMAL"),
    "WHOM": ("NAME", "the PERSON", "his PERSON", "a ADJECTIVE PERSON", "the ADJECTIVE ANIMAL"),
    "WHAT": ("the THING", "a THING", "the ADJECTIVE THING", "my ADJECTIVE THING", "this THING"),
    "SPOT": ("WHERE the PLACE", "in the PLACE", "WHERE the ADJECTIVE PLACE", "at the PLACE"),
}  # fmt: skip
LENGTHS = range(3, 10)  # words of a sentence

_VOWEL = re.compile(r"\ba (?=[aeiou])")


def lexicon(vocabulary: float = 1.0) -> dict[str, tuple[str, ...]]:
    """The words of each class; `vocabulary` is the share that is kept, at least two of each."""
    words = {name: tuple(text.split()) for name, text in WORDS.items()}
    return {name: w[: max(2, round(vocabulary * len(w)))] for name, w in words.items()}


def vocabulary(share: float = 1.0) -> list[str]:
    """All words that sentences can hold, sorted."""
    rules = {word for group in RULES.values() for rule in group for word in rule.split() if word.islower()}
    return sorted(rules | {"an"} | {word for words in lexicon(share).values() for word in words})


def sentence(rng: np.random.Generator, words: dict[str, tuple[str, ...]]) -> str:
    """One sentence of 3 to 9 words."""
    while True:
        text = _VOWEL.sub("an ", _expand("SENTENCE", rng, words))
        if len(text.split()) in LENGTHS:
            return text


def _expand(symbol: str, rng: np.random.Generator, words: dict[str, tuple[str, ...]]) -> str:
    choices = RULES.get(symbol) or words.get(symbol)
    if choices is None:
        return symbol
    chosen = choices[rng.integers(len(choices))]
    return " ".join(_expand(s, rng, words) for s in chosen.split()) if symbol in RULES else chosen


def write(seed: int, counts: dict[str, int], share: float = 1.0) -> dict[str, list[str]]:
    """Distinct sentences of each split, `counts[split]` of them.

    A split's sentences do not change when a split that is claimed later (`SPLITS`) grows.

    Raises:
      ValueError: when the grammar has too few sentences with so small a vocabulary.
    """
    words, taken, result = lexicon(share), set(), {}
    for number, split in enumerate(SPLITS):
        rng = np.random.default_rng([seed, 401, number])
        result[split] = [_new(rng, words, taken) for _ in range(counts[split])]
    return result


def _new(rng: np.random.Generator, words: dict[str, tuple[str, ...]], taken: set[str]) -> str:
    for _ in range(1000):
        if (text := sentence(rng, words)) not in taken:
            taken.add(text)
            return text
    raise ValueError(f"data.vocabulary: too small for so many sentences ({len(taken)} distinct ones were found)")
