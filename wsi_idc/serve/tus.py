"""Uploads in parts that go on after a break, by the tus protocol 1.0: core, creation, termination and checksum."""

from __future__ import annotations

import asyncio
import base64
import hashlib
import os
from collections.abc import AsyncIterator
from typing import Any, BinaryIO

from fastapi import APIRouter, Request, Response
from starlette.requests import ClientDisconnect

from wsi_idc.base.disk.trouble import output_error
from wsi_idc.base.shown import printable
from wsi_idc.errors import DataError, WsiIdcError
from wsi_idc.serve.answers import ID, MESSAGE, asked_mpp, refusal, said
from wsi_idc.serve.queue import Job
from wsi_idc.serve.store import Store

VERSION = "1.0.0"
PATH = "/api/uploads"
_CHECKSUMS = ("sha1", "sha256")
# Bytes that are written at once, and seconds for which a sender may say nothing.
_PIECE, _PATIENCE_S = 1 << 20, 60.0
# Characters of metadata, and of a name in it.
_METADATA, _NAME = 8192, 200
# What tus calls a part that does not have its checksum.
_MISMATCH = 460
_PART = "application/offset+octet-stream"
_ANSWERS: dict[int | str, dict[str, Any]] = {
    400: MESSAGE | {"description": "What is wrong with it, in words"},
    403: MESSAGE | {"description": "Asked by a page of another site"},
    404: MESSAGE | {"description": "There is no such upload"},
    412: MESSAGE | {"description": "Another version of tus than 1.0.0 is asked for"},
}


def uploads(store: Store) -> APIRouter:
    """Return the routes of uploads; what is whole is queued."""
    router = APIRouter(tags=["uploads"])
    _answer_to_senders(router, store)
    _answer_to_looks(router, store)
    _answer_to_parts(router, store)
    _answer_to_removals(router, store)
    return router


def _answer_to_senders(router: APIRouter, store: Store) -> None:
    @router.options(
        PATH, status_code=204, summary="What of tus is known here", operation_id="tus", response_class=Response
    )
    def options() -> Response:
        known = {"Tus-Version": VERSION, "Tus-Extension": "creation,termination,checksum"}
        known |= {"Tus-Max-Size": str(store.bounds.most_bytes), "Tus-Checksum-Algorithm": ",".join(_CHECKSUMS)}
        return _answer(204, known)

    @router.post(
        PATH,
        status_code=201,
        summary="Begin an upload; Location says where its parts go",
        operation_id="begin_upload",
        response_class=Response,
        responses=_ANSWERS | {413: MESSAGE, 503: MESSAGE, 507: MESSAGE},
        openapi_extra=_headers(
            ("Tus-Resumable", VERSION),
            ("Upload-Length", "1000"),
            ("Upload-Metadata", "filename c2xpZGUuc3Zz,mpp MC4yNQ=="),
        ),
    )
    def create(request: Request) -> Response:
        if other := _other_version(request):
            return other
        try:
            size = _number(request, "Upload-Length")
            if size < 1:
                raise DataError("an empty file is no slide")
            named = _metadata(request.headers.get("Upload-Metadata", ""))
            job = store.begin(_shown(named.get("filename", "")), size, asked_mpp(named.get("mpp")))
        except (WsiIdcError, OSError) as error:
            return _refused(store, error)
        return _answer(201, {"Location": f"{request.scope.get('root_path', '')}{PATH}/{job.id}"})


def _answer_to_looks(router: APIRouter, store: Store) -> None:
    @router.head(
        f"{PATH}/{{key}}",
        summary="How much of an upload is there",
        operation_id="look_at_upload",
        response_class=Response,
        responses=_ANSWERS,
        openapi_extra=_headers(("Tus-Resumable", VERSION)),
    )
    def look(key: ID, request: Request) -> Response:
        if other := _other_version(request):
            return other
        try:
            job = store.queue.get(key)
            if job.state == "expired":
                raise DataError("it was removed")
            there = {"Upload-Offset": str(store.received(job)), "Upload-Length": str(job.size)}
            there["Upload-Metadata"] = _metadata_of(job)
        except WsiIdcError as error:
            return _refused(store, error, 404)
        return _answer(200, there | {"Cache-Control": "no-store"})


def _answer_to_parts(router: APIRouter, store: Store) -> None:
    # Uploads of which a part is coming in.
    busy: set[str] = set()

    @router.patch(
        f"{PATH}/{{key}}",
        status_code=204,
        summary="Send a part of an upload, from the offset on that is there",
        operation_id="send_part",
        response_class=Response,
        responses=_ANSWERS
        | dict.fromkeys((408, 409, 410, 413, 415, 423, _MISMATCH, 507), MESSAGE)
        | {204: {"description": "The part is there"}},
        openapi_extra=_headers(("Tus-Resumable", VERSION), ("Upload-Offset", "0"))
        | {"requestBody": {"required": True, "content": {_PART: {"schema": {"type": "string", "format": "binary"}}}}},
    )
    async def part(key: ID, request: Request) -> Response:
        if other := _other_version(request):
            return other
        if request.headers.get("Content-Type") != _PART:
            return _answer(415, {}, f"parts are {_PART}")
        try:
            job = await asyncio.to_thread(store.queue.get, key)
        except WsiIdcError as error:
            return _refused(store, error, 404)
        if key in busy:
            return _answer(423, {}, "another part of it is coming in; wait for it")
        if job.state != "uploading":
            return _answer(410 if job.state == "expired" else 409, {}, f"it is {job.state}, no part of it is missing")
        busy.add(key)
        try:
            return await _take(store, job, request)
        finally:
            busy.discard(key)


def _answer_to_removals(router: APIRouter, store: Store) -> None:
    @router.delete(
        f"{PATH}/{{key}}",
        status_code=204,
        summary="Remove an upload, with all that was made of it",
        operation_id="remove_upload",
        response_class=Response,
        responses=_ANSWERS | {204: {"description": "It is removed"}},
        openapi_extra=_headers(("Tus-Resumable", VERSION)),
    )
    def remove(key: ID, request: Request) -> Response:
        if other := _other_version(request):
            return other
        try:
            store.remove(key, "it was removed by hand")
        except WsiIdcError as error:
            return _refused(store, error, 404)
        return _answer(204, {})


async def _take(store: Store, job: Job, request: Request) -> Response:
    """Write a part behind what is there, as it comes in; what came of one that breaks off stays."""
    try:
        offset = _number(request, "Upload-Offset")
        checksum, wanted = _checksum(request.headers.get("Upload-Checksum", ""))
        with store.place(job).upload.open("r+b", buffering=0) as file:
            there = file.seek(0, os.SEEK_END)
            if there != offset:
                return _answer(409, {"Upload-Offset": str(there)}, f"{there} bytes are there, not {offset}")
            problem = await _copied(request, file, job.size, checksum)
            if wanted and not problem and checksum.digest() != wanted:
                problem = _MISMATCH, "the part does not have its checksum; send it again"
            if problem and (wanted or problem[0] == 413):
                file.truncate(offset)
            await asyncio.to_thread(os.fsync, file.fileno())
            end = file.seek(0, os.SEEK_END)
        if problem:
            return _answer(problem[0], {}, problem[1])
        if end == job.size:
            await asyncio.to_thread(store.complete, job.id)
    except FileNotFoundError:
        return _answer(410, {}, "it was removed")
    except (WsiIdcError, OSError) as error:
        return _refused(store, error)
    return _answer(204, {"Upload-Offset": str(end)})


async def _copied(request: Request, file: BinaryIO, most: int, checksum: Any) -> tuple[int, str] | None:
    """Write what comes in to a file of at most `most` bytes; returns what goes wrong, as a status and in words."""
    try:
        async for piece in _pieces(request):
            if file.tell() + len(piece) > most:
                return 413, "more bytes come than the upload was said to have"
            checksum.update(piece)
            await asyncio.to_thread(_write, file, piece)
    except ClientDisconnect:
        return 400, "the connection broke off"
    except TimeoutError:
        return 408, "nothing came for a minute; go on from where it is"
    return None


async def _pieces(request: Request) -> AsyncIterator[bytes]:
    """Give what comes in, in pieces that are worth being written; raises TimeoutError where nothing comes for long."""
    stream, held = aiter(request.stream()), bytearray()
    while True:
        try:
            held += await asyncio.wait_for(anext(stream), _PATIENCE_S)
        except StopAsyncIteration:
            break
        except (ClientDisconnect, TimeoutError):
            if held:
                yield bytes(held)
            raise
        if len(held) >= _PIECE:
            yield bytes(held)
            held.clear()
    if held:
        yield bytes(held)


def _write(file: BinaryIO, piece: bytes) -> None:
    view = memoryview(piece)
    while view:
        view = view[file.write(view) :]


def _checksum(header: str) -> tuple[Any, bytes]:
    """Return what reckons a checksum, and what it should be, b"" where none is given; raises DataError."""
    name, _, text = header.partition(" ")
    if header and name not in _CHECKSUMS:
        raise DataError(f"checksums are {' or '.join(_CHECKSUMS)}")
    reckons = hashlib.new(name or "sha1", usedforsecurity=False)
    try:
        wanted = base64.b64decode(text, validate=True)
    except ValueError as error:
        raise DataError("a checksum is in base64") from error
    if header and len(wanted) != reckons.digest_size:
        raise DataError(f"a {name} has {reckons.digest_size} bytes")
    return reckons, wanted


def _other_version(request: Request) -> Response | None:
    asked = request.headers.get("Tus-Resumable")
    if asked == VERSION:
        return None
    status = 400 if asked is None else 412
    return _answer(
        status, {"Tus-Version": VERSION}, f"tus {VERSION} is spoken here; say so by the header Tus-Resumable"
    )


def _number(request: Request, name: str) -> int:
    text = request.headers.get(name, "")
    if not (text.isascii() and text.isdecimal() and len(text) < 16):
        raise DataError(f"{name} is to be a number of bytes")
    return int(text)


def _metadata(text: str) -> dict[str, str]:
    """Read the metadata of tus: keys, each with a value in base64; raises DataError where it is none."""
    if len(text) > _METADATA:
        raise DataError("Upload-Metadata is too long")
    found = {}
    for pair in filter(None, map(str.strip, text.split(","))):
        key, _, value = pair.partition(" ")
        try:
            found[key] = base64.b64decode(value.strip(), validate=True).decode("utf-8")
        except ValueError as error:
            raise DataError(f"Upload-Metadata: {key[:40]} is not UTF-8 in base64") from error
    return found


def _metadata_of(job: Job) -> str:
    """Return what is known of an upload as tus has it, so that who goes on with it sees that it is what is meant."""
    known = {"filename": job.name} | ({} if job.mpp is None else {"mpp": repr(job.mpp)})
    return ",".join(f"{key} {base64.b64encode(value.encode()).decode()}" for key, value in known.items())


def _shown(name: str) -> str:
    """Return a name as it is kept, to be shown and no more: whatever it holds, it is one line."""
    line = printable(" ".join(name.split()))
    return (line if len(line) <= _NAME else f"{line[:_NAME]}...") or "unnamed"


def _headers(*named: tuple[str, str]) -> dict[str, Any]:
    """Describe headers of a request, with an example each."""
    kinds: dict[str, dict[str, Any]] = {"Tus-Resumable": {"enum": [VERSION]}, "Upload-Metadata": {}}
    number = {"pattern": "^[0-9]{1,15}$"}
    parameters = [
        {
            "name": name,
            "in": "header",
            "required": name != "Upload-Metadata",
            "schema": {"type": "string"} | kinds.get(name, number),
            "example": example,
        }
        for name, example in named
    ]
    return {"parameters": parameters}


def _answer(status: int, headers: dict[str, str], words: str = "") -> Response:
    return said(status, words, {"Tus-Resumable": VERSION} | headers)


def _refused(store: Store, error: Exception, status: int | None = None) -> Response:
    if isinstance(error, OSError) and not isinstance(error, WsiIdcError):
        error = output_error(store.folder, error)
    return _answer(status or refusal(error), {}, str(error))
