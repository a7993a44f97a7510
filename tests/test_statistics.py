import numpy as np
import pytest
from scipy import stats

from anaxon import statistics as st


def logit_table(rng, chips, items, chip_sd=0.3, item_sd=1.5):
    """A table of hits with a chip and an item effect on the logit; its true mean is `truth`."""
    a = rng.normal(0, chip_sd, (chips, 1))
    b = rng.normal(2.0, item_sd, (1, items))
    return (rng.uniform(size=(chips, items)) < 1 / (1 + np.exp(-(a + b)))).astype(np.uint8)


def truth(chip_sd=0.3, item_sd=1.5):
    z = stats.norm.ppf((np.arange(4000) + 0.5) / 4000)
    return float((1 / (1 + np.exp(-(2.0 + z * np.hypot(chip_sd, item_sd))))).mean())


def slow_components(y, strata):
    """The analysis of variance with sums written out."""
    a, b = y.shape
    names = sorted(set(strata))
    where = [[j for j in range(b) if strata[j] == name] for name in names]
    ms_chip = b * sum((y[i].mean() - y.mean()) ** 2 for i in range(a)) / (a - 1)
    ss_item = sum((y[:, j].mean() - y[:, group].mean()) ** 2 for group in where for j in group)
    ms_item = a * ss_item / (b - len(names))
    ss_rest = 0.0
    for group in where:
        for j in group:
            for i in range(a):
                ss_rest += (y[i, j] - y[i, group].mean() - y[:, j].mean() + y[:, group].mean()) ** 2
    ms_rest = ss_rest / ((a - 1) * (b - len(names)))
    return ms_chip, ms_item, ms_rest


@pytest.mark.parametrize("strata", [np.zeros(12, int), np.array([0, 0, 0, 0, 1, 1, 2, 2, 2, 2, 2, 1])])
def test_components_are_the_analysis_of_variance(strata):
    y = np.random.default_rng(1).normal(size=(7, 12)) + np.arange(7)[:, None] * 0.4 + np.arange(12)
    ms_chip, ms_item, ms_rest = slow_components(y, strata)
    got = st.components(y, strata)
    np.testing.assert_allclose(got.rest, ms_rest, rtol=1e-12)
    np.testing.assert_allclose(got.chip, (ms_chip - ms_rest) / 12, rtol=1e-12)
    np.testing.assert_allclose(got.item, (ms_item - ms_rest) / 7, rtol=1e-12)
    np.testing.assert_allclose(got.mean, (ms_chip + ms_item - ms_rest) / 84, rtol=1e-12)


def test_components_recover_what_was_simulated():
    rng = np.random.default_rng(2)
    found = []
    for _ in range(300):
        y = rng.normal(0, 0.3, (20, 1)) + rng.normal(0, 0.8, (1, 30)) + rng.normal(0, 0.5, (20, 30))
        c = st.components(y)
        found.append((c.chip, c.item, c.rest, c.mean))
    found = np.array(found)
    expected = np.array([0.09, 0.64, 0.25, 0.09 / 20 + 0.64 / 30 + 0.25 / 600])
    z = (found.mean(0) - expected) / (found.std(0) / np.sqrt(len(found)))
    assert np.abs(z).max() < 5


@pytest.mark.parametrize(("chips", "items"), [(40, 60), (60, 24), (5, 200)])
def test_crossed_interval_covers(chips, items):
    rng, goal, runs = np.random.default_rng(3), truth(), 1500
    covered = 0
    for _ in range(runs):
        lo, hi = st.crossed_proportion(logit_table(rng, chips, items), "clips").ci95
        covered += lo <= goal <= hi
    z = (covered / runs - 0.95) / np.sqrt(0.95 * 0.05 / runs)
    assert abs(z) < 5, covered / runs


def test_interval_over_chips_alone_would_not_cover():
    """Why the crossed interval is there: the clips' own chance is most of it."""
    rng, goal, runs = np.random.default_rng(4), truth(), 300
    covered = 0
    for _ in range(runs):
        lo, hi = st.mean_over(logit_table(rng, 40, 60).mean(1), "chips").ci95
        covered += lo <= goal <= hi
    assert covered / runs < 0.7


def test_strata_take_their_difference_out_of_the_interval():
    rng = np.random.default_rng(5)
    strata = np.repeat(np.arange(4), 10)
    y = strata + rng.normal(0, 0.1, (6, 40))
    whole, within = st.crossed_mean(y, "clips"), st.crossed_mean(y, "clips", strata)
    assert np.diff(within.ci95)[0] < 0.2 * np.diff(whole.ci95)[0]
    assert within.mean == whole.mean


def test_stratified_interval_covers():
    rng, runs, covered = np.random.default_rng(6), 1500, 0
    strata = np.repeat(np.arange(5), 6)
    base = np.array([0.0, 1.0, 2.0, 3.0, 4.0])
    for _ in range(runs):
        y = rng.normal(0, 0.2, (8, 1)) + base[strata] + rng.normal(0, 0.7, 30) + rng.normal(0, 0.5, (8, 30))
        lo, hi = st.crossed_mean(y, "clips", strata).ci95
        covered += lo <= base.mean() <= hi
    assert abs((covered / runs - 0.95) / np.sqrt(0.95 * 0.05 / runs)) < 5, covered / runs


@pytest.mark.parametrize(("hits", "n"), [(0, 10), (10, 10), (37, 40), (180, 200)])
def test_wilson_is_scipys(hits, n):
    expected = stats.binomtest(hits, n).proportion_ci(method="wilson")
    np.testing.assert_allclose(st.wilson(hits / n, n), expected, atol=1e-9)


def test_mean_over_is_students():
    x = np.random.default_rng(7).normal(size=9)
    got = st.mean_over(x, "chips")
    expected = stats.t.interval(0.95, 8, x.mean(), stats.sem(x))
    np.testing.assert_allclose(got.ci95, expected, rtol=1e-9)
    assert got.over == {"chips": 9} and got.n == 9


def test_difference_is_welchs():
    rng = np.random.default_rng(8)
    x, y = rng.normal(0.3, 1, 12), rng.normal(0, 3, 30)
    got = st.difference(x, y, "clips")
    np.testing.assert_allclose(got.ci95, stats.ttest_ind(x, y, equal_var=False).confidence_interval(0.95), rtol=1e-9)
    assert got.over == {"clips": 42}


def test_all_right_is_not_certain():
    got = st.crossed_proportion(np.ones((10, 50)), "clips")
    np.testing.assert_allclose(got.ci95, st.wilson(1.0, 50), rtol=1e-12)
    assert got.mean == 1.0 and got.ci95[0] < 0.95


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: st.components(np.zeros((1, 5))), "two of each"),
        (lambda: st.components(np.zeros(5)), "two of each"),
        (lambda: st.components(np.zeros((3, 5)), np.array([0, 0, 0, 1, 2])), "has one item"),
        (lambda: st.components(np.zeros((3, 5)), np.zeros(4)), "one for each of 5"),
        (lambda: st.proportion(np.zeros(0), "clips"), "one or more"),
        (lambda: st.mean_over(np.zeros((2, 2)), "chips"), "in a row"),
    ],
)
def test_bad_input(call, words):
    with pytest.raises(ValueError, match=words):
        call()


def test_the_interval_of_a_deviation_covers_whatever_the_distribution():
    """In 95 % of repeats, of a skewed and a short-tailed distribution; at a normal one it is s / sqrt(2 n)."""
    rng = np.random.default_rng(0)
    for draw, std in ((rng.exponential, 1.0), (rng.uniform, 12**-0.5)):
        ends = np.array([st.std_over(draw(size=400), "chips").ci95 for _ in range(1000)])
        assert 0.92 < np.mean((ends[:, 0] < std) & (std < ends[:, 1])) < 0.97
    found = st.std_over(rng.normal(size=10**6), "chips")
    assert found.ci95[1] - found.mean == pytest.approx(1.96 / np.sqrt(2e6), rel=0.01)
    assert st.std_over(np.ones(9), "chips").ci95 == (0.0, 0.0)
    with pytest.raises(ValueError, match="two or more"):
        st.std_over(np.ones(1), "chips")
