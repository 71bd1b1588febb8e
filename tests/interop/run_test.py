#!/usr/bin/env python3
"""Tests of the runner: with programs that keep the contract all rows pass, each defect fails just its rows, and a runner
that is killed leaves nothing behind.

The programs here talk to nobody, they only answer.  The last line is "N passed, N failed, N skipped"."""

import json
import os
import pathlib
import re
import select
import signal
import subprocess
import sys
import tempfile
import threading

HERE = pathlib.Path(__file__).resolve().parent
THIS = f"{sys.executable} {pathlib.Path(__file__).resolve()}"
AGENTS = {"chorus": "chorus-p2p/0", "go": "go-libp2p/0"}
PROTOCOLS = ["/ipfs/id/1.0.0", "/ipfs/ping/1.0.0", "/echo/1.0.0", "/perf/1.0.0", "/half/1.0.0", "/reset/1.0.0"]

# What the defect of our program spoils: {its name: the cases that must fail}.
DEFECTS = {
    "none": set(),
    "another-code": {"reset"},
    "forged-record": {"identify"},
    "lacks-echo": {"identify"},
    "another-agent": {"identify"},
    "another-observed-address": {"identify"},
    "late-muxer": {"muxer"},
    "refuses-perf": {"perf-256M"},
    "lost-streams": {"streams"},
    "silent-about-echo": {"echo-1", "echo-1M", "echo-64M"},  # no answer in time
    "answer-without-field": {"ping"},
    "prints-nonsense": {"half-close"},
    "dies-of-wrong-id": {"wrong-id", "idle"},  # whatever runs beside it dies with it
    "drops-idle": {"idle"},
    "bad-end": {"ends-in-order"},
}


def learned(own, other, defect, remote, observed):
    return {"remoteId": remote, "agent": "other/1" if defect == "another-agent" else AGENTS[other],
            "protocolVersion": "CHORUS-network" if other == "chorus" else "",
            "protocols": [p for p in PROTOCOLS if defect != "lacks-echo" or p != "/echo/1.0.0"],
            "observedAddr": "/ip4/127.0.0.1/tcp/0" if defect == "another-observed-address" else observed,
            "signedPeerRecord": "invalid" if defect == "forged-record" else "valid",
            "earlyMuxer": defect != "late-muxer"}


def answer(own, other, defect, address, case, arguments):
    """The further fields of an answer; None for no answer."""
    if case == "identify":
        remote, observed = arguments[0].rsplit("/p2p/", 1)[1], "/ip4/127.0.0.1/tcp/9"
        found = learned(own, other, defect, remote, observed)
        return {**found, "localId": "dialler", "listenAddrs": [arguments[0].rsplit("/p2p/", 1)[0]]}
    if case == "learned":
        return {**learned(own, other, defect, arguments[0], address), "listenAddrs": []}
    if case == "idle" and defect != "drops-idle":
        threading.Event().wait(1.2)
    if (defect, case) == ("silent-about-echo", "echo"):
        return None
    if (defect, case) == ("prints-nonsense", "half"):
        print("nonsense", flush=True)
        return None
    if (defect, case) == ("dies-of-wrong-id", "wrong-id"):
        os._exit(3)
    if (defect, case) in (("refuses-perf", "perf"), ("drops-idle", "idle")):
        return {"ok": False, "error": "not today"}
    return {"ping": {} if defect == "answer-without-field" else {"rttUs": 1},
            "echo": {"sha256": "0" * 64, "seconds": 1},
            "streams": {"failed": 2 if defect == "lost-streams" else 0, "seconds": 1},
            "reset": {"code": 1 if defect == "another-code" else 4242},
            "perf": {"upSeconds": 1, "downSeconds": 1}, "simultaneous": {"connections": 1}}.get(case, {})


def tell_life(name):
    """Writes our name, and leaves the pipe open: its reader learns of our end by that."""
    if "RUN_TEST_LIVES" in os.environ:
        os.write(os.open(os.environ["RUN_TEST_LIVES"], os.O_WRONLY), f"{name}\n".encode())


def daemon(command):
    """Stands in for chorus-p2p: `run` serves until it is told to end, the other commands never finish."""
    if command == "run":
        print("/ip4/127.0.0.1/tcp/1/p2p/daemon\nready", flush=True)
    tell_life(command)
    signal.sigwait({signal.SIGTERM})


def program(own, other, defect):
    """Keeps the contract, but for its defect."""
    tell_life(own)
    address = f"/ip4/127.0.0.1/tcp/{os.getpid()}"
    print(f"{address}/p2p/{own}\nready", flush=True)

    def reply(tag, case, arguments):
        found = answer(own, other, defect, address, case, arguments)
        if found is not None:
            print(json.dumps({"id": tag, "case": case, "ok": True, **found}), flush=True)

    for line in sys.stdin:
        tag, case, *arguments = line.split()
        threading.Thread(target=reply, args=(tag, case, arguments), daemon=True).start()
    sys.stdout.flush()
    os._exit(7 if defect == "bad-end" else 0)


def run(*arguments, **env):
    return subprocess.run([HERE / "run", *arguments], env={**os.environ, "CI": "false", **env}, text=True,
                          capture_output=True, timeout=120)


def test_defect(defect):
    done = run("--ours", f"{THIS} program chorus go {defect}", "--peer", f"go={THIS} program go chorus none",
               "--only", "peer=go", "--drivers", "epoll", "--idle-seconds", "1", "--patience", "1")
    failed = {line.split()[3] for line in done.stdout.splitlines() if " FAIL " in line}
    failed -= {"plaintext"} if DEFECTS[defect] else set()  # dials too: fails with ping and echo
    assert failed == DEFECTS[defect], f"failed {failed}, expected {DEFECTS[defect]}\n{done.stdout}{done.stderr}"
    counted = re.fullmatch(r"(\d+) passed, (\d+) failed, 0 skipped", done.stdout.splitlines()[-1])
    assert counted and int(counted[1]) > 0, done.stdout
    assert (done.returncode, int(counted[2]) > 0) == ((1, True) if DEFECTS[defect] else (0, False)), done.stdout


def test_missing_toolchain():
    with tempfile.TemporaryDirectory() as empty:
        os.symlink(sys.executable, f"{empty}/python3")
        arguments = ("--ours", "true", "--only", "peer=rust,case=ping", "--drivers", "epoll")
        done = run(*arguments, PATH=empty)
        assert done.returncode == 0 and "rust peer skipped: cargo >= " in done.stdout, done.stdout + done.stderr
        assert done.stdout.endswith("\n0 passed, 0 failed, 8 skipped\n"), done.stdout
        done = run(*arguments, PATH=empty, CI="true")
        assert done.returncode == 1 and done.stdout.endswith("\n0 passed, 8 failed, 0 skipped\n"), done.stdout


def test_unusable_program():
    peer = f"go={THIS} program go chorus none"
    for ours in ("false", "/nonexistent", "echo ready", "cat"):
        done = run("--ours", ours, "--peer", peer, "--only", "peer=go,case=half-close", "--drivers", "epoll",
                   "--patience", "1")
        assert done.returncode == 1 and done.stdout.endswith("\n0 passed, 2 failed, 0 skipped\n"), done.stdout


def test_dying_peer():
    done = run("--ours", f"{THIS} program chorus go none", "--peer", f"go={THIS} program go chorus dies-of-wrong-id",
               "--only", "peer=go,case=wrong-id", "--only", "peer=go,case=ping,key=ed25519", "--drivers", "epoll",
               "--patience", "5")
    failed = [line.split()[1:4:2] for line in done.stdout.splitlines() if " FAIL " in line]
    assert failed == [["they-dial", "wrong-id"]], done.stdout
    assert "go ended in the middle: status 3" in done.stdout, done.stdout
    assert done.returncode == 1 and re.search(r"\n\d+ passed, 1 failed, 0 skipped\n$", done.stdout), done.stdout


class Lives:
    """The programs under a runner: their names as they start, and that all have ended."""

    def __init__(self, folder):
        self.path = f"{folder}/lives"
        os.mkfifo(self.path)
        self.held = os.open(self.path, os.O_RDWR)  # a writer, until there are others
        self.pipe = os.open(self.path, os.O_RDONLY)

    def _read(self, seconds):
        assert select.select([self.pipe], [], [], seconds)[0], f"nothing for {seconds} s"
        return os.read(self.pipe, 4096)

    def await_names(self, wanted):
        seen = b""
        while set(seen.decode().split()) < wanted:
            seen += self._read(30)
        os.close(self.held)

    def await_end(self):
        while self._read(20):
            pass


def test_killed(how):
    """In the middle of a row, with a peer, the daemon and one of its commands under way."""
    with tempfile.TemporaryDirectory() as folder:
        lives = Lives(folder)
        # A shell's background job ignores SIGINT, and so would all that it starts.
        runner = subprocess.Popen([HERE / "run", "--ours", "false", "--daemon", f"{THIS} daemon", "--peer",
                                   f"go={THIS} program go chorus none", "--only",
                                   "peer=go,case=daemon-ping,direction=we-dial", "--drivers", "epoll"],
                                  env={**os.environ, "RUN_TEST_LIVES": lives.path}, stdout=subprocess.DEVNULL,
                                  stderr=subprocess.DEVNULL,
                                  preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))
        lives.await_names({"go", "run", "ping"})
        runner.send_signal(how)
        assert runner.wait(20) != 0
        lives.await_end()


def main():
    tests = [(f"defect {name}", test_defect, [name]) for name in DEFECTS]
    tests += [("missing toolchain", test_missing_toolchain, []), ("unusable program", test_unusable_program, [])]
    tests += [("dying peer", test_dying_peer, [])]
    tests += [(f"killed by {how.name}", test_killed, [how]) for how in (signal.SIGTERM, signal.SIGKILL, signal.SIGINT)]
    failures = 0
    for name, test, arguments in tests:
        try:
            test(*arguments)
            print("ok  ", name, flush=True)
        except (AssertionError, subprocess.TimeoutExpired) as error:
            failures += 1
            print("FAIL", name, error, flush=True)
    print(f"{len(tests) - failures} passed, {failures} failed, 0 skipped")
    return 1 if failures else 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["program"]:
        program(*sys.argv[2:5])
    elif sys.argv[1:2] == ["daemon"]:
        daemon(sys.argv[2])
    else:
        sys.exit(main())
