import jax
import jax.numpy as jnp
import numpy as np
import pytest

from anaxon import threefry

KEY = jax.random.key(7)


@pytest.mark.parametrize("shape", [(), (1,), (5, 7), (2, 3, 4, 5)])
def test_bits_are_those_of_jax(shape):
    np.testing.assert_array_equal(threefry.bits(KEY, shape), jax.random.bits(KEY, shape, jnp.uint32))


def test_the_published_vectors():
    """Random123 1.14, kat_vectors: threefry2x32 with 20 rounds."""
    cases = [
        ((0, 0), (0, 0), (0x6B200159, 0x99BA4EFE)),
        ((0xFFFFFFFF, 0xFFFFFFFF), (0xFFFFFFFF, 0xFFFFFFFF), (0x1CB996FC, 0xBB002BE7)),
        ((0x13198A2E, 0x03707344), (0x243F6A88, 0x85A308D3), (0xC4923A9C, 0x483DF7A0)),
    ]
    for key, counter, expected in cases:
        key = jax.random.wrap_key_data(jnp.array(key, jnp.uint32))
        found = threefry.hashed(key, *(jnp.uint32(c) for c in counter))
        assert tuple(int(x) for x in found) == expected


def test_words_of_one_key_are_told_apart_by_their_number():
    words = [np.asarray(w) for w in threefry.words(KEY, 5, (4, 1000))]
    assert len(words) == 5 and all(w.shape == (4, 1000) and w.dtype == np.uint32 for w in words)
    for i, first in enumerate(words):
        for second in words[i + 1 :]:
            assert not np.any(first == second)
    for fewer, more in zip(threefry.words(KEY, 3, (4, 1000)), words, strict=False):
        np.testing.assert_array_equal(fewer, more)  # asking for more changes none


def test_lanes_of_a_vmap_draw_what_they_draw_alone():
    keys = jax.random.split(KEY, 3)
    together = jax.vmap(lambda k: threefry.words(k, 3, (17,)))(keys)
    for lane, key in enumerate(keys):
        for both, alone in zip(together, threefry.words(key, 3, (17,)), strict=True):
            np.testing.assert_array_equal(both[lane], alone)


def test_too_many_draws_are_refused():
    with pytest.raises(ValueError, match="fewer than 2"):
        threefry.counters((2**16, 2**16))
