import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from anaxon.configs import config_path
from anaxon.device.table import device_from_table
from anaxon.types import replace

KEY = jax.random.key(11)
GOLDEN = Path(__file__).parent.parent / "golden"
FORMS = json.loads((GOLDEN / "device_closed_forms.json").read_text())["models"]
STATISTICS = json.loads((GOLDEN / "device_statistics.json").read_text())["models"]
SAMPLES = 100_000
TARGET = np.random.default_rng(3).random((2, 3, 4), np.float32)


@jax.jit
def program(device, target, key=KEY):
    return device.program(key, target)


@jax.jit
def conductance(device, cells):
    return device.conductance(cells)


def stored(name, **changes):
    return device_from_table(config_path("devices", f"{name}.csv"), **changes)


def at(device, column, g_us):
    """A table's value at conductances [uS]; sigma in uS."""
    values = np.asarray(getattr(device, column), np.float64)
    grid = np.linspace(device.low, device.high, len(values)) * 1e6
    return np.interp(g_us, grid, values) * (device.g_max * 1e6 if column == "sigma" else 1.0)


@pytest.mark.parametrize(
    ("name", "column"), [(n, c) for n, m in FORMS.items() for c in m if c not in ("g", "read_rel")]
)
def test_stored_tables_hold_the_published_fits(name, column):
    np.testing.assert_allclose(at(stored(name), column, FORMS[name]["g"]), FORMS[name][column], rtol=2e-4)


def targets(device, g_us):
    """`[2, 1, targets, samples / 2]`: both polarities at the same conductance."""
    t = (np.asarray(g_us) * 1e-6 - device.g_min) / (device.g_max - device.g_min)
    return np.broadcast_to(t.astype(np.float32)[:, None], (2, 1, len(t), SAMPLES // 2))


def per_target(cells):
    return np.moveaxis(np.asarray(cells, np.float64)[:, 0], 0, -1).reshape(cells.shape[2], -1)


def assert_same_distribution(x, golden, unclamped):
    """z-tests of mean, std and of the rank of three quantiles against `golden` `[5]` of as many samples."""
    mean, std, *quantiles = golden
    if not (unclamped and mean < 5 * std):
        assert abs(x.mean() - mean) < 5 * np.sqrt((x.var() + std**2) / SAMPLES)
        kurtosis = np.mean((x - x.mean()) ** 4) / x.var() ** 2
        assert abs(x.std() - std) < 5 * std * np.sqrt((kurtosis - 1) / (2 * SAMPLES))
    for p, q in zip((0.05, 0.5, 0.95), quantiles, strict=True):
        rank, error = np.mean(x <= max(q, 0.0)), np.sqrt(2 * p * (1 - p) / SAMPLES)
        assert rank > p - 5 * error
        assert q <= 0 or rank < p + 5 * error  # below zero there is an atom at zero


@pytest.mark.parametrize("name", list(STATISTICS))
def test_samples_equal_the_other_simulators(name):
    golden = STATISTICS[name]
    device = stored(name)
    cells = program(device, targets(device, golden["g_target"]))
    for what, rows in golden.items():
        if what == "g_target":
            continue
        if what == "nu":
            x = per_target(cells.nu)
        elif what == "prog":
            x = per_target(cells.g) * device.g_max * 1e6
        else:
            x = per_target(conductance(replace(device, time=float(what[1:])), cells)) * device.g_max * 1e6
        for i, row in enumerate(rows):
            assert_same_distribution(x[i], row, unclamped=name.startswith("reram"))


@pytest.mark.parametrize("time", ["0", "1", "86400", "31536000"])
def test_accumulated_read_noise_equals_the_closed_form(time):
    """The ratio of noisy to drifted conductance is 1 + read_rel xi, up to the slope of q at the programmed g."""
    columns = {"g": np.array([0.0, 25e-6]), "sigma": np.zeros(2), "nu": np.zeros(2), "q": np.full(2, 0.0088)}
    device = device_from_table(columns, t0=20.0, t_read=250e-9, time=float(time))
    cells = program(device, np.ones((2, 1, 1000), np.float32))
    expected = np.maximum(1 + FORMS["pcm_ibm"]["read_rel"][time][-1] * np.asarray(cells.flicker, np.float64), 0)
    np.testing.assert_allclose(conductance(device, cells), expected, rtol=2e-6)


COLUMNS = {
    "g": np.array([1e-6, 3e-6, 4e-6, 11e-6]),
    "sigma": np.array([2e-7, 4e-7, 1e-7, 3e-7]),
    "nu": np.array([0.1, 0.05, 0.06, 0.02]),
    "nu_sigma": np.array([0.0, 0.01, 0.01, 0.02]),
}


def test_between_rows_everything_is_linear():
    device = device_from_table(COLUMNS, t0=1.0)
    target = np.random.default_rng(5).random((2, 1, 500), np.float32)
    cells = program(device, target)
    g = 1e-6 + np.asarray(target, np.float64) * 10e-6
    zeroed = replace(device, sigma=0 * device.sigma, nu_sigma=0 * device.nu_sigma)
    np.testing.assert_allclose(program(zeroed, target).nu, np.interp(g, COLUMNS["g"], COLUMNS["nu"]), atol=2e-5)
    score = (np.asarray(cells.g) * 11e-6 - g) / np.interp(g, COLUMNS["g"], COLUMNS["sigma"])
    score = score[np.asarray(cells.g) > 0]
    assert abs(score.mean()) < 5 / np.sqrt(score.size) and abs(score.std() - 1) < 5 / np.sqrt(2 * score.size)


def test_an_evenly_spaced_table_is_kept_as_it_is():
    sigma = np.array([1e-7, 5e-7, 2e-7])
    device = device_from_table({"g": np.array([0.0, 1e-5, 2e-5]), "sigma": sigma})
    np.testing.assert_allclose(device.sigma, sigma / 2e-5, rtol=1e-6)


def test_drift_is_the_power_law_and_none_at_time_zero():
    device = device_from_table(COLUMNS, t0=2.0, time=0.0)
    cells = program(device, TARGET)
    np.testing.assert_array_equal(conductance(device, cells), cells.g)
    later = np.asarray(cells.g, np.float64) * ((1e4 + 2.0) / 2.0) ** -np.asarray(cells.nu, np.float64)
    aged = replace(device, time=1e4)
    np.testing.assert_allclose(conductance(aged, cells), later, rtol=1e-5)
    np.testing.assert_allclose(jax.jit(aged.response)(cells)[0], (later[0] - later[1]) / (10 / 11), atol=1e-5)


def test_what_is_off_draws_nothing_and_moves_nothing():
    drifting = program(device_from_table(COLUMNS, t0=2.0), TARGET)
    still = program(device_from_table(COLUMNS, t0=2.0, time=None), TARGET)
    assert still.nu is None and still.flicker is None
    np.testing.assert_array_equal(still.g, drifting.g)


def test_johnson_and_shot_noise_follow_the_aged_conductance():
    device = device_from_table(COLUMNS, t0=2.0, time=100.0, bandwidth=1e8)
    cells = program(device, TARGET)
    (chi,), (omega,) = jax.jit(device.noise_drive)(np.array([0.2]), 0.4), jax.jit(device.noise_response)(cells)
    siemens = np.asarray(conductance(device, cells), np.float64) * 11e-6
    per_cell = siemens * 1e8 * (4 * 1.380649e-23 * 300 + 2 * 1.602176634e-19 * 0.2)
    np.testing.assert_allclose(chi * omega, per_cell.sum(axis=0) / (10e-6 * 0.4) ** 2, rtol=1e-5)
    assert stored("reram_milo").noise_drive(np.ones(1), 1.0) == ()


def test_gradients_to_time_target_and_tables():
    device = stored("pcm_ibm", time=100.0)
    target = np.stack([np.linspace(0.1, 0.9, 7)[None], np.full((1, 7), 0.3)]).astype(np.float32)

    @jax.jit
    def loss(time, target, sigma):
        aged = replace(device, time=time, sigma=sigma)
        return jnp.sum(jnp.sin(3 * aged.response(aged.program(KEY, target))[0]))

    sigma = np.asarray(device.sigma)
    d_time, d_target, d_sigma = jax.jit(jax.grad(loss, argnums=(0, 1, 2)))(100.0, target, sigma)
    assert all(np.all(np.isfinite(d)) for d in (d_time, d_target, d_sigma))
    with jax.enable_x64(True):
        time, *rest = (jnp.asarray(v, jnp.float64) for v in (100.0, target, sigma))
        aged = [float(loss(time + dt, *rest)) for dt in (0.1, -0.1)]
        scaled = [float(loss(time, rest[0], rest[1] * s)) for s in (1.0001, 0.9999)]
    np.testing.assert_allclose(d_time, (aged[0] - aged[1]) / 0.2, rtol=1e-4)
    np.testing.assert_allclose(np.vdot(d_sigma, sigma), (scaled[0] - scaled[1]) / 0.0002, rtol=1e-4)


def test_chips_by_vmap_equal_a_loop_and_time_sweeps():
    device, keys = stored("pcm_ibm"), jax.random.split(KEY, 3)
    batched = jax.jit(jax.vmap(program, in_axes=(None, None, 0)))(device, TARGET, keys)
    looped = [program(device, TARGET, k) for k in keys]
    jax.tree.map(lambda b, *xs: np.testing.assert_array_equal(b, np.stack(xs)), batched, *looped)
    times = np.array([0.0, 1e3, 1e6], np.float32)
    swept = jax.jit(jax.vmap(lambda t: conductance(replace(device, time=t), looped[0])))(times)
    np.testing.assert_allclose(swept[2], conductance(replace(device, time=times[2]), looped[0]), rtol=1e-6)


def csv(tmp_path, text):
    path = tmp_path / "mine.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_units_and_constants_of_a_file(tmp_path):
    text = "# measured\n# t0 = 30 ms\n# g_max = 20 µS\n\n sigma [nS], g [mS], nu \n100, 0.001, 0.1\n200, 0.03, 0.2\n"
    device = device_from_table(csv(tmp_path, text))
    assert (device.t0, device.name) == (0.03, "mine")
    np.testing.assert_allclose([device.low, device.high, device.g_min, device.g_max], [1e-6, 3e-5, 1e-6, 2e-5])
    np.testing.assert_allclose(device.sigma, [1e-7 / 2e-5, 2e-7 / 2e-5], rtol=1e-6)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "expected a header"),
        ("g [uS],sgma [uS]\n0,1\n1,1", r"mine.csv:1: unknown column 'sgma' \(do you mean 'sigma'\?\)"),
        ("g,sigma [uS]\n0,1\n1,1", "g needs a unit such as uS or S; got 'no unit'"),
        ("g [uA],sigma [uS]\n0,1\n1,1", "g needs a unit such as uS or S; got 'uA'"),
        ("g [uS,sigma [uS]\n0,1\n1,1", "expected a unit in brackets"),
        ("g [uS],sigma [uS],nu [s]\n0,1,1\n1,1,1", "nu needs no unit; got 's'"),
        ("g [uS],g [uS],sigma [uS]\n0,1,1\n1,1,1", "named twice"),
        ("g [uS]\n0\n1", "missing column 'sigma'"),
        ("g [uS],sigma [uS]\n0,1", "expected at least 2 rows"),
        ("g [uS],sigma [uS]\n0,1\n1,1,1", "mine.csv:3: expected 2 numbers; got 3"),
        ("g [uS],sigma [uS]\n0,1\n1,x", "mine.csv:3: expected 2 numbers; got '1,x'"),
        ("g [uS],sigma [uS]\n0,1\n1,nan", "sigma row 1 is not a finite number"),
        ("g [uS],sigma [uS]\n0,1\n1,-1", "sigma row 1 is negative"),
        ("g [uS],sigma [uS]\n0,1\n2,1\n1,1", "g must increase from row to row; row 2 does not"),
        ("g [uS],sigma [uS],nu_sigma\n0,1,0\n1,1,0", "nu_sigma needs a column nu"),
        ("g [uS],sigma [uS],nu\n0,1,0\n1,1,0", "t0: expected seconds"),
        ("# t0 = 1 s\ng [uS],sigma [uS],q\n0,1,0\n1,1,0", "t_read: expected seconds"),
        ("# t0 = 1 V\ng [uS],sigma [uS]\n0,1\n1,1", "mine.csv:1: t0 needs a unit such as us or s; got 'V'"),
        ("# g_max = 2 uS\ng [uS],sigma [uS]\n0,1\n1,1", "g_min, g_max: expected"),
    ],
)
def test_bad_files_are_named(tmp_path, text, message):
    with pytest.raises(ValueError, match=message) as error:
        device_from_table(csv(tmp_path, text))
    assert "mine.csv" in str(error.value)


def test_bad_binary_file_and_bad_time(tmp_path):
    (tmp_path / "mine.csv").write_bytes(b"\xff\xfe\x00\x80")
    with pytest.raises(ValueError, match="expected a CSV text file"):
        device_from_table(tmp_path / "mine.csv")
    with pytest.raises(ValueError, match="Table.time: expected"):
        device_from_table(COLUMNS, t0=1.0, time=-1.0)


def test_explain_gives_sizes_and_units():
    rows = dict(stored("pcm_ibm", time=86400.0, bandwidth=1e6).explain())
    assert "0 to 25 uS" in rows["device"]
    assert "0.263 uS at target 0, 1.06 uS at target 1" in rows["programming noise"]
    assert "exponent 0.1 at target 0, 0.049 at target 1; read 8.64e+04 s" in rows["drift"]
    assert "q 0.2 at target 0, 0.0088 at target 1" in rows["1/f noise"]
    assert "1e+06 Hz" in rows["read noise"]
    assert dict(stored("reram_milo").explain())["drift"] == "none"
