import os
import socket

import pytest

from wsi_idc.base.inputs.bounded import check_regular, open_regular, read_bytes, read_lines, read_text


@pytest.fixture
def odd(tmp_path, monkeypatch):
    """What is no file: a pipe that nobody writes to, a socket, a device without an end, a link to it, a folder."""
    os.mkfifo(tmp_path / "pipe")
    # By a relative name: that of a socket is short.
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as one:
        one.bind("socket")
    (tmp_path / "zero").symlink_to("/dev/zero")
    return [tmp_path / "pipe", tmp_path / "socket", tmp_path / "zero", tmp_path]


def test_what_is_no_file_is_refused_at_once(odd):
    for path in odd:
        for read in (check_regular, open_regular, lambda p: read_bytes(p, 10), lambda p: read_lines(p, 10)):
            with pytest.raises(OSError, match=r"is a pipe, a socket or a device|Is a directory"):
                read(path)


def test_files_are_read_up_to_their_bound(tmp_path):
    file = tmp_path / "a.txt"
    file.write_bytes(b"\xef\xbb\xbfa\r\nb\rc")
    assert read_text(file, 9) == "a\nb\nc"
    assert read_lines(file, 9) == ["a", "b", "c"]
    with pytest.raises(OSError, match="larger than the 0 kB"):
        read_text(file, 8)
    os.truncate(file, 10 << 30)
    with pytest.raises(OSError, match="larger than the 1 MiB"):
        read_bytes(file, 1 << 20)


@pytest.mark.parametrize(("text", "reason"), [("a" * 70_000, "a line of more than"), ("\n" * 1_000_001, "lines")])
def test_lists_without_measure(tmp_path, text, reason):
    (tmp_path / "a.txt").write_text(text)
    with pytest.raises(ValueError, match=reason):
        read_lines(tmp_path / "a.txt", 1 << 24)
