import jax
import jax.numpy as jnp
import numpy as np
import pytest

from anaxon.numerics import absmax, clip, contract, contract_coarsely, contract_half, quantise, safe_scale, ste_round

VECTOR = (((1,), (0,)), ((), ()))


def test_contract_asks_for_the_highest_precision_in_float32():
    a, b = jnp.ones((3, 5), jnp.bfloat16), jnp.ones((5, 2), jnp.bfloat16)
    (dot,) = jax.make_jaxpr(lambda a, b: contract(a, b, VECTOR))(a, b).eqns
    assert dot.params["precision"] == (jax.lax.Precision.HIGHEST,) * 2
    assert contract(a, b, VECTOR).dtype == jnp.float32


def test_contract_equals_the_float64_product():
    rng = np.random.default_rng(0)
    a, b = rng.normal(size=(7, 300)).astype(np.float32), rng.normal(size=(300, 4)).astype(np.float32)
    expected = a.astype(np.float64) @ b.astype(np.float64)
    bound = 300 * 2**-24 * (np.abs(a) @ np.abs(b))
    assert np.all(np.abs(contract(a, b, VECTOR) - expected) < bound)


def test_rounding_is_half_to_even_with_gradient_one():
    x = np.array([-2.5, -0.5, 0.2, 0.5, 1.5, 2.7], np.float32)
    np.testing.assert_array_equal(ste_round(x), [-2, 0, 0, 0, 2, 3])
    np.testing.assert_array_equal(jax.vmap(jax.grad(ste_round))(x), np.ones(6))


@pytest.mark.parametrize(
    ("x", "gradients"),
    [(-2.0, (0, 1, 0)), (-1.0, (1, 0, 0)), (0.3, (1, 0, 0)), (3.0, (1, 0, 0)), (3.1, (0, 0, 1))],
    ids=["below", "lower bound", "inside", "upper bound", "above"],
)
def test_clip_gradient_is_whole_on_the_closed_interval(x, gradients):
    assert float(clip(jnp.float32(x), -1.0, 3.0)) == np.clip(np.float32(x), -1, 3)
    assert jax.grad(clip, argnums=(0, 1, 2))(x, -1.0, 3.0) == gradients


def test_clip_lets_a_few_ulp_pass_and_no_more():
    above = np.float32(3) * (1 + np.array([0, 1, 3, 5, 40], np.float32) * np.float32(2**-23))
    np.testing.assert_array_equal(jax.vmap(jax.grad(clip), (0, None, None))(above, -3.0, 3.0), [1, 1, 1, 0, 0])
    np.testing.assert_array_equal(jax.vmap(jax.grad(clip), (0, None, None))(-above, -3.0, 3.0), [1, 1, 1, 0, 0])


def reference(x, step, lo, hi):
    """Value and gradients (x, step, lo, hi) of `step * clip(round(x / step), lo, hi)`: slope 1 inside, in float64."""
    code = np.clip(np.round(x / step), lo, hi)
    below, above = x / step < lo, x / step > hi
    inside = ~(below | above)
    value = step * np.where(below, lo, np.where(above, hi, code))
    by_step = np.where(below, lo, np.where(above, hi, code - x / step))
    return value, inside * 1.0, by_step, below * step, above * step


def test_quantiser_and_all_its_gradients_equal_the_formula():
    # a step of a power of two keeps x / step exact, so that no code depends on rounding
    x = np.random.default_rng(1).uniform(-3, 3, 500).astype(np.float32)
    step, lo, hi = 0.25, -7.0, 6.0

    @jax.jit
    @jax.vmap
    def value_and_gradients(x):
        return quantise(x, step, lo, hi), *jax.grad(quantise, argnums=(0, 1, 2, 3))(x, step, lo, hi)

    for got, expected in zip(value_and_gradients(x), reference(x.astype(np.float64), step, lo, hi), strict=True):
        np.testing.assert_allclose(got, expected, atol=2e-6)


@pytest.mark.parametrize("levels", [1, 3, 7, 127])
def test_the_largest_weight_of_an_absmax_scale_has_gradient_one(levels):
    def levels_of(w):
        return quantise(w, safe_scale(jnp.max(jnp.abs(w))) / levels, -levels, levels)

    @jax.jit
    def jacobian(w):
        return jax.jacrev(levels_of)(w)

    rng = np.random.default_rng(levels)
    for _ in range(50):
        w = rng.normal(size=5).astype(np.float32)
        top = np.argmax(np.abs(w))
        expected = np.zeros(5)
        expected[top] = 1  # it is the range itself: y = absmax, whatever the others are
        np.testing.assert_allclose(jacobian(w)[top], expected, atol=1e-5)


def test_scale_of_nothing_is_one():
    np.testing.assert_array_equal(safe_scale(jnp.array([0.0, 2.0])), [1, 2])
    assert np.all(np.isfinite(jax.jacrev(lambda w: w / safe_scale(jnp.max(jnp.abs(w))))(jnp.zeros(3))))


BATCHED = (((2,), (1,)), ((0,), (0,)))
HALVES = {"float16": jnp.float16, "bfloat16": jnp.bfloat16}


def half_data(dtype, decades=0.0):
    """Operands of one array's rows, the left ones over decades, and in float64 the product of what they hold."""
    rng = np.random.default_rng(3)
    lhs = (40 * rng.normal(size=(3, 40, 128)) * 10.0 ** rng.uniform(-decades, 0, (3, 40, 128))).astype(np.float32)
    rhs = jnp.asarray(rng.uniform(-1, 1, (3, 128, 7)), dtype)
    exact = np.asarray(lhs, np.float64) @ np.asarray(rhs, np.float64)
    return lhs, rhs, exact


@pytest.mark.parametrize(("name", "bound"), [("float16", 2**-22), ("bfloat16", 2**-16)])
def test_a_product_in_halves_is_that_of_the_given_numbers(name, bound):
    """Two parts hold 22 bits of the left side (16 in bfloat16): far more than the 11 (8) bits of one."""
    lhs, rhs, exact = half_data(HALVES[name])
    found = contract_half(lhs, rhs, BATCHED)
    assert found.dtype == jnp.float32
    lost = lambda y: np.linalg.norm(y - exact) / np.linalg.norm(exact)  # noqa: E731
    assert lost(found) < bound
    assert lost(contract(lhs.astype(HALVES[name]), rhs, BATCHED)) > 30 * bound


@pytest.mark.parametrize(("name", "bits"), [("float16", 23), ("bfloat16", 16)])
def test_what_small_values_lose_beside_large_ones_is_a_part_of_the_largest(name, bits):
    """Every product is right to `2**-bits` of the largest left value: half of the last of two parts of 11 or 8 bits."""
    lhs, rhs, exact = half_data(HALVES[name], decades=9.0)
    sums = np.sum(np.abs(np.asarray(rhs, np.float64)), 1, keepdims=True)
    assert np.all(np.abs(contract_half(lhs, rhs, BATCHED) - exact) < 2.0**-bits * np.abs(lhs).max() * sums)


@pytest.mark.parametrize(("name", "bits"), [("float16", 11), ("bfloat16", 8)])
def test_a_coarse_product_is_right_to_the_bits_of_a_half(name, bits):
    lhs, rhs, _ = half_data(HALVES[name])
    lhs, rhs = np.abs(lhs), jnp.abs(rhs)  # a variance is a sum of squares
    exact = np.asarray(lhs, np.float64) @ np.asarray(rhs, np.float64)
    found = contract_coarsely(lhs, rhs, BATCHED)
    assert found.dtype == jnp.float32
    assert np.abs(found - exact).max() < 2.0**-bits * exact.max()


@pytest.mark.parametrize("product", [contract_half, contract_coarsely])
def test_a_product_in_halves_with_nothing_is_nothing(product):
    np.testing.assert_array_equal(product(jnp.zeros((2, 3)), jnp.ones((3, 4), jnp.float16), VECTOR), np.zeros((2, 4)))


def test_absmax_and_its_gradient():
    """A share of 1 for the elements that have it, with their signs; 0 of nothing and of zeros."""
    x = jnp.array([[1.0, -3.0, 3.0], [0.5, 0.0, -0.25]])
    nothing, rows = jnp.zeros((0, 2)), lambda x: absmax(x, 1, True)

    @jax.jit
    def found():
        slopes = [jax.grad(lambda v, f=f: jnp.sum(f(v)))(v) for f, v in ((absmax, x), (rows, x), (absmax, 0 * x))]
        return absmax(x), rows(x), slopes, absmax(nothing), jax.grad(absmax)(nothing), absmax(x.at[0, 0].set(jnp.nan))

    whole, by_row, slopes, of_nothing, slope, of_nan = found()
    np.testing.assert_array_equal(whole, 3.0)
    np.testing.assert_array_equal(by_row, [[3.0], [0.5]])
    for ours, expected in zip(slopes, ([[0, -0.5, 0.5], [0, 0, 0]], [[0, -0.5, 0.5], [1, 0, 0]], 0 * x), strict=True):
        np.testing.assert_array_equal(ours, expected)
    assert float(of_nothing) == 0
    assert slope.shape == (0, 2)
    assert np.isnan(of_nan)
