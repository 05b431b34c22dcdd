import os
import tomllib

import pytest

from wsi_idc.base.inputs.toml import parse_toml, read_toml_file


def test_what_is_toml_is_read(tmp_path):
    file = tmp_path / "a.toml"
    file.write_text('[fit]\nname = "Läsion"\n', encoding="utf-8")
    assert read_toml_file(file) == {"fit": {"name": "Läsion"}}


@pytest.mark.parametrize(
    "text",
    [
        ".".join("a" * 3000) + " = 1",
        f"a = {10**400}",
        f"a = [[{-(10**400)}]]",
        "a = " + "[" * 3000,
        "a = " + "[" * 3000 + "]" * 3000,
        "a = " + "{b=" * 3000,
        "a =",
    ],
)
def test_whatever_is_wrong_is_a_value_error(text):
    with pytest.raises(ValueError):
        parse_toml(text)


@pytest.mark.parametrize(
    "text",
    [
        ".".join("a" * 16_000) + " = 1",
        ".".join(['"a"'] * 16_000) + " = 1",
        " . ".join([r'"\""', "'b'"] * 8_000) + " = 1",
        "[" + ".".join("a" * 16_000) + "]",
        "".join(f"{i:x}={{}}\n" for i in range(1 << 20)),
    ],
    ids=["plain", "quoted", "mixed", "table", "long"],
)
def test_what_would_take_all_memory_is_not_parsed(text, monkeypatch):
    monkeypatch.setattr(tomllib, "loads", lambda text: pytest.fail("it was parsed"))
    with pytest.raises(ValueError, match=r"nested too deeply|longer than the 256 KiB"):
        parse_toml(text)


def test_dots_of_texts_are_no_names():
    name = ".".join(["ab"] * 31)
    assert parse_toml(f'a.b.c = ["{name}", "x. y"]') == {"a": {"b": {"c": [name, "x. y"]}}}


def test_files_that_never_end_or_are_too_large(tmp_path):
    (tmp_path / "large.toml").write_bytes(b"#" * (1 << 21))
    os.mkfifo(tmp_path / "fifo.toml")
    for name, reason in (("large.toml", "larger than the"), ("fifo.toml", "a pipe")):
        with pytest.raises(OSError, match=reason):
            read_toml_file(tmp_path / name)
