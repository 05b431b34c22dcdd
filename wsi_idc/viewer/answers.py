"""What the server of a viewer answers beside its pages: tiles, heat, regions, a probability, files of a run."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from fastapi import APIRouter, BackgroundTasks, Response
from fastapi.responses import FileResponse, HTMLResponse

from wsi_idc.errors import SettingsError, WsiIdcError
from wsi_idc.viewer.live import LiveRun
from wsi_idc.viewer.opened import OpenedRun
from wsi_idc.viewer.shelf import Pool, Shelf


def answers(shelf: Pool) -> APIRouter:
    """Return the routes below `/of/KEY`, and of a folder of runs its list; each says in words what there is not."""
    router = APIRouter()
    _answer_for_runs(router, shelf)

    @router.get("/of/{key}/tile/{level}/{column}/{row}")
    def tile(key: str, level: int, column: int, row: int) -> Response:
        try:
            with shelf.using(key) as found:
                data = found.tile(level, column, row)
        except (IndexError, WsiIdcError) as error:
            return _not_there(error)
        return Response(data, media_type="image/jpeg", status_code=200 if data else 404)

    @router.get("/of/{key}/{name}")
    def file(key: str, name: str) -> Response:
        try:
            path = shelf.file(key, name)
        except WsiIdcError as error:
            return _not_there(error)
        return FileResponse(path) if path else Response(status_code=404)

    if isinstance(shelf, Shelf) and shelf.manifest:

        @router.get("/")
        def listed() -> Response:
            # Its links lie below /of.
            return HTMLResponse(shelf.page().replace("<head>", '<head><base href="of/">', 1))

        @router.get("/of/manifest.csv")
        def manifest() -> Response:
            return FileResponse(shelf.given / "manifest.csv")

    return router


def _answer_for_runs(router: APIRouter, shelf: Pool) -> None:
    @router.get("/of/{key}/heat")
    def heat(key: str) -> Response:
        return _of_heat(shelf, key, lambda run: Response(run.heat(), media_type="image/png"))

    @router.get("/of/{key}/regions")
    def regions(key: str, threshold: float, after: BackgroundTasks) -> Response:
        def found(run: OpenedRun) -> Response:
            after.add_task(run.warm)
            return _json(run.regions(threshold))

        return _of_run(shelf, key, found)

    @router.get("/of/{key}/preview")
    def preview(key: str, threshold: float, left: float, top: float, right: float, bottom: float) -> Response:
        return _of_run(shelf, key, lambda run: _json(run.preview(threshold, (left, top, right, bottom))))

    @router.get("/of/{key}/probability")
    def probability(key: str, x: float, y: float) -> Response:
        return _of_heat(shelf, key, lambda run: _json({"probability": run.probability(x, y)}))


def _of_run(shelf: Pool, key: str, answer: Callable[[OpenedRun], Response]) -> Response:
    """Return what `answer` makes of a run, or in words why there is none."""
    try:
        with shelf.using(key) as found:
            return answer(found) if isinstance(found, OpenedRun) else Response("no run of it yet", status_code=404)
    except SettingsError as error:
        return Response(str(error), status_code=422)
    except WsiIdcError as error:
        return _not_there(error)


def _of_heat(shelf: Pool, key: str, answer: Callable[[OpenedRun | LiveRun], Response]) -> Response:
    """Return what `answer` makes of a run, done or not, or in words why there is none."""
    try:
        with shelf.using(key) as found:
            if isinstance(found, OpenedRun | LiveRun):
                return answer(found)
            return Response("no run of it yet", status_code=404)
    except WsiIdcError as error:
        return _not_there(error)


def _json(value: Any) -> Response:
    # FastAPI's own looks at each number by itself, which of outlines are many.
    return Response(json.dumps(value, separators=(",", ":")), media_type="application/json")


def _not_there(error: Exception) -> Response:
    return Response(str(error), status_code=404)
