import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from anaxon.training import clip_weights, keep_within, matrices

KEY = jax.random.key(0)
PARAMS = {"kernel": jax.random.normal(KEY, (40, 40)), "bias": 10 * jax.random.normal(KEY, (40,))}
STEP = jax.tree.map(lambda w: 0.1 * w, PARAMS)


def moved(transformation):
    updates, _ = transformation.update(STEP, optax.EmptyState(), PARAMS)
    return optax.apply_updates(PARAMS, updates)


def test_weights_stay_within_their_sigmas():
    after = moved(keep_within(2.0))
    wanted = np.asarray(PARAMS["kernel"] * 1.1, np.float64)
    np.testing.assert_allclose(after["kernel"], np.clip(wanted, -2 * wanted.std(), 2 * wanted.std()), atol=1e-5)
    np.testing.assert_allclose(after["bias"], PARAMS["bias"] * 1.1, rtol=1e-6)
    assert keep_within(0).update(STEP, optax.EmptyState(), PARAMS)[0] is STEP


def test_weights_stay_within_a_limit():
    after = moved(clip_weights(0.5))
    np.testing.assert_allclose(after["kernel"], np.clip(PARAMS["kernel"] * 1.1, -0.5, 0.5), atol=1e-6)
    np.testing.assert_allclose(after["bias"], PARAMS["bias"] * 1.1, rtol=1e-6)
    everything = moved(clip_weights(0.5, mask=lambda params: jax.tree.map(lambda w: True, params)))
    assert float(jnp.abs(everything["bias"]).max()) <= 0.5 + 1e-6


def test_it_composes_with_an_optimiser():
    optimiser = optax.chain(optax.adamw(0.3, mask=matrices), clip_weights(0.25))
    params, state = PARAMS, optimiser.init(PARAMS)
    for _ in range(3):
        updates, state = optimiser.update(jax.tree.map(jnp.ones_like, params), state, params)
        params = optax.apply_updates(params, updates)
        assert float(jnp.abs(params["kernel"]).max()) <= 0.25 + 1e-6


def test_bad_numbers_and_missing_parameters_are_named():
    with pytest.raises(ValueError, match=r"clip_weights: limit must be positive; got 0"):
        clip_weights(0.0)
    with pytest.raises(ValueError, match=r"keep_within: sigmas must not be negative; got -1"):
        keep_within(-1.0)
    with pytest.raises(ValueError, match="needs the parameters"):
        clip_weights(1.0).update(STEP, optax.EmptyState())
