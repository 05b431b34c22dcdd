"""The process of a job: what was sent becomes a slide, and then this process becomes `wsi-idc segment` of it.

Run as `python -m wsi_idc.serve.process FOLDER FACTS`, where `FACTS` are JSON. It holds a lock, which the server gave
it, for as long as it lives, whatever becomes of the server.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from wsi_idc.base.files import replacing
from wsi_idc.errors import WsiIdcError
from wsi_idc.serve.intake import take_in
from wsi_idc.serve.place import Place


def main(folder: Path, facts: dict[str, Any]) -> None:
    """Do a job; ends this process with a reason on disk where what was sent is no slide."""
    place = Place(folder)
    # Whoever wants to end it finds it by this.
    place.lock.write_text(str(os.getpid()), encoding="ascii")
    mpp: float | None = facts["mpp"]
    try:
        slide = take_in(place, str(facts["name"]), mpp, int(facts["most_bytes"]))
    except WsiIdcError as error:
        with replacing(place.refused) as temporary:
            temporary.write_text(str(error), encoding="utf-8")
        raise SystemExit(1) from error
    command = [sys.executable, "-m", "wsi_idc", "segment", str(slide), "-o", str(place.output), "--json"]
    if mpp is not None:
        # What its sender says is meant, whatever the file states: a warning says so where that is another scale.
        command += ["--mpp", repr(mpp)]
    os.execv(sys.executable, command)


if __name__ == "__main__":
    main(Path(sys.argv[1]), json.loads(sys.argv[2]))
