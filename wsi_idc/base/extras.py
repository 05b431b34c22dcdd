"""What `pip install .` leaves out: the line that says which extra brings a package that is missing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from wsi_idc.errors import MissingExtraError


@contextmanager
def needs_extra(extra: str) -> Iterator[None]:
    """Turn a package that cannot be imported into a MissingExtraError that names the extra of pyproject.toml."""
    try:
        yield
    except MissingExtraError:
        raise
    except ImportError as error:
        if (error.name or "").startswith("wsi_idc"):
            raise
        raise missing(error, extra) from error


def missing(error: ImportError, extra: str) -> MissingExtraError:
    """Make the error that says how to get what could not be imported, in words that need no index to be true."""
    reason = str(error).splitlines()[0] if str(error) else "it cannot be loaded"
    what = f"{error.name}, which is not installed" if isinstance(error, ModuleNotFoundError) else f"more ({reason})"
    return MissingExtraError(f'this needs {what}; in the folder of wsi-idc\'s source: pip install ".[{extra}]"')
