"""Generated stories: answers and supports against a solver that reads only the text."""

import re

import numpy as np
import pytest

from anaxon.data import story_questions
from anaxon.data.stories import NUMBERS, TASKS, Line, read, stories, written

MOVE = re.compile(r"^([\w ]+) (?:moved|went|journeyed|travelled) to the (\w+)\.$")
TAKE = re.compile(r"^(\w+) (?:got|grabbed|took|picked up) the (\w+) there\.$")
DROP = re.compile(r"^(\w+) (?:dropped|discarded|left|put down) the (\w+) there\.$")


def told(texts):
    """Events in order: (kind, people, place or thing)."""
    for text in texts:
        if found := MOVE.match(text):
            yield "move", found[1].split(" and "), found[2]
        elif found := TAKE.match(text):
            yield "take", [found[1]], found[2]
        elif found := DROP.match(text):
            yield "drop", [found[1]], found[2]
        else:
            raise AssertionError(text)


def last_place(events, person):
    return next((x for kind, who, x in reversed(events) if kind == "move" and person in who), None)


def held(events, person):
    """Things whose last handling is that this person took them."""
    last = {thing: (kind, who[0]) for kind, who, thing in events if kind != "move"}
    return sorted(thing for thing, how in last.items() if how == ("take", person))


def path_of(events, thing):
    """Every place a thing has been in, one after the other."""
    places = []
    for i in range(1, len(events) + 1):
        seen = [(kind, who[0]) for kind, who, x in events[:i] if kind != "move" and x == thing]
        if seen and seen[-1][0] == "take" and (here := last_place(events[:i], seen[-1][1])) is not None:
            places += [here] if places[-1:] != [here] else []
    return places


def solve(texts, question):
    """The answer from statements alone."""
    events = list(told(texts))
    if found := re.match(r"^Where is ([A-Z]\w+)\?$", question):
        return last_place(events, found[1])
    if found := re.match(r"^Where is the (\w+)\?$", question):
        at = max(i for i, (kind, _, x) in enumerate(events) if kind != "move" and x == found[1])
        kind, (who,), _ = events[at]
        return last_place(events if kind == "take" else events[:at], who)
    if found := re.match(r"^Where was the (\w+) before the (\w+)\?$", question):
        path = path_of(events, found[1])
        return path[max(i for i, x in enumerate(path) if x == found[2] and i > 0) - 1]
    if found := re.match(r"^Is (\w+) in the (\w+)\?$", question):
        return "yes" if last_place(events, found[1]) == found[2] else "no"
    if found := re.match(r"^How many objects is (\w+) carrying\?$", question):
        return NUMBERS[len(held(events, found[1]))]
    found = re.match(r"^What is (\w+) carrying\?$", question)
    return ",".join(held(events, found[1])) or "nothing"


@pytest.mark.parametrize("task", TASKS)
def test_answers_and_supports(task):
    """From all statements before a question, and from its supports alone."""
    seen = set()
    for story in stories(task, 120, seed=5):
        assert sum(line.answer is not None for line in story) == 5
        for i, line in enumerate(story):
            if line.answer is None:
                continue
            before = [x.text for x in story[:i] if x.answer is None]
            assert solve(before, line.text) == line.answer
            assert all(1 <= n <= i and story[n - 1].answer is None for n in line.supports)
            assert list(line.supports) == sorted(set(line.supports))
            assert solve([story[n - 1].text for n in line.supports], line.text) == line.answer
            seen.add(line.answer)
    assert len(seen) >= {"yes_no": 2, "counting": 4}.get(task, 6)


@pytest.mark.parametrize(
    ("task", "count"), [("single", 1), ("two", 2), ("three", 3), ("yes_no", 1), ("conjunction", 1)]
)
def test_how_many_supports(task, count):
    assert {len(x.supports) for story in stories(task, 30) for x in story if x.answer is not None} == {count}


def test_every_support_is_needed():
    """Without any one of them the solver does not know, or says something else by chance at most."""
    wrong = right = 0
    for story in stories("three", 40, seed=2):
        for line in story:
            for left_out in line.supports:
                try:
                    answer = solve([story[n - 1].text for n in line.supports if n != left_out], line.text)
                except (ValueError, IndexError):
                    answer = None
                wrong, right = wrong + (answer != line.answer), right + (answer == line.answer)
    assert right == 0 and wrong > 500


def test_nobody_goes_where_they_are_and_takes_what_is_elsewhere():
    for story in stories("lists", 60, seed=3):
        events = list(told(x.text for x in story if x.answer is None))
        for i, (kind, who, x) in enumerate(events):
            if kind == "move":
                assert all(last_place(events[:i], p) != x for p in who)
            elif kind == "drop":
                assert x in held(events[:i], who[0])
            else:
                places = path_of(events[:i], x)
                assert not places or places[-1] == last_place(events[:i], who[0])


def test_seeds_fix_stories():
    assert stories("two", 5, seed=1) == stories("two", 9, seed=1)[:5]
    assert stories("two", 5, seed=1) != stories("two", 5, seed=2)


def test_answers_are_balanced():
    answers = [x.answer for story in stories("yes_no", 200) for x in story if x.answer is not None]
    assert abs(answers.count("yes") / len(answers) - 0.5) < 0.05


def test_the_format_is_read_back():
    some = stories("three", 7) + stories("lists", 3)
    text = written(some)
    assert read(text) == some
    assert re.match(r"^1 \w+ (and \w+ )?\w+ to the \w+\.\n", text)
    assert re.search(r"\n\d+ Where was the \w+ before the \w+\?\t\w+\t\d+ \d+ \d+\n", text)


def test_foreign_text_is_read():
    """A line of the original data: spaces before the question's tab."""
    text = "1 Mary moved to the bathroom.\n2 John went to the hallway.\n3 Where is Mary? \tbathroom\t1\n"
    (story,) = read(text)
    assert story[2] == Line("Where is Mary?", "bathroom", (1,))


@pytest.mark.parametrize("text", ["2 Mary went.", "1 Mary went.\n3 John went.", "Mary went", "1 Where?\tkitchen"])
def test_broken_text_is_named(text):
    with pytest.raises(ValueError, match=r"^line \d"):
        read(text)


def test_unknown_tasks_are_named():
    with pytest.raises(ValueError, match="task: expected one of"):
        stories("four", 1)


def test_questions_as_arrays():
    some = read(
        "1 Mary moved to the office.\n2 John went to the hallway.\n3 Where is Mary?\toffice\t1\n"
        "4 Mary went to the hallway.\n5 Where is Mary?\thallway\t4\n"
    )
    known = story_questions.vocabulary(some)
    found = story_questions.questions(some, known, memories=3)
    word = lambda code: known[code - 1]  # noqa: E731
    assert [word(c) for c in found.answer] == ["office", "hallway"]
    assert [word(c) for c in found.memories[1, 0] if c] == ["Mary", "went", "to", "the", "hallway"]
    assert [word(c) for c in found.memories[1, 2] if c] == ["Mary", "moved", "to", "the", "office"]
    np.testing.assert_array_equal(found.valid, [2, 3])
    np.testing.assert_array_equal(found.supports, [1, 1])
    assert not found.memories[0, 2].any()
    assert story_questions.ceiling(found.supports, found.valid, 3) == pytest.approx(1 - 2 / 15)
    assert story_questions.questions(some, known, memories=2).valid.max() == 2
    with pytest.raises(ValueError, match="'hallway' is not in it"):
        story_questions.questions(some, tuple(w for w in known if w != "hallway"))
