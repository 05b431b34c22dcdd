"""The server: pages, the API and the viewer as one application, and who does the jobs beside it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

from fastapi import APIRouter
from fastapi.openapi.utils import get_openapi
from fastapi.responses import HTMLResponse
from nicegui import app, ui

from wsi_idc.base.files import locked
from wsi_idc.base.pages.render import render
from wsi_idc.errors import DataError
from wsi_idc.models.registry import DEFAULT_MODEL, find_model
from wsi_idc.runs.results.summary import RESEARCH_USE
from wsi_idc.serve.about import about
from wsi_idc.serve.answers import jobs
from wsi_idc.serve.gate import Address, Gate
from wsi_idc.serve.queue import Job
from wsi_idc.serve.store import Bounds, Store
from wsi_idc.serve.tus import uploads
from wsi_idc.serve.worker import Worker
from wsi_idc.viewer.answers import answers
from wsi_idc.viewer.desk import Desk
from wsi_idc.viewer.live import LiveRun, is_live
from wsi_idc.viewer.page import answer_at_once, check_port, listen, page_of
from wsi_idc.viewer.shelf import Pool, opened
from wsi_idc.viewer.tiles import OpenedSlide


class Submitted(Pool):
    """The jobs of a store, for the viewer: those that are done, and those that are being computed."""

    home = "/"

    def __init__(self, store: Store) -> None:
        """Show what is in a store."""
        super().__init__()
        self._store = store

    @contextmanager
    def using(self, key: str) -> Iterator[OpenedSlide]:
        """See `Pool`; what was removed is not shown any more, though it is open."""
        try:
            self._job(key)
        except DataError:
            self.drop(key)
            raise
        with super().using(key) as found:
            yield found

    def _job(self, key: str) -> Job:
        job = self._store.queue.get(key)
        if job.state not in ("running", "done"):
            raise DataError(f"{job.name}: it is {job.state}{job.reason and f' ({job.reason})'}, and cannot be seen")
        return job

    def _folder(self, key: str) -> Path:
        return self._store.place(self._job(key)).run()

    def _opened(self, key: str) -> OpenedSlide:
        place = self._store.place(self._job(key))
        run, slide = place.run(), place.slide()
        return LiveRun(run, slide) if is_live(run) else opened(run, slide)


def serve(folder: Path, bounds: Bounds, address: Address, show: bool, ready: Callable[[], None]) -> None:
    """Serve what is in a folder until it is interrupted; `show` opens a browser, `ready` is called once it is open.

    Raises SettingsError where another program listens there, HeldError where another server has the folder,
    OutputError where it cannot be written.
    """
    check_port(address.host, address.port)
    answer_at_once()
    with locked(folder):
        store = Store(folder, bounds)
        shelf, desk, worker = Submitted(store), Desk(), Worker(store)
        app.add_middleware(Gate, token=address.token)
        app.include_router(_pages(store))
        ui.page("/of/{key}/view")(lambda key: page_of(shelf, desk, key))
        app.include_router(answers(shelf))
        app.on_startup(worker.start)
        app.on_shutdown(worker.stop)
        app.on_shutdown(desk.close)
        ready()
        try:
            # Uploads that never end do not keep it from ending.
            listen(address.host, address.port, show, server_header=False, timeout_graceful_shutdown=3)
        finally:
            worker.stop()
            shelf.close()
            store.close()


def _pages(store: Store) -> APIRouter:
    """Return the pages that people read, and the API with its description."""
    router = APIRouter()
    api = [uploads(store), jobs(store)]
    described: dict[str, Any] = get_openapi(
        title="wsi-idc",
        version=version("wsi-idc"),
        description=f"Slides to submit, and what comes of them. {RESEARCH_USE}",
        routes=[route for part in api for route in part.routes],
    )
    for part in api:
        router.include_router(part)

    @router.get("/", include_in_schema=False)
    def slides() -> HTMLResponse:
        bounds = store.bounds
        return HTMLResponse(
            render("serve.html", note=RESEARCH_USE, most_bytes=bounds.most_bytes, keep_days=f"{bounds.keep_days:g}")
        )

    @router.get("/about", include_in_schema=False)
    def explained() -> HTMLResponse:
        return HTMLResponse(about(find_model(DEFAULT_MODEL)))

    @router.get("/api", include_in_schema=False)
    def for_scripts() -> HTMLResponse:
        return HTMLResponse(render("api.html", api=described))

    @router.get("/openapi.json", include_in_schema=False)
    def schema() -> dict[str, Any]:
        return described

    return router
