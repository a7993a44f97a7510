import numpy as np
import pytest

from anaxon.converter import ramp


def rows(text):
    return [line.split(",") for line in text.splitlines()]


def test_a_programming_table_lists_every_device_of_a_column():
    head, *lines = rows(ramp.programming_table(ramp.design("sigmoid", 5)))
    assert head == ["activation", "device", "role", "sign", "target [uS]"]
    of = lambda role: [line for line in lines if line[2] == role]  # noqa: E731
    assert [len(of(role)) for role in ("ramp", "spare", "bias")] == [30, 2, 5]
    targets = [float(line[4]) for line in of("ramp")]
    np.testing.assert_allclose(targets, 150 * ramp.conductances(ramp.design("sigmoid", 5)), rtol=1e-5)
    np.testing.assert_allclose(sum(float(line[4]) for line in of("bias")), 709.563, rtol=1e-5)
    assert {line[3] for line in of("bias")} == {"-1"} and {line[4] for line in of("spare")} == {"0"}


@pytest.mark.parametrize(("unit", "scale"), [("S", 1e-6), ("mS", 1e-3), ("uS", 1.0), ("nS", 1e3)])
def test_units(unit, scale):
    text = ramp.programming_table(ramp.design("tanh", 3), g_max=100e-6, unit=unit)
    np.testing.assert_allclose(float(rows(text)[1][4]), 100 * scale, rtol=1e-5)
    with pytest.raises(
        ValueError, match="programming_table.unit: expected a unit of conductance, one of S, mS, uS, nS"
    ):
        ramp.programming_table(ramp.design("tanh", 3), unit="ohm")


@pytest.mark.parametrize("unit", ["S", "mS", "uS", "nS", "µS"])
def test_a_lab_gives_the_table_back_with_its_column(tmp_path, unit):
    designs = [ramp.design("sigmoid", 4), ramp.design("silu", 3)]
    path = tmp_path / "ramps.csv"
    ramp.write_programming_table(path, designs, unit=unit.replace("µ", "u"))
    head, *lines = path.read_text().splitlines()
    measured = [f"{line},{1.02 * float(line.split(',')[4])}" for line in lines]
    path.write_text("\n".join(["# chip 7", f"{head},g [{unit}]", *reversed(measured)]))
    found = ramp.read_conductances(path)
    assert set(found) == {"logistic", "silu"}
    for design in designs:
        np.testing.assert_allclose(found[design.activation], 1.02 * ramp.conductances(design), rtol=1e-5)


def test_without_numbers_the_rows_are_the_order(tmp_path):
    path = tmp_path / "column.csv"
    path.write_text("g [uS]\n150\n30\n75\n")
    np.testing.assert_allclose(ramp.read_conductances(path, activation="tanh")["tanh"], [1, 0.2, 0.5])
    np.testing.assert_allclose(ramp.read_conductances(path, 300e-6, "tanh")["tanh"], [0.5, 0.1, 0.25])


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("", "expected a header such as 'activation,device,g .uS.'; the file has no rows"),
        ("activation,g [uS]", "expected rows of ramp devices; got none"),
        ("activation,conductance [uS]\ntanh,1", ":1: unknown column 'conductance'; accepted: activation, device, role"),
        ("activation,devise,g [uS]\ntanh,1,1", "unknown column 'devise' .do you mean 'device'?"),
        ("activation,device\ntanh,1", ":1: missing column 'g .uS.', the measured conductance; got activation, device"),
        ("g [uS]\n1", "missing column 'activation'; add it, or say activation="),
        ("activation,g\ntanh,1", ":1: g: expected a unit of conductance, one of S, mS, uS, nS; got 'no unit'"),
        ("activation,g [kOhm]\ntanh,1", ":1: g: expected a unit of conductance, one of S, mS, uS, nS; got 'kOhm'"),
        ("activation,device [uS],g [uS]\ntanh,1,1", ":1: device needs no unit"),
        ("activation,g [uS],g [mS]\ntanh,1,1", ":1: a column is named twice in activation, g, g"),
        ("# a\n\nactivation,g [uS]\ntanh,1,2", ":4: expected 2 cells, one per column; got 3"),
        ("activation,g [uS]\ntanh,much", ":2: g: expected a finite number; got 'much'"),
        ("activation,g [uS]\ntanh,nan", ":2: g: expected a finite number; got 'nan'"),
        ("activation,g [uS]\ntanh,-1", ":2: g: expected a conductance >= 0; got -1"),
        ("activation,g [uS]\ntahn,1", ":2: activation: expected one of .*got 'tahn'; did you mean 'tanh'?"),
        ("activation,role,g [uS]\ntanh,rmap,1", ":2: role: expected one of ramp, bias, spare; got 'rmap'"),
        ("activation,device,g [uS]\ntanh,1,1\ntanh,1,2", ":3: device 1 of tanh comes twice"),
    ],
)
def test_bad_tables(tmp_path, text, sentence):
    path = tmp_path / "bad.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=sentence):
        ramp.read_conductances(path)


def test_not_a_text_file(tmp_path):
    path = tmp_path / "bad.csv"
    path.write_bytes(b"\xff\xfe\x00g")
    with pytest.raises(ValueError, match="expected a CSV text file in UTF-8"):
        ramp.read_conductances(path)
