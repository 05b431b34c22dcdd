"""What `pip install .` leaves out: the line that says which extra brings a package that is missing."""

from __future__ import annotations

import os
import re
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext

from wsi_idc.errors import MissingExtraError

# What TensorFlow writes of itself while it is imported, before it reads how much it is to say.
_CHATTER = re.compile(rb"WARNING: All log messages before absl|[IW]\d{4} \d\d:\d\d:|E\d{4} \d\d:\d\d:.* cuda")


@contextmanager
def needs_extra(extra: str) -> Iterator[None]:
    """Turn a package that cannot be imported into a MissingExtraError that names the extra of pyproject.toml."""
    try:
        with quiet_tensorflow() if extra == "train" else nullcontext():
            yield
    except MissingExtraError:
        raise
    except ImportError as error:
        if (error.name or "").startswith("wsi_idc"):
            raise
        raise missing(error, extra) from error


@contextmanager
def quiet_tensorflow() -> Iterator[None]:
    """Keep what TensorFlow says of itself when it is imported off stderr; all else is written when that is done."""
    # Of errors too only those that end something, which Python raises.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    try:
        saved = os.dup(2) if "tensorflow" not in sys.modules else None
    except OSError:
        # There is no stderr.
        saved = None
    if saved is None:
        yield
        return
    with tempfile.TemporaryFile() as held:
        os.dup2(held.fileno(), 2)
        try:
            yield
        finally:
            os.dup2(saved, 2)
            held.seek(0)
            for line in held:
                if not _CHATTER.match(line):
                    os.write(saved, line)
            os.close(saved)


def missing(error: ImportError, extra: str) -> MissingExtraError:
    """Make the error that says how to get what could not be imported, in words that need no index to be true."""
    reason = str(error).splitlines()[0] if str(error) else "it cannot be loaded"
    what = f"{error.name}, which is not installed" if isinstance(error, ModuleNotFoundError) else f"more ({reason})"
    return MissingExtraError(f'this needs {what}; in the folder of wsi-idc\'s source: pip install ".[{extra}]"')
