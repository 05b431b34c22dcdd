"""The command line: commands parse, call the library and print. Nothing heavy is imported before a command runs."""

from __future__ import annotations

import os
import sys


def main() -> None:
    """Run `wsi-idc`.

    The page of `--help` lies ready beside this file, since loading click takes three times as long as starting Python.
    A test holds it to what click says, and tells how it is made.
    """
    if sys.argv[1:] in (["--help"], ["-h"]):
        with open(os.path.join(os.path.dirname(__file__), "help.txt"), encoding="utf-8") as page:  # noqa: PTH118,PTH120,PTH123
            sys.stdout.write(page.read())
        return
    try:
        from wsi_idc.cli.group import main as group

        group(prog_name="wsi-idc")
    except KeyboardInterrupt:
        # Before a command runs: what is said of it then is the group's.
        sys.stderr.write("interrupted\n")
        sys.exit(130)
