"""Independent tasks at the same time: one on each device, under one progress bar."""

import queue
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import jax
from rich.progress import Progress

T = TypeVar("T")
Tick = Callable[[float], None]  # told how good it is so far
Task = Callable[[Tick], T]


class Stopped(Exception):
    """A task was told to end: another one failed, or the user interrupted."""


def side_by_side(tasks: Sequence[Task[T]], ticks: int, what: str, progress: bool = True) -> list[T]:
    """The results of tasks `task(tick)`, as many at once as there are devices.

    A task calls `tick` after every piece of its work, an epoch say; `ticks` is the number of all pieces. An interrupt,
    or an error in one of them, ends the others there: what they keep on the disk is what they continue from.
    """
    devices: queue.SimpleQueue = queue.SimpleQueue()
    for device in jax.local_devices():
        devices.put(device)
    stop = threading.Event()
    with Progress(disable=not progress) as bar, ThreadPoolExecutor(jax.local_device_count()) as pool:
        line = bar.add_task(what, total=ticks)

        def tick(_: float) -> None:
            bar.advance(line)
            if stop.is_set():
                raise Stopped(what)

        def run(task: Task[T]) -> T:
            if stop.is_set():
                raise Stopped(what)
            device = devices.get()
            try:
                with jax.default_device(device):
                    return task(tick)
            except BaseException:
                stop.set()
                raise
            finally:
                devices.put(device)

        futures = [pool.submit(run, task) for task in tasks]
        try:
            return _results(futures)
        except BaseException:
            stop.set()
            raise


def _results(futures: list) -> list:
    """All results; of several errors the one that stopped the others."""
    errors = [e for f in futures if (e := f.exception()) is not None]
    first = next((e for e in errors if not isinstance(e, Stopped)), None)
    if first is not None:
        raise first
    return [f.result() for f in futures]
