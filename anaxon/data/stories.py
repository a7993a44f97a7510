"""Stories of people who move and carry things, with questions: seven kinds of task in the form of the bAbI ones.

After Weston et al., "Towards AI-Complete Question Answering" (arXiv 1502.05698); the sentences are our own generator's.
Every question records the numbers of the lines that its answer needs. All choices are draws from lists of what is
possible, and what a question still needs is at most four statements away (`_towards`): generation terminates.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import numpy as np

from anaxon.check import choice, integer

PEOPLE = ("Mary", "John", "Daniel", "Sandra")
PLACES = ("bathroom", "bedroom", "garden", "hallway", "kitchen", "office")
THINGS = ("apple", "football", "milk")
MOVES = ("moved", "went", "journeyed", "travelled")
TAKES = ("got", "grabbed", "took", "picked up")
DROPS = ("dropped", "discarded", "left", "put down")
NUMBERS = ("none", "one", "two", "three")
NOTHING = "nothing"


@dataclass(frozen=True)
class Task:
    """One kind of question.

    Attributes:
      number: of the bAbI task that it resembles.
      name: what is asked.
      gap: statements before each question.
      carrying: share of statements about taking and dropping; 0 where nothing is carried.
    """

    number: int
    name: str
    gap: int
    carrying: float = 0.0


TASKS = {
    "single": Task(1, "one supporting fact", 3),
    "two": Task(2, "two supporting facts", 4, 0.4),
    "three": Task(3, "three supporting facts", 5, 0.35),
    "yes_no": Task(6, "yes or no", 3),
    "counting": Task(7, "counting", 3, 0.6),
    "lists": Task(8, "lists", 3, 0.6),
    "conjunction": Task(12, "conjunction", 3),
}


@dataclass(frozen=True)
class Line:
    """A statement, or a question with its answer and the numbers of the lines that it follows from."""

    text: str
    answer: str | None = None
    supports: tuple[int, ...] = ()


T = TypeVar("T")
Story = tuple[Line, ...]  # line i has the number i + 1


def stories(task: str, count: int, questions: int = 5, seed: int = 0) -> list[Story]:
    """Stories of a task, the same for the same seed; the first ones do not depend on the count.

    Raises:
      ValueError: for an unknown task or a number out of range.
    """
    choice("task", task, tuple(TASKS))
    integer("count", count, 1, 10**6)
    integer("questions", questions, 1, 100)
    number = TASKS[task].number
    return [_story(_World(np.random.default_rng((seed, number, i))), TASKS[task], questions) for i in range(count)]


@dataclass
class _World:
    """What has happened so far; people and things are numbers of lines apart from their names.

    Attributes:
      moved: `[(line, place), ...]` of a person, oldest first.
      holder: of a thing; `lies`: where one that was dropped lies.
      taken: the line in which a thing was taken last; `dropped`: in which it was dropped.
      handled: all lines in which a person took or dropped something.
      carried: for each thing, transitions `(from, to, supports)` while it was carried.
    """

    rng: np.random.Generator
    lines: list[Line] = field(default_factory=list)
    moved: dict[str, list[tuple[int, str]]] = field(default_factory=lambda: {p: [] for p in PEOPLE})
    holder: dict[str, str] = field(default_factory=dict)
    lies: dict[str, str] = field(default_factory=dict)
    taken: dict[str, int] = field(default_factory=dict)
    dropped: dict[str, tuple[int, int]] = field(default_factory=dict)
    handled: dict[str, list[int]] = field(default_factory=lambda: {p: [] for p in PEOPLE})
    carried: dict[str, list[tuple[str, str, tuple[int, ...]]]] = field(default_factory=lambda: {t: [] for t in THINGS})

    def pick(self, options: Sequence[T]) -> T:
        """One of them, at random."""
        return options[int(self.rng.integers(len(options)))]

    def say(self, text: str) -> int:
        """Adds a statement and returns its number."""
        self.lines.append(Line(text))
        return len(self.lines)

    def place(self, person: str) -> str | None:
        """Where a person is, if that was told."""
        return self.moved[person][-1][1] if self.moved[person] else None

    def holds(self, person: str) -> list[str]:
        """What a person carries."""
        return [t for t in THINGS if self.holder.get(t) == person]

    def takeable(self) -> list[tuple[str, str]]:
        """Whoever is somewhere may take what lies there, or what has not been seen yet."""
        free = [t for t in THINGS if t not in self.holder]
        placed = [p for p in PEOPLE if self.moved[p]]
        return [(p, t) for p in placed for t in free if self.lies.get(t, self.place(p)) == self.place(p)]

    def move(self, people: tuple[str, ...], place: str) -> None:
        """One person, or two together."""
        line = self.say(f"{' and '.join(people)} {self.pick(MOVES)} to the {place}.")
        for person in people:
            for came, origin in self.moved[person][-1:]:
                for thing in self.holds(person):
                    self.carried[thing].append((origin, place, (came, self.taken[thing], line)))
            self.moved[person].append((line, place))

    def take(self, person: str, thing: str) -> None:
        """Who takes is somewhere."""
        line = self.say(f"{person} {self.pick(TAKES)} the {thing} there.")
        self.holder[thing], self.taken[thing] = person, line
        self.handled[person].append(line)

    def drop(self, thing: str) -> None:
        """Its holder leaves it where they are."""
        person = self.holder.pop(thing)
        line = self.say(f"{person} {self.pick(DROPS)} the {thing} there.")
        came, self.lies[thing] = self.moved[person][-1]
        self.dropped[thing] = line, came
        self.handled[person].append(line)


def _story(world: _World, task: Task, questions: int) -> Story:
    for _ in range(questions):
        for _ in range(task.gap):
            _act(world, task)
        while not (possible := _ASKED[task.number](world)):
            _towards(world)
        world.lines.append(_balanced(world, possible))
    return tuple(world.lines)


def _balanced(world: _World, possible: list[Line]) -> Line:
    """A question whose answer is drawn first: rare answers are asked for as often as common ones."""
    answer = world.pick(sorted({str(line.answer) for line in possible}))
    return world.pick([line for line in possible if line.answer == answer])


def _act(world: _World, task: Task) -> None:
    """Anything that can happen."""
    dropable = list(world.holder)
    takeable = world.takeable()
    if (dropable or takeable) and world.rng.random() < task.carrying:
        if takeable and (not dropable or world.rng.random() < 0.6):
            world.take(*world.pick(takeable))
        else:
            world.drop(world.pick(dropable))
        return
    _move(world, task.number == TASKS["conjunction"].number)


def _move(world: _World, together: bool = False, people: tuple[str, ...] = PEOPLE) -> None:
    first = world.pick(people)
    others = [p for p in PEOPLE if p != first]
    group = (first, world.pick(others)) if together else (first,)
    here = {world.place(p) for p in group}
    world.move(group, world.pick([x for x in PLACES if x not in here]))


def _towards(world: _World) -> None:
    """The next statement on the shortest way to a thing that was carried: someone is somewhere, takes, moves."""
    if world.holder:
        _move(world, people=tuple(sorted(set(world.holder.values()))))
    elif takeable := world.takeable():
        world.take(*world.pick(takeable))
    else:
        lying = sorted(set(world.lies.values()))
        world.move((PEOPLE[0],), world.pick(lying or PLACES))


def _where(world: _World) -> list[Line]:
    placed = [p for p in PEOPLE if world.moved[p]]
    return [Line(f"Where is {p}?", world.moved[p][-1][1], (world.moved[p][-1][0],)) for p in placed]


def _where_things(world: _World) -> list[Line]:
    found = [
        Line(f"Where is the {t}?", world.place(p), tuple(sorted((world.taken[t], world.moved[p][-1][0]))))
        for t, p in world.holder.items()
    ]
    lying = [t for t in world.lies if t not in world.holder]
    return found + [Line(f"Where is the {t}?", world.lies[t], tuple(sorted(world.dropped[t]))) for t in lying]


def _before(world: _World) -> list[Line]:
    """By the last time that a thing was carried to each place."""
    last = {(thing, to): (came, lines) for thing in THINGS for came, to, lines in world.carried[thing]}
    return [
        Line(f"Where was the {thing} before the {to}?", came, tuple(sorted(lines)))
        for (thing, to), (came, lines) in last.items()
    ]


def _yes_no(world: _World) -> list[Line]:
    placed = [(p, *world.moved[p][-1]) for p in PEOPLE if world.moved[p]]
    return [
        Line(f"Is {p} in the {x}?", "yes" if x == place else "no", (line,)) for p, line, place in placed for x in PLACES
    ]


def _handled(world: _World, question: str, things: bool) -> list[Line]:
    """About people who have ever taken something; every line of taking and dropping decides."""
    found = []
    for person in (p for p in PEOPLE if world.handled[p]):
        held = world.holds(person)
        answer = (",".join(held) or NOTHING) if things else NUMBERS[len(held)]
        found.append(Line(question.format(person), answer, tuple(world.handled[person])))
    return found


_ASKED = {
    1: _where,
    2: _where_things,
    3: _before,
    6: _yes_no,
    7: lambda world: _handled(world, "How many objects is {} carrying?", things=False),
    8: lambda world: _handled(world, "What is {} carrying?", things=True),
    12: _where,
}


def written(given: list[Story]) -> str:
    """In bAbI's format: numbered lines that start again with each story; question, answer and supports by tabs."""
    out = []
    for story in given:
        for number, line in enumerate(story, 1):
            asked = "" if line.answer is None else f"\t{line.answer}\t{' '.join(map(str, line.supports))}"
            out.append(f"{number} {line.text}{asked}\n")
    return "".join(out)


def read(text: str) -> list[Story]:
    """Stories from text in bAbI's format.

    Raises:
      ValueError: for a line without a number, out of order, or a question without answer and supports.
    """
    found: list[list[Line]] = []
    for at, row in enumerate(filter(None, map(str.strip, text.splitlines())), 1):
        number, _, rest = row.partition(" ")
        if number == "1":
            found.append([])
        if not found or number != str(len(found[-1]) + 1) or not rest:
            raise ValueError(f"line {at}: expected the next number, or 1, and a sentence; got {row!r}")
        parts = rest.split("\t")
        if len(parts) not in (1, 3):
            raise ValueError(f"line {at}: expected a statement, or question, answer and supports by tabs; got {row!r}")
        supports = tuple(int(x) for x in parts[2].split()) if len(parts) == 3 else ()
        found[-1].append(Line(parts[0].strip(), parts[1].strip() if len(parts) == 3 else None, supports))
    return [tuple(story) for story in found]
