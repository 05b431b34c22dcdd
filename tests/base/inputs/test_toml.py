import os

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


def test_files_that_never_end_or_are_too_large(tmp_path):
    (tmp_path / "large.toml").write_bytes(b"#" * (1 << 21))
    os.mkfifo(tmp_path / "fifo.toml")
    for name, reason in (("large.toml", "larger than the 1 MiB"), ("fifo.toml", "a pipe")):
        with pytest.raises(OSError, match=reason):
            read_toml_file(tmp_path / name)
