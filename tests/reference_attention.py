"""Slow float64 references of pruned attention, written like the equations."""

from collections import deque

import numpy as np


def soft_threshold(x, threshold, s=10.0, c=1000.0):
    """`f, df/dx, df/dTh` of one score (Li et al.; spec 1.2)."""
    u = s * (x - threshold)
    slope = s / np.cosh(u) ** 2
    if x >= threshold:
        return x * np.tanh(u), np.tanh(u) + x * slope, -x * slope
    return c * np.tanh(u), c * slope, -c * slope


def pruned_attention(q, k, v, threshold, valid):
    """One head by loops: outputs `[q, d]`, weights `[q, k]`, and `(pairs, kept, rows, emptied)`."""
    outputs, weights = np.zeros((len(q), v.shape[1])), np.zeros((len(q), len(k)))
    pairs = kept = rows = emptied = 0
    for i in range(len(q)):
        scores = {j: q[i] @ k[j] / np.sqrt(q.shape[1]) for j in range(len(k)) if valid[i, j]}
        survivors = {j: x for j, x in scores.items() if x >= threshold}
        total = sum(np.exp(x) for x in survivors.values())
        for j, x in survivors.items():
            weights[i, j] = np.exp(x) / total
            outputs[i] += weights[i, j] * v[j]
        pairs, kept = pairs + len(scores), kept + len(survivors)
        rows, emptied = rows + bool(scores), emptied + bool(scores and not survivors)
    return outputs, weights, (pairs, kept, rows, emptied)


def termination(query, key, threshold, bits, per_cycle, form="sign-magnitude", margin="exact"):
    """Kept, scores and cycles `[q, k]` of integers `[q, d]`, `[k, d]`, cycle by cycle (spec 2.1)."""
    upper, _ = termination_bounds(query, key, bits, per_cycle, form, margin)
    scores = np.asarray(query, np.int64) @ np.asarray(key, np.int64).T
    cycles = np.zeros(scores.shape, int)
    alive = np.ones(scores.shape, bool)
    for bound in upper:
        cycles += alive  # a cycle is taken before its bound is known
        alive &= bound >= threshold
    return alive, scores, cycles


def termination_bounds(query, key, bits, per_cycle, form="sign-magnitude", margin="exact"):
    """`U_t` and `L_t` of every cycle, lane by lane, in 64-bit integers (38 bits are needed) `[cycles, q, k]`."""
    q, k = np.asarray(query, np.int64)[:, None, :], np.asarray(key, np.int64)[None, :, :]
    magnitude = bits - 1
    if form == "sign-magnitude":
        sign = np.where(k < 0, -1, 1)
        agree = ((q < 0) & (k < 0)) | ((q > 0) & (k >= 0))
    else:
        sign = 1
        agree = np.broadcast_to(q > 0, np.broadcast_shapes(q.shape, k.shape))
    stored = abs(k) if form == "sign-magnitude" else k
    upper, lower = [], []
    for cycle in range(1, -(-bits // per_cycle) + 1):
        unseen = magnitude - min(magnitude, cycle * per_cycle - 1)
        partial = (q * sign * ((stored >> unseen) << unseen)).sum(-1)
        largest = 2**unseen - (margin == "exact" or unseen == 0)
        upper.append(partial + largest * (abs(q) * agree).sum(-1))
        lower.append(partial - largest * (abs(q) * ~agree).sum(-1))
    return np.stack(upper), np.stack(lower)


class Unit:
    """A front-end unit of `pipeline`: its keys in order, and its FIFO of the survivors' rows."""

    def __init__(self, slots):
        self.slots, self.fifo = deque(slots), deque()
        self.left = self.slots[0][1] if self.slots else 0
        self.busy = self.stalls = 0

    def row(self):
        return self.slots[0][0] if self.slots else np.inf

    def cycle(self, depth):
        """One cycle of work, or of waiting for room in the FIFO."""
        row, _, kept = self.slots[0]
        if self.left > 0:
            self.left, self.busy = self.left - 1, self.busy + 1
        else:
            self.stalls += 1
        if self.left == 0 and not (kept and len(self.fifo) >= depth):
            if kept:
                self.fifo.append(row)
            self.slots.popleft()
            self.left = self.slots[0][1] if self.slots else 0


def pipeline(cycles, kept, units, depth=8, barrier="rippled", row_cycles=0, pops=1):
    """Cycles, busy and stalled cycles per unit and survivors popped of one head `[q, k]`, unit by unit (spec 3.2)."""
    q, k = cycles.shape
    front = [Unit([(i, cycles[i, j], kept[i, j]) for i in range(q) for j in range(n, k, units) if cycles[i, j]])
             for n in range(units)]  # fmt: skip
    rows = deque(i for i in range(q) if (kept[i] & (cycles[i] > 0)).any())
    clock = last_front = last_back = turn = popped = blocked = 0
    while any(u.slots or u.fifo for u in front) or (row_cycles and rows) or blocked:
        clock += 1
        undone = min([u.row() for u in front] + [u.fifo[0] for u in front if u.fifo])
        if row_cycles and not blocked and rows and rows[0] < undone:
            rows.popleft()
            blocked = row_cycles
        if blocked:
            blocked, last_back = blocked - 1, clock
        else:
            for _ in range(pops):
                waiting = [n % units for n in range(turn, turn + units) if front[n % units].fifo]
                if waiting:
                    n = min(waiting, key=lambda n: front[n].fifo[0])  # of equally old ones the first in turn
                    front[n].fifo.popleft()
                    turn, popped, last_back = (n + 1) % units, popped + 1, clock
        oldest = min(u.row() for u in front)
        working = [n for n, u in enumerate(front) if u.row() == oldest]
        others = [u.row() for n, u in enumerate(front) if n not in working]
        for n, unit in enumerate(front):
            behind = barrier == "rippled" and n > working[-1]
            freed = behind and unit.row() <= min(others + [front[m].row() for m in working])
            if unit.slots and (n in working or freed or barrier == "none"):
                unit.cycle(depth)
                last_front = clock
    return (max(last_front + 1, last_back) if last_front else 0,
            [u.busy for u in front], [u.stalls for u in front], popped)  # fmt: skip


def gaussian_heads(size, head_dim, bits):
    """Integers `[size, head_dim]` of normal queries, then keys, of `default_rng(0)`, each scaled by its absmax."""
    rng, largest = np.random.default_rng(0), 2 ** (bits - 1) - 1
    draws = [rng.standard_normal((size, head_dim)) for _ in range(2)]
    return tuple(np.round(x / (np.abs(x).max() / largest)).astype(np.int64) for x in draws)
