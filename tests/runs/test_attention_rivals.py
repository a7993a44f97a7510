"""Other ways of pruning at the share of a threshold."""

import jax.numpy as jnp
import numpy as np
import pytest

from anaxon.attention import audit
from anaxon.runs.attention_rivals import compared
from anaxon.runs.attention_settings import Design


def test_each_way_keeps_about_the_share_of_its_layer():
    rng = np.random.default_rng(0)
    where = np.arange(24) < np.array([24, 15])[:, None, None, None]
    layers = []
    for cut in (0.3, 1.0):
        q, k = (jnp.asarray(rng.normal(size=(2, 24, 2, 8)), jnp.float32) for _ in range(2))
        layers.append([audit.decided(q, k, cut, (4 / 2047, 4 / 2047), bits=12, where=where)])
    rates = {row["mode"]: row["pruning_rate"] for row in compared(layers, Design(), 8)}
    assert 0.5 < rates["learned"] < 0.9
    assert rates["predicted"] == pytest.approx(rates["learned"], abs=0.005)  # its probabilities' own quantile
    assert rates["top_k"] == pytest.approx(rates["learned"], abs=0.05)  # a whole number of each row
    assert rates["adaptive"] == pytest.approx(rates["learned"], abs=0.005)
