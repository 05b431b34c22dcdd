"""What the API says of jobs: how far they are, what came of them, their files; each refusal in words."""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path, Query, Response
from fastapi.responses import FileResponse, JSONResponse, StreamingResponse
from pydantic import BaseModel, Field

from wsi_idc.base.shown import printable
from wsi_idc.errors import DataError, DiskError, OutputError, SettingsError, WsiIdcError
from wsi_idc.runs.results.folder import read_summary
from wsi_idc.runs.results.words import conclusion
from wsi_idc.serve.place import label
from wsi_idc.serve.progress import progress_of
from wsi_idc.serve.queue import Job
from wsi_idc.serve.store import Store
from wsi_idc.serve.zipped import zipped
from wsi_idc.slides.scale import PLAUSIBLE_MPP
from wsi_idc.viewer.desk import NAME as EDITED

ID = Annotated[str, Path(description="what the Location of an upload ends in")]
# What can be had of a job that is done, with its media type; the heatmap as a zip archive of its folder.
FILES = {
    "regions.geojson": "application/geo+json",
    EDITED: "application/geo+json",
    "report.html": "text/html; charset=utf-8",
    "summary.json": "application/json",
    "overview.png": "image/png",
    "thumbnail.jpg": "image/jpeg",
    "heatmap.zarr.zip": "application/zip",
}
_SHOWN = ("report.html", "overview.png", "thumbnail.jpg")
_FILE = Annotated[str, Path(description="one of " + ", ".join(FILES))]
_MPP = Annotated[float | None, Query(description="um per pixel, in place of what it states", gt=0)]


class Words(BaseModel):
    """What is wrong, in words."""

    detail: str


class ProgressFacts(BaseModel):
    """How far a job is: what it does, which share of the patches is done, and seconds left where that is known."""

    stage: str
    share: float | None
    seconds_left: float | None


class ResultFacts(BaseModel):
    """What came of a job: its conclusion in words, warnings, numbers, and the files that can be had."""

    conclusion: str
    warnings: list[str]
    idc_mm2: float | None = Field(description="null where nothing was looked at")
    tissue_mm2: float
    foci: int | None = Field(description="null where nothing was looked at")
    files: list[str]


class JobFacts(BaseModel):
    """A slide that was submitted."""

    id: str
    name: str = Field(description="what its sender calls it")
    state: Literal["uploading", "queued", "running", "done", "failed", "expired"]
    reason: str = Field(description="why it failed, or expired")
    size: int = Field(description="bytes")
    received: int = Field(description="bytes of them that are there")
    mpp: float | None = Field(description="um per pixel, where its sender said it: it holds, whatever the slide states")
    created: str
    changed: str
    place: int | None = Field(description="its place in the queue, from 1")
    progress: ProgressFacts | None
    result: ResultFacts | None


MESSAGE: dict[str, Any] = {"model": Words}
_NONE: dict[int | str, dict[str, Any]] = {404: MESSAGE | {"description": "There is none"}}


def jobs(store: Store) -> APIRouter:
    """Return the routes of jobs."""
    router = APIRouter(tags=["jobs"])
    _answer_to_looks(router, store)
    _answer_to_changes(router, store)
    return router


def _answer_to_looks(router: APIRouter, store: Store) -> None:
    @router.get("/api/jobs", summary="All slides, as they came", operation_id="list_jobs")
    def listed() -> list[JobFacts]:
        found = store.queue.all()
        waiting = [job.id for job in found if job.state == "queued"]
        return [_facts(store, job, waiting) for job in found]

    @router.get(
        "/api/jobs/{key}", summary="One slide", operation_id="get_job", responses=_NONE, response_model=JobFacts
    )
    def one(key: ID) -> Any:
        return _answered(404, lambda: _facts(store, store.queue.get(key), [j.id for j in store.queue.all("queued")]))

    @router.get(
        "/api/jobs/{key}/{name}",
        summary="A file of a slide that is done",
        operation_id="get_file",
        responses=_NONE | {200: {"content": {kind.partition(";")[0]: {} for kind in FILES.values()}}},
        response_model=None,
    )
    def file(key: ID, name: _FILE) -> Any:
        return _answered(404, lambda: _file(store, store.queue.get(key), name))


def _answer_to_changes(router: APIRouter, store: Store) -> None:
    @router.post(
        "/api/jobs/{key}/again",
        summary="Begin a slide that failed again",
        operation_id="begin_again",
        responses=_NONE | {400: MESSAGE, 409: MESSAGE},
        response_model=JobFacts,
    )
    def again(key: ID, mpp: _MPP = None) -> Any:
        try:
            store.queue.get(key)
        except DataError as error:
            return said(404, str(error))
        try:
            scale = None if mpp is None else asked_mpp(str(mpp))
        except DataError as error:
            return said(400, str(error))
        return _answered(409, lambda: _facts(store, store.again(key, scale), []))

    @router.delete(
        "/api/jobs/{key}",
        status_code=204,
        summary="Remove a slide, with all that came of it",
        operation_id="remove_job",
        responses=_NONE,
        response_model=None,
    )
    def remove(key: ID) -> Any:
        return _answered(404, lambda: store.remove(key, "it was removed by hand")) or Response(status_code=204)


def asked_mpp(text: str | None) -> float | None:
    """Read um per pixel; raises DataError where no slide has so many."""
    if text is None or not text.strip():
        return None
    low, high = PLAUSIBLE_MPP
    try:
        mpp = float(text)
    except ValueError:
        mpp = math.nan
    if not low <= mpp <= high:
        raise DataError(f"um per pixel are a number from {low:g} to {high:g}, such as 0.25 for a scan at 40x")
    return mpp


def refusal(error: Exception) -> int:
    """Return the status of an error of what was asked."""
    kinds = ((SettingsError, 413), (DiskError, 507), (OutputError, 503))
    return next((status for kind, status in kinds if isinstance(error, kind)), 400)


def said(status: int, words: str = "", headers: dict[str, str] | None = None) -> Response:
    """Return an answer that says in words what is wrong, or, without words, nothing."""
    if words:
        return JSONResponse({"detail": printable(words)}, status, headers)
    return Response(status_code=status, headers=headers)


def _answered(status: int, answer: Callable[[], Any]) -> Any:
    """Return an answer, or of this status why there is none."""
    try:
        return answer()
    except DataError as error:
        return said(status, str(error))
    except WsiIdcError as error:
        return said(refusal(error), str(error))


def _facts(store: Store, job: Job, waiting: list[str]) -> JobFacts:
    place = store.place(job)
    return JobFacts(
        id=job.id,
        name=job.name,
        state=job.state,
        reason=printable(job.reason),
        size=job.size,
        received=store.received(job),
        mpp=job.mpp,
        created=_time(job.created),
        changed=_time(job.changed),
        place=waiting.index(job.id) + 1 if job.id in waiting else None,
        progress=ProgressFacts(**progress_of(place)) if job.state == "running" else None,
        result=_result(store, job) if job.state == "done" else None,
    )


def _result(store: Store, job: Job) -> ResultFacts | None:
    try:
        run = store.place(job).run()
        s = read_summary(run)
    except DataError:
        # Just being removed.
        return None
    files = [name for name in FILES if (run / name.removesuffix(".zip")).exists()]
    numbers = {name: s[name] for name in ("idc_mm2", "tissue_mm2", "foci")}
    return ResultFacts(conclusion=conclusion(s), warnings=s["warnings"], files=files, **numbers)


def _file(store: Store, job: Job, name: str) -> Response:
    if name not in FILES:
        raise DataError("there is no such file")
    if job.state != "done":
        raise DataError(f"it is {job.state}: there are no results of it")
    path = store.place(job).run() / name.removesuffix(".zip")
    if not path.exists():
        raise DataError("there is no such file of it")
    called, kind = f"{label(job.name)}-{name}", FILES[name]
    if path.is_dir():
        # Said to be packed already: it is not packed once more on its way.
        headers = {"Content-Disposition": _disposition(called), "Content-Encoding": "identity"}
        return StreamingResponse(zipped(path), media_type=kind, headers=headers)
    inline = "inline" if name in _SHOWN else "attachment"
    return FileResponse(path, media_type=kind, filename=called, content_disposition_type=inline)


def _disposition(name: str) -> str:
    from urllib.parse import quote

    return f"attachment; filename*=utf-8''{quote(name)}"


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="seconds")
