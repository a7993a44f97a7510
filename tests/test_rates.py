import numpy as np
import pytest
from scipy import stats

from anaxon import rates

BASE = 0.3


def heard(rng, shape, sd=(0.03, 0.02, 0.05, 0.03), base=BASE):
    """Errors `[seeds, chips, utterances]` of binomial chance around effects of seed, chip, utterance and both."""
    a, b, u = shape
    words = rng.integers(3, 12, u)
    effects = [rng.normal(0, s, n) for s, n in zip(sd, ((a, 1, 1), (a, b, 1), u, (a, 1, u)), strict=True)]
    return rng.binomial(words, np.clip(base + sum(effects), 0, 1)), words


def slow_mean_squares(errors, words):
    """The analysis of variance of linearised values, with sums written out: of S, C(S), K, S x K, rest."""
    a, b, u = errors.shape
    overall = errors.sum() / (a * b * words.sum())
    z = (errors - overall * words) / words.mean()
    s, c, k, t = {}, {}, {}, {}
    for i in range(a):
        s[i] = np.mean(z[i])
        for j in range(b):
            c[i, j] = np.mean(z[i, j])
        for n in range(u):
            t[i, n] = np.mean(z[i, :, n])
    for n in range(u):
        k[n] = np.mean(z[:, :, n])
    m = z.mean()
    seed = b * u * sum((s[i] - m) ** 2 for i in s) / (a - 1)
    chip = u * sum((c[i, j] - s[i]) ** 2 for i, j in c) / (a * (b - 1))
    utterance = a * b * sum((k[n] - m) ** 2 for n in k) / (u - 1)
    both = b * sum((t[i, n] - s[i] - k[n] + m) ** 2 for i, n in t) / ((a - 1) * (u - 1))
    rest = sum((z[i, j, n] - c[i, j] - t[i, n] + s[i]) ** 2 for i, j in c for n in range(u))
    return seed, chip, utterance, both, rest / (a * (b - 1) * (u - 1))


def test_components_are_the_analysis_of_variance():
    a, b, u = 4, 3, 7
    errors, words = heard(np.random.default_rng(0), (a, b, u), (0.1, 0.1, 0.2, 0.2))
    errors = errors + np.arange(a)[:, None, None] + np.arange(u) + 3 * np.arange(b)[:, None]
    seed, chip, utterance, both, rest = slow_mean_squares(errors, words)
    got = rates.rate_components(errors, words)
    np.testing.assert_allclose(got.seed, max(0, (seed - chip - both + rest) / (b * u)), rtol=1e-10)
    np.testing.assert_allclose(got.chip, (chip - rest) / u, rtol=1e-10)
    np.testing.assert_allclose(got.utterance, (utterance - both) / (a * b), rtol=1e-10)
    np.testing.assert_allclose(got.seed_utterance, max(0, (both - rest) / b), rtol=1e-10)
    np.testing.assert_allclose(got.rest, rest, rtol=1e-10)
    parts = np.array([seed, utterance, -both]) / (a * b * u)
    free = np.array([a - 1, u - 1, (a - 1) * (u - 1)])
    np.testing.assert_allclose(got.variance, parts.sum(), rtol=1e-10)
    np.testing.assert_allclose(got.freedom, parts.sum() ** 2 / (parts**2 / free).sum(), rtol=1e-10)


@pytest.mark.parametrize(
    ("shape", "known"),
    [
        ((6, 6, 30), {"seed": 0.36, "chip": 0.25, "utterance": 1.0, "seed_utterance": 0.49, "rest": 0.64}),
        ((6, 1, 30), {"seed": 0.36 + 0.25, "utterance": 1.0, "rest": 0.49 + 0.64}),
        ((1, 8, 30), {"chip": 0.25, "utterance": 1.0 + 0.49, "rest": 0.64}),
        ((1, 1, 30), {"utterance": 1.0 + 0.49 + 0.64}),
    ],
)
def test_components_recover_what_was_simulated_and_nothing_else_is_told(shape, known):
    rng, found = np.random.default_rng(1), []
    a, b, u = shape
    for _ in range(400):
        sizes = zip((0.6, 0.5, 1.0, 0.7, 0.8), ((a, 1, 1), (a, b, 1), u, (a, 1, u), shape), strict=True)
        z = sum(rng.normal(0, s, n) for s, n in sizes)
        found.append(rates.rate_components(100 + z, np.ones(u)).as_json())
    unknown = {"seed", "chip", "utterance", "seed_utterance", "rest"} - set(known)
    assert all(f[name] is None for f in found for name in unknown)
    for name, expected in known.items():
        values = np.array([f[name] for f in found])
        assert abs(values.mean() - expected) < 5 * values.std() / np.sqrt(len(values)), name


@pytest.mark.parametrize(
    ("shape", "sd"),
    [
        ((8, 4, 60), (0.03, 0.02, 0.05, 0.03)),
        ((8, 1, 60), (0.03, 0.02, 0.05, 0.03)),
        ((1, 8, 60), (0.0, 0.06, 0.05, 0.03)),
        ((1, 1, 60), (0.0, 0.0, 0.05, 0.03)),
    ],
)
def test_the_variance_is_that_of_the_rate(shape, sd):
    rng = np.random.default_rng(2)
    told = [rates.rate_components(*heard(rng, shape, sd)).variance for _ in range(600)]
    rng = np.random.default_rng(3)
    seen = np.array([rates.rate(*heard(rng, shape, sd)).mean for _ in range(600)])
    error = np.hypot(np.sqrt(2 / len(seen)) * seen.var(), np.std(told) / np.sqrt(len(told)))
    assert abs(np.mean(told) - seen.var(ddof=1)) < 5 * error


def coverage(shape, sd, interval, goal, runs=500):
    rng = np.random.default_rng(4)
    inside = 0
    for _ in range(runs):
        lo, hi = interval(rng, shape, sd)
        inside += lo <= goal <= hi
    return inside / runs, (inside / runs - 0.95) / np.sqrt(0.95 * 0.05 / runs)


@pytest.mark.parametrize(
    ("shape", "sd"),
    [
        ((5, 4, 40), (0.03, 0.02, 0.05, 0.03)),
        ((3, 6, 60), (0.06, 0.01, 0.02, 0.01)),
        ((6, 1, 60), (0.03, 0.02, 0.05, 0.03)),
        ((1, 8, 60), (0.0, 0.02, 0.05, 0.03)),
        ((1, 1, 60), (0.0, 0.0, 0.05, 0.03)),
    ],
)
def test_interval_of_a_rate_covers(shape, sd):
    share, z = coverage(shape, sd, lambda *how: rates.rate(*heard(*how)).ci95, BASE)
    assert abs(z) < 5, share


def test_one_seed_does_not_speak_for_seeds():
    """Why there are seeds: with one, the interval misses the rate of other trainings and says so."""
    first = heard(np.random.default_rng(0), (1, 8, 60))
    assert set(rates.rate(*first).over) == {"chips", "utterances"}
    share, _ = coverage((1, 8, 60), (0.06, 0.02, 0.02, 0.01), lambda *how: rates.rate(*heard(*how)).ci95, BASE)
    assert share < 0.7


def conditions(rng, shape, sd, share=0.6):
    """Errors of a default, a cured and a digital condition that share seeds, chips and utterances."""
    a, b, u = shape
    words = rng.integers(3, 12, u)
    effect = sum(rng.normal(0, s, n) for s, n in zip(sd, ((a, 1, 1), (a, b, 1), u, (a, 1, u)), strict=True))
    seed = rng.normal(0, 0.01, (a, 1, 1))  # how much the gap of one training differs
    p = [np.clip(BASE + effect + gap + own, 0, 1) for gap, own in ((0.3, seed), (0.3 * (1 - share), 0 * seed))]
    digital = rng.binomial(words, np.clip(np.broadcast_to(BASE + effect.mean(1, keepdims=True), (a, 1, u)), 0, 1))
    return rng.binomial(words, p[0]), rng.binomial(words, p[1]), digital, words


SD = (0.03, 0.0, 0.03, 0.01)


def test_interval_of_a_difference_covers_and_is_narrower_for_pairs():
    def interval(rng, shape, sd):
        default, _, digital, words = conditions(rng, shape, sd)
        return rates.rate_difference(default, digital[:, 0], words).ci95

    share, z = coverage((4, 5, 40), SD, interval, 0.3)
    assert abs(z) < 5, share
    rng = np.random.default_rng(5)
    default, cure, _, words = conditions(rng, (4, 5, 40), (0.1, 0.0, 0.1, 0.01))
    paired = np.diff(rates.rate_difference(default, cure, words).ci95)
    assert paired < 0.5 * np.diff(rates.rate(default, words).ci95)


def test_interval_of_a_removed_share_covers():
    def interval(rng, shape, sd):
        return rates.removed_share(*conditions(rng, shape, sd)).ci95

    share, z = coverage((4, 5, 40), SD, interval, 0.6, runs=150)
    assert abs(z) < 5, share


def test_one_value_for_all_chips_is_that_value_on_each():
    rng = np.random.default_rng(6)
    default, cure, digital, words = conditions(rng, (3, 4, 20), SD)
    each = np.repeat(digital, 4, axis=1)
    for call in (rates.rate_difference, rates.difference_components, rates.standard_errors):
        expected = call(default, each, words)
        assert call(default, digital, words) == expected
        assert call(default, digital[:, 0], words) == expected
    assert rates.removed_share(default, cure, digital, words) == rates.removed_share(default, cure, each, words)
    assert rates.rate_difference(default, digital, words).over == {"seeds": 3, "chips": 12, "utterances": 20}
    assert rates.rate(digital, words).over == {"seeds": 3, "utterances": 20}


def test_fiellers_interval_is_the_closed_form():
    """One network on one chip: the quadratic of Fieller 1954 with the covariances of linearised values."""
    rng = np.random.default_rng(7)
    u = 50
    words = np.full(u, 5.0)
    digital = rng.poisson(1.0, (1, u))
    default, cure = digital + rng.poisson(2.0, (1, u)), digital + rng.poisson(0.7, (1, u))
    above, gap = (default - cure)[0], (default - digital)[0]
    cov = np.cov(above, gap) / u
    t2 = stats.t.ppf(0.975, u - 1) ** 2
    n, d = above.mean(), gap.mean()
    ends = np.roots([d**2 - t2 * cov[1, 1], -2 * (n * d - t2 * cov[0, 1]), n**2 - t2 * cov[0, 0]])
    got = rates.removed_share(default, cure, digital, words)
    np.testing.assert_allclose(got.ci95, np.sort(ends), rtol=1e-6)
    np.testing.assert_allclose(got.mean, n / d, rtol=1e-12)


def test_a_gap_by_chance_has_no_shares():
    rng = np.random.default_rng(8)
    words = np.full(30, 5)
    a, b, c = rng.binomial(5, 0.3, (3, 3, 4, 30))
    assert abs(rates.standard_errors(a, c, words)) < rates.intervals.LEAST
    assert rates.removed_share(a, b, c, words) is None
    assert rates.removed_share(c, b, a, words) is None  # a gap the other way is none either
    found = rates.rate_difference(a + 1, c, words)
    half = np.diff(found.ci95)[0] / 2
    freedom = rates.difference_components(a + 1, c, words).freedom
    np.testing.assert_allclose(
        rates.standard_errors(a + 1, c, words), found.mean / (half / stats.t.ppf(0.975, freedom)), rtol=1e-9
    )


def test_a_share_may_have_no_far_end():
    """Three trainings that differ: the gap is 4.2 standard errors, but two degrees of freedom ask for 4.3."""
    words = np.full(4, 10.0)
    default = np.array([1.0, 1.72, 2.4])[:, None, None] * np.ones((3, 1, 4))
    cure = default - np.array([0.9, 0.2, 1.5])[:, None, None]
    got = rates.removed_share(default, cure, np.zeros((3, 4)), words)
    assert got.ci95 == (-np.inf, np.inf)
    cured = rates.removed_share(default / 2 + 1, cure / 2 + 1, np.ones((3, 4)) * 0.5, words)
    assert np.isfinite(cured.ci95).all()


def test_no_errors_are_not_certain():
    words = np.full(50, 4)
    got = rates.rate(np.zeros((3, 5, 50)), words)
    np.testing.assert_allclose(got.ci95, stats.binomtest(0, 200).proportion_ci(method="wilson"), atol=1e-9)
    same = rates.removed_share(np.full((2, 2, 50), 2), np.full((2, 2, 50), 1), np.zeros((2, 50)), words)
    assert same.mean == 0.5 and same.ci95 == (0.5, 0.5)


def test_std_is_of_the_first_thing():
    errors = np.arange(24.0).reshape(2, 3, 4)
    words = np.full(4, 10)
    np.testing.assert_allclose(rates.rate(errors, words).std, (errors.mean((1, 2)) / 10).std(ddof=1))
    np.testing.assert_allclose(rates.rate(errors[:1], words).std, (errors[0].mean(1) / 10).std(ddof=1))
    assert np.isnan(rates.rate(errors[:1, :1], words).std)
    assert rates.rate(errors, words).n == 2 and rates.rate(errors[:1], words).n == 3


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: rates.rate(np.zeros(5), np.ones(5)), "errors: expected .seeds, chips, utterances"),
        (lambda: rates.rate(np.zeros((2, 3, 1)), np.ones(1)), "two utterances"),
        (lambda: rates.rate(np.zeros((2, 3, 5)), np.ones(4)), "one number for each of 5"),
        (lambda: rates.rate(np.zeros((2, 3, 5)), np.zeros(5)), "sum above 0"),
        (lambda: rates.rate(np.full((2, 5), np.nan), np.ones(5)), "10 that are not"),
        (lambda: rates.rate_difference(np.zeros((2, 3, 5)), np.zeros((3, 3, 5)), np.ones(5)), "second: .*seeds"),
        (lambda: rates.removed_share(*np.zeros((2, 2, 3, 5)), np.zeros((2, 2, 5)), np.ones(5)), "digital: "),
    ],
)
def test_bad_input(call, words):
    with pytest.raises(ValueError, match=words):
        call()
