"""A page as a browser shows it, where the machine has one: Chromium without a window."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
needs_browser = pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine")
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
    done = subprocess.run([*command, made.as_uri()], capture_output=True, text=True, timeout=120, check=False)
    made.unlink()
    assert not re.findall(r"CONSOLE.*", done.stderr), done.stderr
    title = re.search(r"<title>(.*?)</title>", done.stdout, re.DOTALL)
    assert title, done.stderr[-2000:]
    for entity, sign in (("&lt;", "<"), ("&gt;", ">"), ("&quot;", '"'), ("&amp;", "&")):
        title = [title[0], title[1].replace(entity, sign)]
    return json.loads(title[1])
