"""A page as a browser shows it, where the machine has one: Chromium without a window."""

import base64
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path

import pytest

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
needs_browser = pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine")
_KEYS = {"ArrowRight": 39, "ArrowLeft": 37, "Enter": 13, "Escape": 27, "Delete": 46}
# What of a page somebody who sees little, or uses a screen reader, could not use: controls without a name, text that
# stands out from what is below it by less than 4.5, a page without a language or a heading.
HARD_TO_USE = r"""(() => {
  const found = new Set(), off = e => !e.offsetParent || e.closest("[disabled], .disabled");
  const numbers = text => text.match(/[\d.]+/g).map(Number);
  const light = c => {
    const [r, g, b] = c.slice(0, 3).map(v => v / 255).map(v => v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const below = e => {
    for (; e; e = e.parentElement) {
      const c = numbers(getComputedStyle(e).backgroundColor);
      if (c.length < 4 || c[3] > 0.9) return c;
    }
    return [255, 255, 255];
  };
  for (const e of document.querySelectorAll("button, input, select, a, [role=slider], [role=switch], [tabindex]")) {
    if (off(e) || e.tabIndex < 0) continue;
    const named = e.getAttribute("aria-label") || e.innerText?.trim() || e.title || e.closest("label")?.innerText ||
      e.closest("[aria-label]");
    if (!named) found.add(`no name: ${e.outerHTML.slice(0, 120)}`);
  }
  const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (texts.nextNode()) {
    const e = texts.currentNode.parentElement, text = texts.currentNode.textContent.trim();
    if (!text || off(e) || ["SCRIPT", "STYLE"].includes(e.tagName)) continue;
    const [a, b] = [light(numbers(getComputedStyle(e).color)), light(below(e))].sort((x, y) => y - x);
    if ((a + 0.05) / (b + 0.05) < 4.5) found.add(`${((a + 0.05) / (b + 0.05)).toFixed(1)}: ${text.slice(0, 40)}`);
  }
  if (!document.documentElement.lang) found.add("no language");
  if (!document.querySelector("h1, [role=heading]")) found.add("no heading");
  return [...found];
})()"""
_FAULTS = "<script>window.faults = []; addEventListener('error', e => faults.push(e.message));</script>"


def told(page: Path, code: str, folder: Path, width: int = 1280) -> object:
    """Run `code`, the body of a JavaScript function, in a copy of the page; return what it returns.

    Fails where the page, or the code, brings up an error, or where the page asks anything of another host.
    """
    text = page.read_text(encoding="utf-8")
    policy = "script-src 'unsafe-inline'"
    assert policy in text
    end = f"<script>document.title = JSON.stringify((() => {{{code}}})()); </script></body>"
    made = page.with_name(f"told-{page.name}")
    made.write_text(text.replace("<style>", f"{_FAULTS}<style>", 1).replace("</body>", end), encoding="utf-8")
    command = [str(BROWSER), "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder / 'profile'}"]
    command += [f"--window-size={width},900", "--enable-logging=stderr", "--virtual-time-budget=2000", "--dump-dom"]
    done = subprocess.run([*command, made.as_uri()], capture_output=True, text=True, timeout=300, check=False)
    made.unlink()
    assert not re.findall(r"CONSOLE.*", done.stderr), done.stderr
    title = re.search(r"<title>(.*?)</title>", done.stdout, re.DOTALL)
    assert title, f"exit status {done.returncode}: {done.stderr[-2000:]}"
    for entity, sign in (("&lt;", "<"), ("&gt;", ">"), ("&quot;", '"'), ("&amp;", "&")):
        title = [title[0], title[1].replace(entity, sign)]
    return json.loads(title[1])


class Tab:
    """A tab of Chromium that is driven: runs code, presses keys, keeps what was asked for and what went wrong."""

    def __init__(self, folder: Path, address: str) -> None:
        from websockets.sync.client import connect

        command = [str(BROWSER), "--headless", "--no-sandbox", "--disable-gpu", f"--user-data-dir={folder}"]
        command += ["--remote-debugging-port=0", "--window-size=1280,900", "about:blank"]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        port = folder / "DevToolsActivePort"
        wait_for(lambda: port.is_file() and len(port.read_text().splitlines()) == 2)
        host = f"127.0.0.1:{port.read_text().splitlines()[0]}"
        with urllib.request.urlopen(f"http://{host}/json/list") as answer:
            tab = next(one for one in json.load(answer) if one["type"] == "page")
        self._open = connect(tab["webSocketDebuggerUrl"], max_size=None, ping_interval=None)
        self._socket = self._open.__enter__()
        self.requests: list[str] = []
        self.faults: list[str] = []
        self._count = 0
        for domain in ("Network", "Log", "Runtime", "Page"):
            self._send(f"{domain}.enable")
        self._send("Page.navigate", url=address)

    def run(self, code: str) -> object:
        """Return the value of an expression."""
        found = self._send("Runtime.evaluate", expression=code, returnByValue=True, awaitPromise=True)
        return found["result"].get("value")

    def press(self, key: str) -> None:
        """Press a key, such as "m" or "Enter", where the focus is."""
        number = _KEYS[key] if key in _KEYS else ord(key.upper())
        for kind in ("keyDown", "keyUp"):
            self._send("Input.dispatchKeyEvent", type=kind, key=key, code=key, windowsVirtualKeyCode=number)

    def click(self, *places: tuple[float, float], keys: int = 0) -> None:
        """Click at places of the window, one after the other; `keys` held is 1 for Alt, 8 for Shift."""
        for x, y in places:
            for kind in ("mouseMoved", "mousePressed", "mouseReleased"):
                self._mouse(kind, x, y, keys)

    def drag(self, *places: tuple[float, float]) -> None:
        """Press the button at the first place and let it go at the last."""
        self._mouse("mouseMoved", *places[0])
        self._mouse("mousePressed", *places[0])
        for x, y in places[1:]:
            self._mouse("mouseMoved", x, y, held=1)
        self._mouse("mouseReleased", *places[-1])

    def look(self, width: int, height: int, dark: bool) -> None:
        """Show the page in a window of another size, to somebody who likes it dark or light."""
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self._send("Emulation.setEmulatedMedia", features=[scheme])
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self._send("Emulation.setDeviceMetricsOverride", **size)

    def shot(self, path: Path) -> None:
        """Write what is seen to a PNG file."""
        path.write_bytes(base64.b64decode(self._send("Page.captureScreenshot", format="png")["data"]))

    def _mouse(self, kind: str, x: float, y: float, keys: int = 0, held: int = 0) -> None:
        button = "none" if kind == "mouseMoved" and not held else "left"
        place = {"x": x, "y": y, "button": button, "buttons": held, "clickCount": int(kind != "mouseMoved")}
        self._send("Input.dispatchMouseEvent", type=kind, modifiers=keys, **place)

    def close(self) -> None:
        self._open.__exit__(None, None, None)
        self._process.terminate()
        self._process.wait(60)

    def _send(self, method: str, **parameters: object) -> dict:
        self._count += 1
        self._socket.send(json.dumps({"id": self._count, "method": method, "params": parameters}))
        while True:
            told = json.loads(self._socket.recv(30))
            if told.get("id") == self._count:
                return told["result"]
            if told.get("method") == "Network.requestWillBeSent":
                self.requests.append(told["params"]["request"]["url"])
            elif told.get("method") == "Runtime.exceptionThrown":
                self.faults.append(str(told["params"]["exceptionDetails"]))
            elif told.get("method") == "Log.entryAdded" and told["params"]["entry"]["level"] == "error":
                self.faults.append(str(told["params"]["entry"]))


def wait_for(is_so, seconds: float = 120.0) -> None:
    """Wait until something is so; fails where it takes longer."""
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end
        time.sleep(0.1)


@contextmanager
def serving(*arguments: object):
    """Serve as `wsi-idc view` does, at a free port; gives the address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "wsi_idc", "view", *map(str, arguments), "--port", str(port), "--no-open"]
    # NiceGUI does otherwise where it believes that it is tested.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST")}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as server:
        there = f"http://127.0.0.1:{port}"
        try:
            assert there in server.stdout.readline()
            wait_for(lambda: status(there) == 200)
            yield there
        finally:
            server.send_signal(signal.SIGINT)
            server.wait(60)


def status(address, **headers):
    try:
        with urllib.request.urlopen(urllib.request.Request(address, headers=headers)) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return None


def assert_at_home(tab, address):
    """Fail where a page asked anything of another host, or brought up an error."""
    hosts = {re.match(r"(?:https?|wss?)://([^/]+)", r)[1] for r in tab.requests if r.startswith(("http", "ws"))}
    assert hosts == {address.removeprefix("http://")}
    assert tab.faults == []
