"""Who is let in: with a token who knows it, without one this machine only, and no page of another site."""

import subprocess
import sys

import pytest
from served import Served

from wsi_idc.errors import SettingsError
from wsi_idc.serve.gate import Address, read_token

TOKEN = "correct-horse-battery-staple"
OPEN = "/api/jobs", "/", "/about", "/api", "/openapi.json", "/of/x/view", "/of/x/report.html", "/_nicegui_ws/socket.io/"


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    folder = tmp_path_factory.mktemp("guarded")
    (folder / "token").write_text(f"{TOKEN}\n")
    known = {"Authorization": f"Bearer {TOKEN}"}
    with Served(folder / "data", "--token-file", str(folder / "token"), headers=known) as served:
        served._headers = {}
        yield served


def test_nothing_is_answered_without_the_token(guarded):
    for path in OPEN:
        for headers in ({}, {"Authorization": f"Bearer {TOKEN}x"}, {"Cookie": "wsi-idc=9999999999.00"}):
            status, _, body = guarded.ask("GET", path, **headers)
            assert status == 401 and b"token" in body, path
    assert guarded.tus("POST", "/api/uploads", Upload_Length="9")[0] == 401
    assert guarded.ask("GET", "/api/jobs", Authorization=f"Bearer {TOKEN}")[0] == 200
    # Of a browser, it is asked for.
    assert b'type="password"' in guarded.ask("GET", "/", Accept="text/html")[2]


def test_a_browser_signs_in_and_keeps_no_token(guarded):
    import http.client

    line = http.client.HTTPConnection("127.0.0.1", guarded.port)
    line.request("POST", "/sign-in", "token=wrong-wrong-wrong-wrong")
    answer = line.getresponse()
    assert answer.status == 403 and b"another one" in answer.read()
    line.request("POST", "/sign-in", f"token={TOKEN}", {"Host": "slides.example", "Origin": "https://slides.example"})
    answer = line.getresponse()
    answer.read()
    cookie = answer.headers["Set-Cookie"]
    assert answer.status == 303 and "HttpOnly" in cookie and "SameSite=strict" in cookie and TOKEN not in cookie
    value = cookie.partition(";")[0]
    assert guarded.ask("GET", "/api/jobs", Cookie=value)[0] == 200
    until, _, proof = value.partition("=")[2].partition(".")
    # One that is prolonged by hand is none.
    assert guarded.ask("GET", "/api/jobs", Cookie=f"wsi-idc={int(until) + 1}.{proof}")[0] == 401
    line.request("POST", "/sign-in", f"token={TOKEN}", {"Origin": "https://evil.example"})
    assert line.getresponse().status == 403
    assert TOKEN not in (guarded.data.parent / "server.txt").read_text()


def test_without_a_token_other_names_and_other_sites_are_refused(server):
    assert server.ask("GET", "/api/jobs", Host="evil.example")[0] == 400
    assert server.ask("GET", "/api/jobs", Host="localhost:1")[0] == 200
    begin = {"Upload_Length": "9"}
    assert server.tus("POST", "/api/uploads", **begin, Origin="http://evil.example")[0] == 403
    assert server.tus("POST", "/api/uploads", **begin, Origin="null")[0] == 403
    assert server.tus("POST", "/api/uploads", **begin, Sec_Fetch_Site="cross-site")[0] == 403
    status, headers, _ = server.tus(
        "POST", "/api/uploads", **begin, Origin=server.address, Sec_Fetch_Site="same-origin"
    )
    assert status == 201
    assert server.ask("DELETE", headers["location"].replace("uploads", "jobs"), Origin="http://evil.example")[0] == 403
    assert server.tus("DELETE", headers["location"])[0] == 204


def test_a_socket_is_not_opened_for_another_site(server, guarded):
    from websockets.exceptions import InvalidStatus
    from websockets.sync.client import connect

    for one, origin in ((server, "http://evil.example"), (guarded, guarded.address)):
        there = f"ws://127.0.0.1:{one.port}/_nicegui_ws/socket.io/?EIO=4&transport=websocket"
        with pytest.raises(InvalidStatus, match="403"), connect(there, origin=origin):
            pass


def test_beyond_this_machine_it_does_not_start_without_a_token(tmp_path):
    command = [sys.executable, "-m", "wsi_idc", "serve", "--data", tmp_path / "data", "--host", "0.0.0.0", "--no-open"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 1 and "needs a token; give --token-file" in done.stderr
    assert not (tmp_path / "data").exists()


def test_tokens_that_are_none_are_refused(tmp_path):
    assert read_token(None, None) is None
    assert read_token(None, f" {TOKEN} ") == TOKEN
    (tmp_path / "empty").touch()
    for file, given in ((tmp_path / "empty", None), (None, "short"), (None, ""), (tmp_path / "missing", None)):
        with pytest.raises(SettingsError, match="token"):
            read_token(file, given)
    for host in ("0.0.0.0", "192.168.1.2", "::"):
        with pytest.raises(SettingsError, match="needs a token"):
            Address(host, 80, None)
    assert Address("127.0.0.1", 80, None) and Address("0.0.0.0", 80, TOKEN)
