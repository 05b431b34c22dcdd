"""What the server of a viewer answers beside its pages: tiles, heat, regions, a probability, files of a run."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Response
from fastapi.responses import FileResponse, HTMLResponse

from wsi_idc.errors import SettingsError, WsiIdcError
from wsi_idc.viewer.opened import OpenedRun
from wsi_idc.viewer.shelf import Shelf


def answers(shelf: Shelf) -> APIRouter:
    """Return the routes below `/of/KEY`, and of a folder of runs its list; each says in words what there is not."""
    router = APIRouter()

    @router.get("/of/{key}/tile/{level}/{column}/{row}")
    def tile(key: str, level: int, column: int, row: int) -> Response:
        try:
            with shelf.using(key) as found:
                data = found.tile(level, column, row)
        except (IndexError, WsiIdcError) as error:
            return _not_there(error)
        return Response(data, media_type="image/jpeg", status_code=200 if data else 404)

    @router.get("/of/{key}/heat")
    def heat(key: str) -> Response:
        return _of_run(shelf, key, lambda run: Response(run.heat(), media_type="image/png"))

    @router.get("/of/{key}/regions", response_model=None)
    def regions(key: str, threshold: float) -> Any:
        try:
            return _of_run(shelf, key, lambda run: run.regions(threshold))
        except SettingsError as error:
            return Response(str(error), status_code=422)

    @router.get("/of/{key}/probability", response_model=None)
    def probability(key: str, x: float, y: float) -> Any:
        return _of_run(shelf, key, lambda run: {"probability": run.probability(x, y)})

    @router.get("/of/{key}/{name}")
    def file(key: str, name: str) -> Response:
        try:
            path = shelf.file(key, name)
        except WsiIdcError as error:
            return _not_there(error)
        return FileResponse(path) if path else Response(status_code=404)

    if shelf.manifest:

        @router.get("/")
        def listed() -> Response:
            # Its links lie below /of.
            return HTMLResponse(shelf.page().replace("<head>", '<head><base href="of/">', 1))

        @router.get("/of/manifest.csv")
        def manifest() -> Response:
            return FileResponse(shelf.given / "manifest.csv")

    return router


def _of_run(shelf: Shelf, key: str, answer: Any) -> Any:
    """Return what `answer` makes of a run, or that there is none; what a setting is not is raised."""
    try:
        with shelf.using(key) as found:
            return answer(found) if isinstance(found, OpenedRun) else Response("no run of it yet", status_code=404)
    except SettingsError:
        raise
    except WsiIdcError as error:
        return _not_there(error)


def _not_there(error: Exception) -> Response:
    return Response(str(error), status_code=404)
