import json

import pytest

from wsi_idc.base.inputs.documents import parse_json, read_json

SCHEMA = {"type": "object", "required": ["a"], "properties": {"a": {"type": "number", "minimum": 0}}}


def test_what_is_as_its_schema_says_is_read(tmp_path):
    (tmp_path / "a.json").write_text('{"a": 1.5, "b": [9007199254740993]}')
    assert read_json(tmp_path / "a.json", 100, SCHEMA) == {"a": 1.5, "b": [9007199254740993]}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        "{}",
        '{"a": null}',
        '{"a": -1}',
        '{"a": [1]}',
        '{"a": NaN}',
        '{"a": 1, "b": Infinity}',
        '{"a": 1, "b": 1e999}',
        '{"a": 1, "b": ' + "9" * 400 + "}",
        '{"a": ' + "[" * 100_000,
        '{"a": ' + "[" * 900 + "]" * 900 + "}",
        b"\xff\xfe{",
    ],
)
def test_whatever_is_wrong_is_a_value_error_in_a_line(text):
    with pytest.raises(ValueError) as error:
        parse_json(text, SCHEMA)
    assert len(str(error.value)) < 300 and "\n" not in str(error.value)


def test_what_is_wrong_is_named():
    with pytest.raises(ValueError, match=r"^\$\.a: 'x' is not of type 'number'$"):
        parse_json(json.dumps({"a": "x"}), SCHEMA)


@pytest.mark.parametrize("value", ["[]", "{}", '{"a": 1}'])
@pytest.mark.parametrize("kind", [str, str.encode])
def test_more_values_than_memory_are_not_parsed(value, kind, monkeypatch):
    monkeypatch.setattr(json, "loads", lambda *_, **__: pytest.fail("it was parsed"))
    with pytest.raises(ValueError, match=r"holds [\d,]+ values, more than"):
        parse_json(kind("[" + f"{value}, " * 2_000_000 + "0]"))


def test_long_lists_of_numbers_are_parsed():
    assert len(parse_json("[" + "0.25, " * 1_000_000 + "1]")) == 1_000_001
