"""Runs programs that keep the contract of README.md, and the daemon."""

import collections
import concurrent.futures
import json
import os
import queue
import shutil
import signal
import subprocess
import tempfile
import threading

READY_SECONDS_MAX = 30
EXIT_SECONDS_MAX = 10
ANSWER_SECONDS_MAX = 70  # a command gives up after 60
TAIL_LINES = 12
TAIL_BYTES = 8192


# What we start does not outlive us, however we end.  The kernel's word for our end is that of the thread that started
# it: one thread starts all programs, and lasts as long as we do.
ENDS_WITH_US = ["setpriv", "--pdeathsig", "TERM", "--"] if shutil.which("setpriv") else []
_starter = concurrent.futures.ThreadPoolExecutor(1)


class Failure(Exception):
    """Why a case failed."""


class Program:
    """A started program: its addresses, and its answers to commands."""

    patience = ANSWER_SECONDS_MAX

    def __init__(self, name, command, env=None):
        self.name = name
        self.stderr = tempfile.TemporaryFile()
        try:
            self.process = _starter.submit(subprocess.Popen, [*ENDS_WITH_US, *command], stdin=subprocess.PIPE,
                                           stdout=subprocess.PIPE, stderr=self.stderr,
                                           env={**os.environ, **(env or {})}, text=True, bufsize=1).result()
        except OSError as error:
            raise Failure(f"{name} cannot be started: {error}") from error
        self.addresses = []
        self.ready = threading.Event()
        self.waiting = {}
        self.strange = collections.deque(maxlen=3)  # output that is no answer
        self.lock = threading.Lock()
        self.sent = 0
        threading.Thread(target=self._read, daemon=True).start()
        in_time = self.ready.wait(min(READY_SECONDS_MAX, self.patience))
        dialable = self.addresses and all("/p2p/" in address for address in self.addresses)
        if not in_time or not dialable or self.sent is None:
            self.process.kill()
            raise Failure(f"{name} did not print an address and 'ready':\n{self.tail()}")

    def _read(self):
        for line in self.process.stdout:
            line = line.strip()
            if not self.ready.is_set():
                if line == "ready":
                    self.ready.set()
                else:
                    self.addresses.append(line)
                continue
            try:
                answer = json.loads(line)
                waiting = self.waiting[answer["id"]]
                if "event" not in answer:  # such a line comes before the answer
                    del self.waiting[answer["id"]]
                waiting.put(answer)
            except (ValueError, KeyError, TypeError):
                self.strange.append(line[:200])
        with self.lock:
            self.sent = None
            for waiting in self.waiting.values():
                waiting.put(None)
        self.ready.set()

    @property
    def address(self):
        return self.addresses[0]

    @property
    def id(self):
        return self.address.rsplit("/p2p/", 1)[1]

    def alive(self):
        return self.sent is not None and self.process.poll() is None

    def command(self, case, *arguments):
        """Sends a command; the returned queue gets its events, if any, and its answer, or None when the program ends
        before."""
        with self.lock:
            if self.sent is None:
                raise Failure(f"{self.name} has ended: {self.ending()}")
            self.sent += 1
            tag = str(self.sent)
            answer = self.waiting[tag] = queue.Queue()
        try:
            self.process.stdin.write(" ".join([tag, case, *map(str, arguments)]) + "\n")
        except OSError as error:
            raise Failure(f"{self.name} takes no commands: {error}") from error
        return answer

    def answer(self, waiting, seconds=None):
        seconds = seconds or self.patience
        try:
            found = waiting.get(timeout=seconds)
        except queue.Empty:
            raise Failure(f"{self.name}: no answer within {seconds} s {list(self.strange) or ''}") from None
        if found is None:
            raise Failure(f"{self.name} ended in the middle: {self.ending()}")
        if found.get("ok") is not True:
            raise Failure(f"{self.name}: {found.get('error') or found}")
        return found

    def ask(self, case, *arguments, extra_seconds=0):
        return self.answer(self.command(case, *arguments), self.patience + extra_seconds)

    def ending(self):
        try:
            return f"status {self.process.wait(1)}"
        except subprocess.TimeoutExpired:
            return "its output is closed"

    def stop(self, end_signal=None):
        """Ends the program in order, and fails unless it does so with status 0."""
        try:
            if end_signal:
                self.process.send_signal(end_signal)
            else:
                self.process.stdin.close()
            status = self.process.wait(EXIT_SECONDS_MAX)
        except (subprocess.TimeoutExpired, OSError) as error:
            self.process.kill()
            self.process.wait()
            raise Failure(f"{self.name} did not end: {error}") from error
        if status != 0:
            raise Failure(f"{self.name} ended with status {status}")

    def tail(self):
        """The end of what it wrote to standard error."""
        size = os.fstat(self.stderr.fileno()).st_size
        text = os.pread(self.stderr.fileno(), TAIL_BYTES, max(0, size - TAIL_BYTES))  # the program's own place in
        lines = text.decode(errors="replace").splitlines()[-TAIL_LINES:]             # the file stays where it is
        return "".join(f"    {self.name}| {line[:300]}\n" for line in lines)


class Daemon(Program):
    """chorus-p2p run, and its commands that dial."""

    def __init__(self, command, env):
        self.home = tempfile.TemporaryDirectory(prefix="chorus-interop.")
        self.env = {**env, "XDG_DATA_HOME": self.home.name, "XDG_STATE_HOME": self.home.name}
        self.tool = command
        super().__init__("daemon", [*command, "run", "--listen", "/ip4/127.0.0.1/tcp/0", "--data-dir",
                                    self.home.name + "/node", "--echo", "--perf"], self.env)

    def call(self, *arguments, seconds=70):
        """Runs one of its commands that print JSON."""
        try:
            done = subprocess.run([*ENDS_WITH_US, *self.tool, *map(str, arguments)], env={**os.environ, **self.env}, timeout=seconds,
                                  capture_output=True, text=True, errors="replace", stdin=subprocess.DEVNULL)
        except subprocess.TimeoutExpired:
            raise Failure(f"{arguments[0]} did not end within {seconds} s") from None
        if done.returncode != 0:
            raise Failure(f"{arguments[0]} ended with status {done.returncode}: {done.stderr.strip()[-500:]}")
        try:
            return json.loads(done.stdout)
        except ValueError:
            raise Failure(f"{arguments[0]} printed no JSON: {done.stdout[:200]!r}") from None

    def stop(self, end_signal=signal.SIGTERM):
        try:
            super().stop(end_signal)
        finally:
            self.home.cleanup()
