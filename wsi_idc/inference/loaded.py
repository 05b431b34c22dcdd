"""The engines of a model package that a process has made so far."""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor, wait

from wsi_idc.inference.choose import choose_engine, make_engine
from wsi_idc.inference.engines import Engine
from wsi_idc.models.package import ModelPackage
from wsi_idc.models.registry import SHIPPED


class Engines(dict[str, Engine]):
    """Engines by name, each made when it is first asked for, and then kept."""

    def __init__(self, package: ModelPackage, threads: int) -> None:
        """Engines of `package`, each to compute on `threads` cores."""
        super().__init__()
        self._package, self._threads = package, threads
        self._ahead: Future[Engine | None] | None = None

    def begin(self, wanted: str) -> None:
        """Have a thread make what a run with the engine `wanted` takes most likely, while this one goes on.

        For that of ONNX Runtime, which needs Python for a small part of its time only, and of models that ship:
        meanwhile the process is held to an amount of memory, and a stranger's model may take a minute.
        """
        if wanted in ("auto", "onnx") and self._package.folder.parent == SHIPPED and not self._ahead:
            pool = ThreadPoolExecutor(1)
            self._ahead = pool.submit(self._made, wanted)
            pool.shutdown(wait=False)

    def chosen(self, wanted: str, n_patches: int) -> Engine:
        """Return the engine `wanted`, or for "auto" what is done first with so many patches; see `choose_engine`."""
        # A process in which engines are measured would begin with the limit of memory of the one that is being made.
        wait([self._ahead] if self._ahead else [])
        return self[choose_engine(wanted, self._package, n_patches)]

    def __missing__(self, name: str) -> Engine:
        """Make an engine; raises ModelError, see `make_engine`."""
        ahead, self._ahead = self._ahead, None
        begun = None if ahead is None or ahead.exception() else ahead.result()
        self[name] = begun if begun and begun.name == name else make_engine(name, self._package, self._threads)
        return self[name]

    def _made(self, wanted: str) -> Engine | None:
        name = choose_engine(wanted, self._package, 0)
        return make_engine(name, self._package, self._threads) if name == "onnx" else None
