#!/usr/bin/env python3
"""Tests of the commands `about` and `load`: see "Load" in README.md.

  tests/interop/load_test.py                 each peer that is built against itself; --build builds them first
  tests/interop/load_test.py go:rust js:go   these diallers against these listeners
  tests/interop/load_test.py --peer ours='build/release/chorus-bench serve' ours:ours go:ours

A peer that is not built is skipped with a line that says so; with CI=true that is a failure.  The last line is
"N passed, N failed, N skipped"."""

import sys

sys.dont_write_bytecode = True

import argparse
import contextlib
import os
import queue
import re
import shlex
import socket
import time

import build_peers
import program
from program import Failure, Program

LISTEN = ["listen", "--key", "ed25519", "--security", "noise"]
TIMES = {"warm": 0.1, "seconds": 0.3}
LONGER_SECONDS = (2, 10)  # on a machine so busy that not even one unit, or round of them, was done in that time
PATIENCE_SECONDS = 120
LOSS_SECONDS = 8  # how long a load measures whose listener dies meanwhile
LONGER_LOSS_SECONDS = 60  # ... when it had not noticed
PERCENTILES = ("p50Us", "p90Us", "p99Us", "p999Us", "maxUs")

# (work, keys, how many units can be under way at once)
LOADS = (
    ("bulk", {}, None),
    ("bulk", {"direction": "down", "streams": 3}, None),
    ("bulk", {"direction": "both", "connections": 3, "streams": 2}, None),
    ("handshake", {}, 1),
    ("handshake", {"parallel": 4}, 4),
    ("handshake", {"parallel": 4, "distinct": 1}, 4),
    ("rtt", {}, 1),
    ("rtt", {"load": 1}, 1),
    ("rtt", {"rate": 40}, None),
    ("rr", {}, 1),
    ("rr", {"connections": 20, "size": 1}, 20),
    ("rr", {"connections": 5, "rate": 62.5}, None),
    ("rr", {"size": 2000000, "seconds": 1}, 1),
    ("streams", {}, 1),
    ("streams", {"inflight": 50, "size": 3000}, 50),
    ("streams", {"inflight": 2, "size": 400000, "seconds": 1}, 2),
    ("idle", {"connections": 20}, None),
)
WRONG = (
    "load", "load rr", "load dance ADDR", "load rr nowhere", "load rr ADDR speed=1", "load rr ADDR connections",
    "load rr ADDR connections=", "load rr ADDR connections=0", "load rr ADDR connections=1.5",
    "load rr ADDR connections=many", "load rr ADDR size=-1", "load rr ADDR rate=-1", "load rr ADDR seconds=0",
    "load rr ADDR warm=-0.1", "load rr ADDR warm=nan", "load rr ADDR streams=2", "load rr ADDR direction=up",
    "load bulk ADDR direction=sideways", "load bulk ADDR rate=5", "load rtt ADDR connections=2", "load rtt ADDR load=2",
    "load handshake ADDR connections=2", "load handshake ADDR distinct=2", "load rr ADDR distinct=1", "load streams ADDR connections=2", "load storm ADDR seconds=1",
    "load storm ADDR warm=1", "load fanout ADDR", "load idle ADDR parallel=1", "about now",
)
LOST = (  # what goes on while the listener dies, and what must have failed then
    ("idle", {"connections": 5}, lambda failed: failed == 5),
    ("rr", {"connections": 3}, lambda failed: failed >= 3),
    ("rr", {"rate": 100}, lambda failed: failed >= 2),
    ("rtt", {}, lambda failed: failed >= 1),
    ("bulk", {"connections": 2, "streams": 2}, lambda failed: failed == 4),
    ("bulk", {"direction": "down"}, lambda failed: failed == 1),
    ("streams", {"inflight": 4}, lambda failed: failed >= 4),
    ("handshake", {"parallel": 2}, lambda failed: failed >= 2),
    ("handshake", {"parallel": 2, "distinct": 1}, lambda failed: failed >= 2),
)


def text_of(work, keys):
    return [work, *(f"{key}={value}" for key, value in keys.items())]


def next_line(program, waiting):
    try:
        found = waiting.get(timeout=PATIENCE_SECONDS)
    except queue.Empty:
        raise Failure(f"{program.name}: no line within {PATIENCE_SECONDS} s") from None
    if found is None:
        raise Failure(f"{program.name} ended: {program.ending()}")
    return found


def wait_event(program, waiting, event):
    found = next_line(program, waiting)
    assert found == {"id": found["id"], "event": event}, f"expected {event}, got {found}"


def load(program, work, address, keys):
    """Returns the answer, which has come after `begin` and `end`."""
    waiting = program.command("load", work, address, *text_of(work, keys)[1:])
    wait_event(program, waiting, "begin")
    wait_event(program, waiting, "end")
    return program.answer(waiting, PATIENCE_SECONDS)


def check_numbers(found, names):
    for name in names:
        value = found.get(name)
        assert isinstance(value, (int, float)) and not isinstance(value, bool) and value >= 0, f"{name} in {found}"


def check_percentiles(found, under_way):
    check_numbers(found, PERCENTILES)
    values = [found[name] for name in PERCENTILES]
    assert values == sorted(values) and values[0] >= 1, f"percentiles {values}"
    if under_way:  # units one after the other cannot have taken longer than there was time
        room_us = under_way * (found["seconds"] * 1e6 + found["maxUs"])
        for part, value in zip((0.5, 0.1, 0.01, 0.001), values):
            assert found["units"] * part * value <= room_us, f"{part} of the units took {value} us or more: {found}"


def check(work, keys, under_way, found, wanted_s, elapsed_s):
    check_numbers(found, ("units", "failed", "seconds"))
    assert found["failed"] == 0 and found["units"] > 0, found
    assert found["units"] == int(found["units"]), found
    assert wanted_s - 0.01 <= found["seconds"] <= elapsed_s, f"measured {found['seconds']} s of {elapsed_s}: {found}"
    if work in ("bulk", "idle"):
        assert not found.keys() & set(PERCENTILES), found
    else:
        check_percentiles(found, under_way)
    if "rate" in keys:
        assert found["units"] <= keys["rate"] * elapsed_s + 1, f"more than were due in {elapsed_s} s: {found}"
    if work == "idle":
        check_numbers(found, ("setupSeconds",))
        assert found["units"] == keys["connections"] and 0 < found["setupSeconds"] < elapsed_s, found


def load_and_check(dialler, address, work, keys, under_way):
    for seconds in (keys.get("seconds", TIMES["seconds"]), *LONGER_SECONDS):
        start = time.monotonic()
        found = load(dialler, work, address, {**TIMES, **keys, "seconds": seconds})
        if found.get("failed") != 0 or found.get("units") != 0 and found.get("p50Us", 0) is not None:
            break
    check(work, keys, under_way, found, seconds, time.monotonic() - start)


def test_load(dialler, listener, work, keys, under_way):
    load_and_check(dialler, listener.address, work, keys, under_way)


def test_storm(dialler, listener):
    found = load(dialler, "storm", listener.address, {"connections": 20})
    check_numbers(found, ("units", "failed", "seconds"))
    check_percentiles(found, 20)
    assert (found["units"], found["failed"]) == (20, 0) and found["maxUs"] <= found["seconds"] * 1e6, found


def test_fanout(dialler, listener):
    held = dialler.command("load", "idle", listener.address, "connections=20", "warm=0", f"seconds={LOSS_SECONDS}")
    wait_event(dialler, held, "begin")
    for size in (1, 3000):
        load_and_check(listener, "-", "fanout", {"connections": 20, "size": size}, None)
    wait_event(dialler, held, "end")
    held = dialler.answer(held, PATIENCE_SECONDS)
    assert (held["units"], held["failed"]) == (20, 0), held


def test_about(dialler, _):
    found = dialler.ask("about")
    assert found["implementation"] and re.match(r"\d+\.\d+", found["version"]), found
    assert 0 <= found.get("warm", 0) <= 10, found
    assert found["workers"] >= 1 and re.fullmatch(r"(sleep|spin [\d.]+ us, then sleep)(; .+)?", found["waiting"]), found


def refusal(program, line):
    waiting = program.command(*line.split())
    found = next_line(program, waiting)
    assert "event" not in found and found.get("ok") is False and found.get("error"), f"{line}: {found}"
    return found["error"]


def test_wrong(dialler, listener):
    for line in WRONG:
        error = refusal(dialler, line.replace("ADDR", listener.address))
        assert ("no command" in error) == (line in ("load", "load rr", "about now")), f"{line}: {error}"


def test_too_many(dialler, listener):
    for key in ("rr ADDR connections", "storm ADDR connections", "handshake ADDR parallel"):
        error = refusal(dialler, f"load {key}=2000000000".replace("ADDR", listener.address))
        assert error.startswith("cannot: "), error


def test_nobody(dialler, listener):
    """Nobody answers at the address."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"/ip4/127.0.0.1/tcp/{taken.getsockname()[1]}/p2p/{listener.id}"
        for work in ("bulk", "rtt", "rr", "streams", "idle"):
            refusal(dialler, f"load {work} {address} seconds=0.1")
        found = load(dialler, "storm", address, {"connections": 3})
        assert (found["units"], found["failed"], found["p50Us"]) == (0, 3, None), found
        found = load(dialler, "handshake", address, {"warm": 0, "seconds": 1, "parallel": 2})
        assert found["units"] == 0 and found["failed"] >= 2, found


def test_beside(dialler, listener):
    """A load holds up no other command."""
    held = dialler.command("load", "idle", listener.address, "warm=0", f"seconds={LOSS_SECONDS}")
    wait_event(dialler, held, "begin")
    dialler.ask("about")
    test_load(dialler, listener, "rr", {}, 1)
    assert held.empty(), f"{held.get()} before its time"
    wait_event(dialler, held, "end")
    dialler.answer(held)


def test_descriptors(dialler, _):
    """As many as the system lets a program have."""
    with open(f"/proc/{dialler.process.pid}/limits") as limits:
        soft, hard = re.search(r"Max open files\s+(\d+)\s+(\d+)", limits.read()).groups()
    assert soft == hard, f"{soft} of {hard}"


def lose(dialler, doomed, seconds):
    """The answers of all loads; the listener dies when all have begun."""
    keys = {"warm": 0.1, "seconds": seconds}
    running = [dialler.command("load", work, doomed.address, *text_of(work, {**keys, **more})[1:])
               for work, more, _ in LOST]
    for waiting in running:
        wait_event(dialler, waiting, "begin")
    doomed.process.kill()
    for waiting in running:
        wait_event(dialler, waiting, "end")
    return [dialler.answer(waiting, PATIENCE_SECONDS) for waiting in running]


def test_lost(dialler, start_doomed):
    """What fails is counted."""
    for seconds in (LOSS_SECONDS, LONGER_LOSS_SECONDS):
        found = lose(dialler, start_doomed(), seconds)
        wrong = [f"{text_of(work, more)}: {answer}" for (work, more, expected), answer in zip(LOST, found)
                 if not expected(answer["failed"]) or work == "idle" and answer["units"] > 0]
        if not wrong:
            return
    raise AssertionError("\n".join(wrong))


def tests_of(pair, commands):
    """(name, function without arguments) of all tests; a program serves for all but one of them."""
    dialler, listener = pair
    programs = contextlib.ExitStack()

    def start(name):
        program = Program(name, commands[name] if name not in build_peers.KINDS else commands[name] + LISTEN)
        programs.callback(lambda: program.alive() and program.stop())
        return program

    kept = []

    def run(test, *arguments):
        if not all(program.alive() for program in kept) or not kept:
            kept[:] = [start(dialler), start(listener)]
        try:
            test(*kept, *arguments)
        except (AssertionError, Failure, OSError, KeyError, TypeError) as error:
            raise Failure(f"{error or repr(error)}\n" + "".join(p.tail() for p in kept)) from None

    def lost():
        run(lambda dialling, _: test_lost(dialling, lambda: start(listener)))

    for work, keys, under_way in LOADS:
        yield " ".join(text_of(work, keys)), lambda: run(test_load, work, keys, under_way)
    for test in (test_storm, test_fanout, test_about, test_wrong, test_too_many, test_nobody, test_beside, test_descriptors):
        yield test.__name__[5:].replace("_", " "), lambda: run(test)
    yield "listener lost", lost
    yield "ends in order", programs.close


def commands_for(kinds, given, build):
    """{kind: command} of those that there are, and {kind: why not} of the others."""
    commands, lost = dict(given), {}
    for kind in sorted(kinds - given.keys()):
        try:
            found = build_peers.build(kind) if build else build_peers.find(kind)
            if found:
                commands[kind] = found
            else:
                lost[kind] = "it is not built"
        except (build_peers.MissingToolchain, RuntimeError) as error:
            lost[kind] = error
    return commands, lost


def main():
    program.READY_SECONDS_MAX = Program.patience = PATIENCE_SECONDS
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pairs", nargs="*", metavar="DIALLER:LISTENER")
    parser.add_argument("--peer", action="append", default=[], metavar="NAME=COMMAND",
                        help="a program of another name, with all its arguments")
    parser.add_argument("--build", action="store_true", help="build the peers first")
    parser.add_argument("--only", default="", metavar="REGEX", help="tests whose name matches")
    arguments = parser.parse_args()
    given = {name: shlex.split(command) for name, command in (text.split("=", 1) for text in arguments.peer)}
    pairs = [tuple(pair.split(":")) for pair in arguments.pairs] or [(kind, kind) for kind in build_peers.KINDS]
    commands, lost = commands_for({kind for pair in pairs for kind in pair}, given, arguments.build)
    in_ci = os.environ.get("CI") == "true"
    for kind, why in lost.items():
        print(f"{kind} peer {'cannot be tested' if in_ci else 'skipped'}: {why}", flush=True)
    counts = {"ok  ": 0, "FAIL": 0, "skip": 0}
    for pair in pairs:
        if any(kind in lost for kind in pair):
            counts["FAIL" if in_ci else "skip"] += 1
            continue
        for name, test in tests_of(pair, commands):
            if not re.search(arguments.only, name):
                continue
            start, why, result = time.monotonic(), "", "ok  "
            try:
                test()
            except Failure as error:
                why, result = error, "FAIL"
            counts[result] += 1
            print(f"{result} {':'.join(pair)} {name}  {time.monotonic() - start:.1f} s {why}".rstrip(), flush=True)
    print("{} passed, {} failed, {} skipped".format(*counts.values()))
    return 1 if counts["FAIL"] else 0


if __name__ == "__main__":
    sys.exit(main())
