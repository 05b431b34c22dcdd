"""Damage every kind of file that is read, and give each to Python and to the commands: what then happens.

    python benchmarks/mutations.py [--count N] [--seed N]

Bytes are flipped, cut, put in and doubled; numbers in text and values of JSON become others, huge, deep or none. What
is no error of this tool is listed under the table: a traceback, an end of the process, or more than 10 s.
"""

from __future__ import annotations

import contextlib
import copy
import json
import multiprocessing
import random
import re
import resource
import shutil
import signal
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click
from click.testing import CliRunner
from mutated import NEW, Input, make_inputs

from wsi_idc.cli.group import main as wsi_idc
from wsi_idc.errors import WsiIdcError

LIMIT_S = 10.0
_DEEP, _TWICE = "@deep@", "@twice@"
_VALUES: list[Any] = [None, [], {}, "text", "", "-1", 10**400, -(10**400), -1, 0, 1e308, True, _DEEP]
# What stands in the place of a number in text.
_NUMBERS = (b"", b"-1", b"0", b"1e308", b"-1e400", b"nan", b"inf", b"9" * 400, b"9" * 5000, b"x", b"1,5", b"\xff")
_VALUES += [float("nan"), float("-inf"), [[1]], {"a": {"b": 1}}, "\ud800", "../..", "=1+1", [None] * 1000]


class Slow(BaseException):
    """More than `LIMIT_S` have passed."""


@dataclass
class Outcome:
    """What came of the mutations of one input; refused or read by Python, for some commands refuse all of a kind."""

    mutations: int = 0
    refused: int = 0
    read: int = 0
    slow: int = 0
    # Times that the process was ended.
    ended: int = 0
    tracebacks: Counter[str] = field(default_factory=Counter)
    # The number of a mutation of each kind of traceback.
    examples: dict[str, int] = field(default_factory=dict)
    peak_mib: int = 0


def mutate(content: bytes, number: int, rng: random.Random) -> bytes:
    """Return damaged content; JSON is damaged in its values two times of three."""
    if number % 3 and content[:1] in (b"{", b"["):
        with contextlib.suppress(ValueError):
            return _mutated_json(json.loads(content), rng)
    found = bytearray(content)
    for _ in range(rng.choice((1, 1, 1, 2, 8))):
        at, length = rng.randrange(len(found) + 1), rng.choice((1, 2, 4, 16, 300))
        kind = rng.randrange(6)
        if kind == 0 and at < len(found):
            found[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            del found[at:]
        elif kind == 2:
            del found[at : at + length]
        elif kind == 3:
            found[at:at] = rng.choice((rng.randbytes(length), b"9" * length, b"\0" * length, b"[" * 20 * length))
        elif kind == 4:
            found[at:at] = found[at : at + length * 10]
        elif numbers := list(re.finditer(rb"-?\d[\d.]*", found)):
            found[slice(*rng.choice(numbers).span())] = rng.choice(_NUMBERS)
    return bytes(found)


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, one in inside:
        yield value, key
        yield from _places(one)


def _mutated_json(document: Any, rng: random.Random) -> bytes:
    document = copy.deepcopy(document)
    for _ in range(rng.choice((1, 1, 1, 3))):
        places = list(_places(document))
        if not places or rng.random() < 0.02:
            document = copy.deepcopy(rng.choice(_VALUES))
            break
        # As often near the root as deep within: of long lists there are many places.
        holder, key = rng.choice(
            places if rng.random() < 0.5 else [p for p in places if isinstance(p[1], str)] or places
        )
        kind = rng.randrange(8)
        if kind == 0:
            del holder[key]
        elif kind == 1 and isinstance(holder, dict):
            holder[_TWICE + key] = copy.deepcopy(rng.choice(_VALUES))
        elif kind == 2 and isinstance(holder, list):
            holder[key:key] = [holder[key]] * rng.choice((1, 100))
        else:
            holder[key] = copy.deepcopy(rng.choice(_VALUES))
    deep = rng.choice((("[", "]"), ('{"a":', "}")))
    nested = deep[0] * 5000 + "1" + deep[1] * 5000
    text = json.dumps(document).replace(f'"{_TWICE}', '"').replace(f'"{_DEEP}"', nested)
    return text.encode()


def try_input(one: Input, numbers: range, seed: int) -> Outcome:
    """Give the mutations of these numbers of an input to its readers, and put the input back."""
    found = Outcome()
    try:
        for number in numbers:
            rng = random.Random(f"{one.name} {seed} {number}")
            cut = one.path.name == "manifest.csv" and number < len(one.content)
            damaged = one.content[:number] if cut else mutate(one.content, number, rng)
            one.path.write_bytes(one.wrap(damaged))
            _try(one, number, found)
    finally:
        one.path.write_bytes(one.wrap(one.content))
    found.peak_mib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    return found


def _try(one: Input, number: int, found: Outcome) -> None:
    new = Path(tempfile.mkdtemp())
    calls = [("Python", one.read)]
    if one.commands:
        command = [part.replace(NEW, str(new / "new")) for part in one.commands[number % len(one.commands)]]
        calls.append((f"wsi-idc {command[0]}", lambda: _run_command(command)))
    refused, faults = False, []
    for name, call in calls:
        begun = time.monotonic()
        try:
            with _limited():
                call()
        except (WsiIdcError, click.ClickException, SystemExit):
            refused |= call == one.read
        except Slow:
            pass
        except Exception as error:  # noqa: BLE001
            faults.append(f"{name}: {_place(error)}")
        found.slow += time.monotonic() - begun > LIMIT_S
    shutil.rmtree(new)
    for fault in faults:
        found.tracebacks[fault] += 1
        found.examples.setdefault(fault, number)
    found.mutations += 1
    found.refused += refused and not faults
    found.read += not (refused or faults)


def _run_command(command: Sequence[str]) -> None:
    done = CliRunner().invoke(wsi_idc, list(command))
    if isinstance(done.exception, SystemExit) and done.exit_code == 1 and "Traceback" in done.output:
        raise RuntimeError("a traceback is printed")
    if done.exception is not None:
        raise done.exception


@contextlib.contextmanager
def _limited() -> Iterator[None]:
    """Raise Slow where what is within takes longer than the limit, unless it is in compiled code."""

    def stop(*_: object) -> None:
        raise Slow

    before = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, LIMIT_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def _place(error: BaseException) -> str:
    """Return an error with the last lines of this tool, and of all, that it passed."""
    frames = traceback.extract_tb(error.__traceback__)
    ours = [f for f in frames if "/site-packages/" not in f.filename and "/lib/python" not in f.filename]
    where = " > ".join(f"{Path(f.filename).name}:{f.lineno} {f.name}" for f in (ours[-1:] + frames[-1:]))
    return f"{type(error).__name__} ({str(error)[:80]!r}) at {where}"


def _try_by_number(folder: Path, place: int, numbers: range, seed: int) -> Outcome:
    global _inputs
    if not _inputs:
        _inputs = make_inputs(folder)
    return try_input(_inputs[place], numbers, seed)


_inputs: list[Input] = []


def try_all(count: int, seed: int) -> Iterator[tuple[str, Outcome]]:
    """Give each reader its share of `count` mutations; yields its name and what came of them, once they are done."""
    spawn = multiprocessing.get_context("spawn")
    with tempfile.TemporaryDirectory() as place:
        names = [one.name for one in make_inputs(Path(place) / "all")]
        each = -(-count // len(names))
        for i, name in enumerate(names):
            # A process for each reader: its memory is its own, and where it is ended the others are tried.
            try:
                with ProcessPoolExecutor(1, spawn) as pool:
                    yield name, pool.submit(_try_by_number, Path(place) / str(i), i, range(each), seed).result()
            except BrokenProcessPool:
                yield name, Outcome(ended=1)


def faults_of(name: str, found: Outcome) -> list[str]:
    """Say of each kind of traceback how often it came, and as which mutation of a reader."""
    return [f"{name}: {n} x {kind}, as {found.examples[kind]}" for kind, n in found.tracebacks.items()]


@click.command()
@click.option("--count", type=click.IntRange(1), default=10_000, show_default=True, help="Mutations, over all readers.")
@click.option("--seed", type=int, default=0, show_default=True)
def main(count: int, seed: int) -> None:
    """Print a table of what came of damaged inputs, and each kind of fault below it."""
    heads = ("reader", "mutations", "refused with the tool's own error", "read", "tracebacks", "slower than 10 s")
    click.echo("| " + " | ".join([*heads, "ended the process", "peak MiB"]) + " |")
    click.echo("|---" + "|---:" * 7 + "|")
    faults, total = [], 0
    for name, found in try_all(count, seed):
        numbers = (found.mutations, found.refused, found.read, found.tracebacks.total(), found.slow, found.ended)
        click.echo("| " + " | ".join([name, *map(str, numbers), str(found.peak_mib)]) + " |")
        faults += faults_of(name, found)
        total += found.mutations
    click.echo(f"\n{total:,} mutations, each read by Python and by a command.\n")
    for fault in faults:
        click.echo(f"- {fault}")


if __name__ == "__main__":
    main()
