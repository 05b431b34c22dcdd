"""Who may ask, and from where: before anything else of the server is reached, pages and sockets alike."""

from __future__ import annotations

import hashlib
import hmac
import time
from dataclasses import dataclass
from http.cookies import CookieError, SimpleCookie
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from wsi_idc.base.inputs.bounded import read_text
from wsi_idc.base.pages.render import render
from wsi_idc.errors import SettingsError

# A token is as good as it is long.
_SHORTEST, _LONGEST = 16, 4096
_COOKIE, _SIGN_IN = "wsi-idc", "/sign-in"
_DAYS = 30
_LOCAL = ("127.0.0.1", "localhost", "::1")
_CHANGES = ("POST", "PUT", "PATCH", "DELETE")
# Of every answer: nothing is guessed of it, shown within another site, or told to one.
_HEADERS = (
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"same-origin"),
    (b"cross-origin-resource-policy", b"same-origin"),
)


@dataclass(frozen=True, slots=True)
class Address:
    """Where a server listens; `token` is what it asks for, None where only this machine may ask."""

    host: str
    port: int
    token: str | None

    def __post_init__(self) -> None:
        """Raise SettingsError where other machines would reach a server that asks for no token."""
        if self.token is None and not is_local(self.host):
            raise SettingsError(f"{self.host}: other machines reach it, so it needs a token; give --token-file")


def is_local(host: str) -> bool:
    """Say whether only this machine reaches an address."""
    return host in _LOCAL


def read_token(file: Path | None, given: str | None) -> str | None:
    """Return the token of a file, else the one given, None where there is neither.

    Raises SettingsError where it is too short to be one, or the file cannot be read.
    """
    try:
        token = read_text(file, _LONGEST).strip() if file else (given or "").strip()
    except (OSError, ValueError) as error:
        raise SettingsError(f"{file}: the token cannot be read ({error})") from error
    if not token and not file and given is None:
        return None
    if len(token) < _SHORTEST or not token.isascii():
        raise SettingsError(
            f"the token has less than {_SHORTEST} letters and digits; make one by: "
            "python -c 'import secrets; print(secrets.token_urlsafe(32))'"
        )
    return token


class Gate:
    """Asks every request for its token where there is one, and takes changes from pages of this server only.

    Without a token this machine alone may ask, and by its own name: no page of another site reaches it by a name that
    leads here. A script sends the token as `Authorization: Bearer TOKEN`; a browser is given a cookie for it.
    """

    def __init__(self, app: ASGIApp, token: str | None) -> None:
        """Stand before an application."""
        self._app, self._token = app, token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let through, or answer."""
        if scope["type"] not in ("http", "websocket"):
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        answer = self._refusal(scope, headers)
        if answer is None and self._token and scope["path"] == _SIGN_IN:
            is_page = scope["type"] == "http"
            answer = await self._sign_in(Request(scope, receive)) if is_page else Response(status_code=403)
        elif answer is None and not self._knows(headers):
            answer = _unknown(scope, headers)
        if answer is None:
            await self._app(scope, receive, _adding(send))
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            await answer(scope, receive, _adding(send))

    def _refusal(self, scope: Scope, headers: Headers) -> Response | None:
        """Refuse what another site has a browser ask."""
        host = headers.get("host", "")
        if not self._token and _name(host) not in _LOCAL:
            return JSONResponse({"detail": "this server answers to localhost only; others need a token"}, 400)
        changes = scope["type"] == "websocket" or scope["method"] in _CHANGES
        origin = headers.get("origin")
        elsewhere = origin is not None and urlsplit(origin).netloc.lower() != host.lower()
        if changes and (elsewhere or headers.get("sec-fetch-site", "none") not in ("same-origin", "none")):
            return JSONResponse({"detail": "asked by a page of another site"}, 403)
        return None

    def _knows(self, headers: Headers) -> bool:
        if not self._token:
            return True
        kind, _, given = headers.get("authorization", "").partition(" ")
        if kind.lower() == "bearer" and _same(given.strip(), self._token):
            return True
        try:
            cookie = SimpleCookie(headers.get("cookie", "")).get(_COOKIE)
        except CookieError:
            return False
        until, _, _ = cookie.value.partition(".") if cookie else ("", "", "")
        return bool(
            cookie and until.isdecimal() and time.time() < int(until[:12]) and _same(cookie.value, self._cookie(until))
        )

    def _cookie(self, until: str) -> str:
        """Return what a browser keeps in place of the token: until when, and a proof that this server says so."""
        assert self._token
        return f"{until}.{hmac.new(self._token.encode(), f'{_COOKIE} {until}'.encode(), hashlib.sha256).hexdigest()}"

    async def _sign_in(self, request: Request) -> Response:
        if request.method == "GET":
            return HTMLResponse(render("sign_in.html", wrong=False))
        body = bytearray()
        async for piece in request.stream():
            body += piece
            if request.method != "POST" or len(body) > 2 * _LONGEST:
                return JSONResponse({"detail": "that is no token"}, 400)
        given = parse_qs(body.decode("utf-8", "replace")).get("token", [""])[0].strip()
        assert self._token
        if not _same(given, self._token):
            return HTMLResponse(render("sign_in.html", wrong=True), 403)
        answer = RedirectResponse("/", 303)
        until = str(int(time.time()) + _DAYS * 86400)
        answer.set_cookie(
            _COOKIE,
            self._cookie(until),
            max_age=_DAYS * 86400,
            httponly=True,
            samesite="strict",
            secure=request.url.scheme == "https",
        )
        return answer


def _unknown(scope: Scope, headers: Headers) -> Response:
    if scope["type"] == "http" and scope["method"] == "GET" and "text/html" in headers.get("accept", ""):
        return RedirectResponse(_SIGN_IN, 303)
    words = "the token of this server is missing, or another one: Authorization: Bearer TOKEN"
    return JSONResponse({"detail": words}, 401, {"WWW-Authenticate": "Bearer"})


def _same(given: str, known: str) -> bool:
    # In a time that tells nothing of how much of it is right.
    return hmac.compare_digest(given.encode(), known.encode())


def _name(host: str) -> str:
    """Return the name in a Host header, without the port."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _adding(send: Send) -> Send:
    async def sent(message: Message) -> None:
        if message["type"] == "http.response.start":
            message["headers"] = [*message.get("headers", []), *_HEADERS]
        await send(message)

    return sent
