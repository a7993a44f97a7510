import pytest

from anaxon.settings import check_keys, config_hash, load_settings, merged, read_toml

TEXT = """
seed = 1

[hardware]
preset = "vcm-4bit"

[hardware.dac]
bits = 8
"""


@pytest.fixture
def config(tmp_path):
    path = tmp_path / "run.toml"
    path.write_text(TEXT)
    return path


@pytest.mark.parametrize(
    ("override", "place", "value"),
    [
        ("seed=7", ("seed",), 7),
        ("hardware.dac.bits=6", ("hardware", "dac", "bits"), 6),
        ("hardware.dac.v_max = 0.3", ("hardware", "dac", "v_max"), 0.3),
        ("hardware.preset=pcm", ("hardware", "preset"), "pcm"),
        ('hardware.preset="ramp-5bit"', ("hardware", "preset"), "ramp-5bit"),
        ("data.path=/data/speech_commands-v2", ("data", "path"), "/data/speech_commands-v2"),
        ("train.layers=[1, 2]", ("train", "layers"), [1, 2]),
        ("train.shuffle=true", ("train", "shuffle"), True),
        ('note="a=b"', ("note",), "a=b"),
    ],
)
def test_an_override_is_a_toml_value_at_its_place(config, override, place, value):
    settings = load_settings(config, [override])
    for key in place:
        settings = settings[key]
    assert settings == value
    assert type(settings) is type(value)


def test_overrides_leave_the_rest_and_the_last_one_wins(config):
    settings = load_settings(config, ["hardware.dac.v_max=0.3", "seed=2", "seed=3"])
    assert settings == {"seed": 3, "hardware": {"preset": "vcm-4bit", "dac": {"bits": 8, "v_max": 0.3}}}
    assert load_settings(config) == {"seed": 1, "hardware": {"preset": "vcm-4bit", "dac": {"bits": 8}}}


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("seed", "--set seed: expected name=value"),
        ("=3", "--set =3: expected name=value"),
        ("a..b=3", "--set a..b=3: expected name=value"),
        ("seed=", "is not a TOML value"),
        ("seed=[1", r"'\[1' is not a TOML value"),
        ("seed=two words", "put text in double quotes"),
        ("seed.x=1", "seed: is 1, not a table; cannot set seed.x"),
        ("hardware.preset.bits=1", "hardware.preset: is 'vcm-4bit', not a table"),
    ],
)
def test_a_bad_override_is_quoted(config, override, message):
    with pytest.raises(ValueError, match=message):
        load_settings(config, [override])


def test_bad_toml_names_file_and_line(tmp_path):
    path = tmp_path / "bad.toml"
    path.write_text("seed = 1\nbits = = 2\n")
    with pytest.raises(ValueError, match=r"bad\.toml: not valid TOML: .*line 2"):
        read_toml(path)
    path.write_bytes(b"seed = '\xff'\n")
    with pytest.raises(ValueError, match="byte 8 is not UTF-8"):
        read_toml(path)
    with pytest.raises(ValueError, match="cannot be read"):
        read_toml(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"none\.toml: there is no such file"):
        read_toml(tmp_path / "none.toml")


def test_an_unknown_key_names_the_nearest_and_all():
    check_keys({"bits": 1}, ("bits", "v_max"), "hardware.dac")
    with pytest.raises(ValueError) as error:
        check_keys({"v_maxx": 1}, ("bits", "v_max"), "hardware.dac")
    assert str(error.value) == "hardware.dac: unknown key 'v_maxx'; did you mean 'v_max'? accepted: bits, v_max"
    with pytest.raises(ValueError, match="unknown key 'zzz'; accepted: bits, v_max"):
        check_keys({"zzz": 1}, ("bits", "v_max"), "hardware.dac")


def test_merged_changes_neither():
    base, changes = {"a": {"b": 1, "c": 2}}, {"a": {"b": 3}}
    assert merged(base, changes) == {"a": {"b": 3, "c": 2}}
    assert (base, changes) == ({"a": {"b": 1, "c": 2}}, {"a": {"b": 3}})


def test_the_hash_is_of_the_content():
    first = config_hash({"a": 1, "b": {"c": 2.0, "d": [1, 2]}})
    assert first == config_hash({"b": {"d": [1, 2], "c": 2.0}, "a": 1})
    assert first != config_hash({"a": 1, "b": {"c": 2.5, "d": [1, 2]}})
    assert first != config_hash({"a": 1, "b": {"c": 2.0, "d": [2, 1]}})
    assert len(first) == 12
    assert int(first, 16) >= 0
