import jax
import jax.numpy as jnp
import numpy as np
import pytest

from anaxon.device.gaussian import Gaussian
from anaxon.types import replace

KEY = jax.random.key(7)
BOLTZMANN, CHARGE = 1.380649e-23, 1.602176634e-19


def pair_targets(n=20_000, slices=2):
    """`[2, slices, n]`: slice s holds the pair (0.25 (s + 1), 0.1)."""
    positive = np.broadcast_to(0.25 * np.arange(1, slices + 1)[:, None], (slices, n))
    return np.stack([positive, np.full((slices, n), 0.1)]).astype(np.float32)


@jax.jit
def program(device, target, key=KEY):
    return device.program(key, target)


@jax.jit
def read(device, target):
    """`psi` of freshly programmed cells."""
    return device.response(device.program(KEY, target))[0]


def assert_moments(samples, mean, std):
    """z-tests of the mean and the std of `[n]` normal samples."""
    n = samples.size
    assert abs(samples.mean() - mean) < 5 * std / np.sqrt(n)
    assert abs(samples.std() - std) < 5 * std / np.sqrt(2 * n)


@pytest.mark.parametrize(
    "kind",
    [{}, {"sigma_rel": 0.1}, {"clipped": True}, {"bandwidth": 1e8}, {"read_sigma": 0.01}],
    ids=lambda k: next(iter(k), "plain"),
)
@pytest.mark.parametrize("g_min", [0.0, 5e-6])
def test_one_weight_step_is_one_column_unit(kind, g_min):
    device = Gaussian(sigma=0.0, g_max=25e-6, g_min=g_min, **kind)
    if "sigma_rel" in kind:
        device = replace(device, sigma_rel=0.0)
    target = np.random.default_rng(1).random((2, 3, 4, 5), np.float32)
    psi = read(device, target)
    (phi,) = device.drive(np.array([0.0, -0.3, 0.6]), 0.6)
    assert psi.shape == (3, 4, 5)
    np.testing.assert_allclose(psi, target[0] - target[1], atol=1e-6)
    np.testing.assert_allclose(phi, [0.0, -0.5, 1.0], rtol=1e-6)


@pytest.mark.parametrize("bandwidth", [None, 1e6], ids=["one normal a pair", "two"])
def test_pair_noise_is_sqrt2_sigma_over_the_window(bandwidth):
    device = Gaussian(sigma=0.02, g_max=20e-6, g_min=4e-6, bandwidth=bandwidth)
    cells = program(device, pair_targets())
    assert cells.shape == ((1 if bandwidth is None else 2), 2, 20_000)
    psi = read(device, pair_targets())
    for s in range(2):
        assert_moments(np.asarray(psi[s], np.float64), 0.25 * (s + 1) - 0.1, np.sqrt(2) * 0.02 / 0.8)


def test_relative_noise_follows_the_cells_own_conductance():
    device = Gaussian(sigma=0.01, sigma_rel=0.2, g_max=20e-6, g_min=2e-6)
    cells = np.asarray(program(device, pair_targets()), np.float64)
    for cell, t in ((cells[0, 0], 0.25), (cells[0, 1], 0.5), (cells[1, 0], 0.1)):
        g = 0.1 + t * 0.9
        assert_moments(cell, g, 0.01 + 0.2 * g)
    correlation = np.corrcoef(cells[0, 0], cells[1, 0])[0, 1]
    assert abs(correlation) < 5 / np.sqrt(20_000)


def test_clipped_stays_in_the_window_with_the_mass_of_the_tail_at_its_edge():
    device = Gaussian(sigma=0.1, g_min=5e-6, g_max=25e-6, clipped=True)
    g = np.asarray(program(device, np.zeros((2, 1, 20_000), np.float32)))
    assert g.min() >= 0.2 - 1e-6 and g.max() <= 1 + 1e-6
    at_edge = np.mean(g <= 0.2 + 1e-6)  # half of the normals
    assert abs(at_edge - 0.5) < 5 * 0.5 / np.sqrt(g.size)


def test_clipped_half_normal_mean():
    g = np.asarray(program(Gaussian(sigma=0.1, clipped=True), np.zeros((2, 1, 20_000), np.float32)), np.float64)
    mean, second = 0.1 / np.sqrt(2 * np.pi), 0.1**2 / 2
    assert abs(g.mean() - mean) < 5 * np.sqrt((second - mean**2) / g.size)


STUCK = Gaussian(sigma=0.02, g_min=5e-6, g_max=25e-6, bandwidth=1e8, stuck_off=0.1, stuck_on=0.03)


def test_stuck_cells_stay_at_the_ends_of_the_window_in_their_shares():
    g = np.asarray(program(STUCK, np.full((2, 1, 20_000), 0.5, np.float32)), np.float64)
    for end, share in ((0.2, 0.1), (1.0, 0.03)):
        assert abs(np.mean(np.abs(g - end) < 1e-6) - share) < 5 * np.sqrt(share * (1 - share) / g.size)
    free = g[(g > 0.2 + 1e-6) & (g < 1 - 1e-6)]
    assert_moments(free, 0.6, 0.02)
    assert ("stuck cells", "0.1 of them at g_min, 0.03 at g_max") in STUCK.explain()


@pytest.mark.parametrize("clipped", [pytest.param(False, marks=pytest.mark.slow), True])
def test_moments_of_stuck_cells_are_those_of_many(clipped):
    device = replace(STUCK, clipped=clipped)
    target = pair_targets(n=100_000)
    found = device.moments(jnp.asarray(target[:, :, :1]))
    cells = program(device, target)
    psi, noise = (np.asarray(x[0], np.float64) for x in (device.response(cells), device.noise_response(cells)))
    for s in range(2):
        away = psi[s] - psi[s].mean()
        variance, n = away.var(), away.size
        assert abs(psi[s].mean() - found.mean[0][0, s, 0]) < 5 * np.sqrt(variance / n)
        assert abs(variance - found.covariance[0][0][0, s, 0]) < 5 * np.sqrt(((away**4).mean() - variance**2) / n)
        assert abs(noise[s].mean() - found.noise[0][0, s, 0]) < 5 * noise[s].std() / np.sqrt(n)


def test_shares_of_stuck_cells_are_at_most_all():
    with pytest.raises(ValueError, match=r"Gaussian.stuck_off \+ Gaussian.stuck_on: expected .* got 1.2"):
        Gaussian(stuck_off=0.6, stuck_on=0.6)
    with pytest.raises(ValueError, match=r"Gaussian.stuck_on: expected"):
        Gaussian(stuck_on=-0.1)


def test_noise_terms_equal_the_equations():
    device = Gaussian(sigma=0.3, g_max=20e-6, g_min=2e-6, read_sigma=0.03, bandwidth=1e8, temperature=350.0)
    volts, v_max = np.array([0.0, 0.2, -0.6]), 0.6
    cells = np.asarray(program(device, pair_targets(n=50)), np.float64)
    assert (cells < 0).any()  # unclipped: the variance must not become negative
    chi = jax.jit(lambda d, u: d.noise_drive(u, v_max))(device, volts)
    omega = device.noise_response(jnp.asarray(cells, jnp.float32))
    unit = (20e-6 - 2e-6) * v_max  # amperes of one column unit
    got = sum(np.multiply.outer(np.asarray(c, np.float64), np.asarray(w, np.float64) * np.ones((2, 50)))
              for c, w in zip(chi, omega, strict=True))  # fmt: skip
    siemens = np.abs(cells) * 20e-6
    for i, u in enumerate(volts):
        per_cell = (
            4 * BOLTZMANN * 350 * 1e8 * siemens + 2 * CHARGE * np.abs(u) * siemens * 1e8 + (u * 0.03 * 20e-6) ** 2
        )
        np.testing.assert_allclose(got[i], per_cell.sum(axis=0) / unit**2, rtol=1e-5)


def test_no_read_noise_is_no_term():
    device = Gaussian(sigma=0.1)
    assert device.noise_drive(np.ones(3), 1.0) == ()
    assert device.noise_response(np.ones((1, 2, 3))) == ()


def loss(device, target):
    """A nonlinear number of the programmed weights."""
    (psi,) = device.response(device.program(KEY, target))
    return jnp.sum(jnp.sin(3 * psi))


@pytest.mark.parametrize("kind", [{}, {"sigma_rel": 0.1}, {"clipped": True}], ids=["plain", "relative", "clipped"])
@pytest.mark.parametrize("field", ["sigma", "g_max", "g_min"])
def test_gradients_equal_differences(kind, field):
    device = Gaussian(sigma=0.05, g_max=20e-6, g_min=2e-6, **kind)
    target = pair_targets(n=40)

    @jax.jit
    def of(value, target):
        return loss(replace(device, **{field: value}), target)

    x = float(getattr(device, field))
    with jax.enable_x64(True):
        double, step = jnp.asarray(np.asarray(target), jnp.float64), 1e-5 * x
        up, down = (float(of(jnp.asarray(x + s, jnp.float64), double)) for s in (step, -step))
    np.testing.assert_allclose(jax.jit(jax.grad(of))(x, target), (up - down) / (2 * step), rtol=1e-4)


def test_gradient_to_the_target_is_the_window():
    device = Gaussian(sigma=0.05, g_max=20e-6, g_min=2e-6)
    gradient = jax.jit(jax.grad(lambda t: read(device, t).sum()))(pair_targets(n=4))
    np.testing.assert_allclose(gradient, np.stack([np.ones((2, 4)), -np.ones((2, 4))]), rtol=1e-6)


def test_sweeps_and_chips_by_vmap_equal_a_loop():
    target, keys = pair_targets(n=9), jax.random.split(KEY, 3)
    sigmas = jnp.asarray([0.0, 0.1, 0.2])

    batched = jax.jit(jax.vmap(lambda k, s: program(Gaussian(sigma=s), target, k)))(keys, sigmas)
    looped = np.stack([program(Gaussian(sigma=s), target, k) for k, s in zip(keys, sigmas, strict=True)])
    np.testing.assert_array_equal(batched, looped)


@pytest.mark.parametrize(
    ("field", "value"),
    [("sigma", -0.1), ("sigma", float("nan")), ("sigma_rel", -1.0), ("g_max", 0.0), ("g_min", -1e-6),
     ("g_min", 25e-6), ("bandwidth", 0.0), ("read_sigma", -1), ("temperature", -1.0)],
)  # fmt: skip
def test_bad_numbers_name_the_field(field, value):
    with pytest.raises(ValueError, match=f"Gaussian.{field}: expected"):
        Gaussian(**{field: value})


def test_text_is_a_type_error():
    with pytest.raises(TypeError, match=r"Gaussian.sigma: expected .* got '0.1'"):
        Gaussian(sigma="0.1")


def test_explain_names_active_noises_with_size_and_unit():
    rows = Gaussian(sigma=0.05, sigma_rel=0.02, read_sigma=0.01, bandwidth=1e8).explain()
    text = " ".join(sentence for _, sentence in rows)
    assert [name for name, _ in rows] == ["device", "programming noise", "read noise", "read noise"]
    # sqrt(25e-6 * 1e8 * (4 k 300 + 2 e 0.2)) = 14.2 nA
    assert all(s in text for s in ("25 uS", "std 0.05 of g_max", "0.02 of the target", "1e+08 Hz", "300 K", "14.2 nA"))
    assert Gaussian(sigma=0.05).explain()[-1] == ("read noise", "none")
