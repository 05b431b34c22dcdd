"""Uploads over HTTP, as tus 1.0.0 has them: parts, breaks, checksums, limits, and names that are no paths."""

import base64
import hashlib
import json
import socket

import pytest
from browser import wait_for


def code(answer):
    return answer[0]


def checksum(content, kind="sha256"):
    return f"{kind} {base64.b64encode(hashlib.new(kind, content).digest()).decode()}"


def test_it_says_what_it_knows(server):
    status, headers, _ = server.ask("OPTIONS", "/api/uploads")
    assert status == 204 and headers["tus-version"] == "1.0.0" and headers["tus-max-size"] == "10000000"
    assert headers["tus-extension"] == "creation,termination,checksum"
    assert code(server.ask("POST", "/api/uploads", Upload_Length="10")) == 400
    assert code(server.ask("POST", "/api/uploads", Upload_Length="10", Tus_Resumable="0.2.2")) == 412


def test_an_upload_goes_on_after_a_break(server):
    path, content = server.begin("slide.svs", 300_000), bytes(range(256)) * 1171 + b"x" * 224
    assert len(content) == 300_000
    # A connection that breaks off in the middle of a part: what came of it stays.
    with socket.create_connection(("127.0.0.1", server.port)) as line:
        line.sendall(
            f"PATCH {path} HTTP/1.1\r\nHost: localhost\r\nTus-Resumable: 1.0.0\r\nUpload-Offset: 0\r\n"
            "Content-Type: application/offset+octet-stream\r\nContent-Length: 300000\r\n\r\n".encode()
        )
        line.sendall(content[:100_000])
        wait_for(lambda: code(server.part(path, 0, b"x")) == 423)
    wait_for(lambda: code(server.part(path, 7, b"x")) != 423)
    status, headers, _ = server.tus("HEAD", path)
    assert status == 200 and headers["upload-length"] == "300000" and headers["cache-control"] == "no-store"
    there = int(headers["upload-offset"])
    assert there == 100_000
    assert server.part(path, 0, content)[0] == 409
    server.kill()
    server.start()
    assert server.part(path, there, content[there:200_000])[1]["upload-offset"] == "200000"
    assert code(server.part(path, 200_000, content[200_000:])) == 204
    assert server.tus("HEAD", path)[1]["upload-offset"] == "300000"
    ended = server.ended(path.rpartition("/")[2])
    # All of its bytes came, and are no slide.
    assert ended["state"] == "failed" and "no slide that can be read" in ended["reason"]
    assert (server.data / "jobs" / ended["id"] / "upload").read_bytes() == content
    assert code(server.tus("DELETE", path)) == 204
    assert code(server.tus("HEAD", path)) == 404 and not (server.data / "jobs" / ended["id"]).exists()


def test_who_goes_on_is_told_what_it_is(server):
    path = server.begin("Müller 1.svs", 20, 0.5)
    said = server.tus("HEAD", path)[1]["upload-metadata"].split(",")
    told = {key: base64.b64decode(value).decode() for key, value in (pair.split() for pair in said)}
    assert told == {"filename": "Müller 1.svs", "mpp": "0.5"}
    assert "mpp" not in server.tus("HEAD", server.begin("x.svs", 20))[1]["upload-metadata"]


def test_a_part_that_was_damaged_on_its_way_is_sent_again(server):
    path = server.begin("slide.svs", 20)
    assert code(server.part(path, 0, b"0123456789", Upload_Checksum=checksum(b"012345678x"))) == 460
    assert server.tus("HEAD", path)[1]["upload-offset"] == "0"
    assert code(server.part(path, 0, b"0123456789", Upload_Checksum="crc32 AAAA")) == 400
    assert code(server.part(path, 0, b"0123456789", Upload_Checksum=checksum(b"0123456789", "sha1"))) == 204
    # More than it was said to have: nothing of it is kept.
    assert code(server.part(path, 10, b"x" * 11)) == 413
    assert server.tus("HEAD", path)[1]["upload-offset"] == "10"
    assert code(server.tus("PATCH", path, b"x", Upload_Offset="10", Content_Type="text/plain")) == 415
    assert code(server.tus("DELETE", path)) == 204
    assert code(server.part(path, 10, b"x")) in (404, 410)


@pytest.mark.parametrize(
    ("headers", "status", "why"),
    [
        ({"Upload_Length": "10000001"}, 413, "more than the 10 MB"),
        ({"Upload_Length": "0"}, 400, "empty"),
        ({"Upload_Length": "-1"}, 400, "number of bytes"),
        ({"Upload_Length": "9" * 400}, 400, "number of bytes"),
        ({}, 400, "number of bytes"),
        ({"Upload_Length": "9", "Upload_Metadata": "filename *"}, 400, "base64"),
        ({"Upload_Length": "9", "Upload_Metadata": "filename //8="}, 400, "UTF-8"),
        ({"Upload_Length": "9", "Upload_Metadata": "mpp bmFu"}, 400, "um per pixel"),
        ({"Upload_Length": "9", "Upload_Metadata": "x " + "A" * 9000}, 400, "too long"),
    ],
)
def test_what_cannot_be_taken_is_refused_before_it_comes(server, headers, status, why):
    before = len(json.loads(server.ask("GET", "/api/jobs")[2]))
    answer = server.tus("POST", "/api/uploads", **headers)
    assert answer[0] == status and why in json.loads(answer[2])["detail"]
    assert len(json.loads(server.ask("GET", "/api/jobs")[2])) == before


def test_names_are_shown_and_are_never_paths(server):
    for name in ("../../../escaped.svs", "/etc/escaped.svs", "a\0b.svs", "\x1b[31mred.svs", "x" * 5000, "<img src=x>"):
        key = server.begin(name, 9).rpartition("/")[2]
        shown = server.job(key)["name"]
        assert len(shown) < 250 and "\x1b" not in shown and "\0" not in shown
        assert [p.name for p in (server.data / "jobs" / key).iterdir()] == ["upload"]
        server.tus("DELETE", f"/api/uploads/{key}")
    assert not list(server.data.parent.rglob("*escaped*"))


@pytest.mark.parametrize("key", ["nothing", "..", "../queue.sqlite", "%2e%2e%2fqueue.sqlite", "0" * 32, "a/b"])
def test_ids_that_are_none_lead_nowhere(server, key):
    for method, path in (
        ("HEAD", f"/api/uploads/{key}"),
        ("DELETE", f"/api/uploads/{key}"),
        ("GET", f"/api/jobs/{key}"),
        ("GET", f"/api/jobs/{key}/report.html"),
        ("GET", f"/of/{key}/report.html"),
        ("GET", f"/of/{key}/tile/0/0/0"),
    ):
        assert code(server.tus(method, path)) in (404, 405), path


def test_no_more_than_so_many_are_kept(server):
    kept = []
    while True:
        status, headers, body = server.tus("POST", "/api/uploads", Upload_Length="9")
        if status != 201:
            break
        kept.append(headers["location"])
    assert status == 503 and b"30 slides are kept here already" in body
    for path in kept:
        assert code(server.tus("DELETE", path)) == 204
