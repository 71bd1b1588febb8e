"""Builds the peer programs, each once for every state of its sources, outside of the source tree."""

import fcntl
import hashlib
import os
import pathlib
import re
import shutil
import subprocess
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
CACHE = pathlib.Path(os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache") / "chorus-p2p" / "interop"
KINDS = ("go", "rust", "js")
KEPT_BUILDS = 3  # of each kind; a work tree or two may be in use beside this one
BUILD_SECONDS_MAX = 1500


class MissingToolchain(Exception):
    pass


def output_of(command):
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout
    except (OSError, subprocess.SubprocessError):
        return ""


def need(tool, command, wanted_in, pattern):
    """Returns the tool's version, which must not be below the one its package file asks for."""
    wanted = re.search(pattern, (HERE / wanted_in).read_text())[1]
    found = re.search(r"\d+(\.\d+)+", output_of(command))
    numbers = lambda version: [int(part) for part in version.split(".")]
    if not found or numbers(found[0]) < numbers(wanted):
        raise MissingToolchain(f"{tool} >= {wanted} is needed, found {found[0] if found else 'none'}")
    return found[0]


def toolchain(kind):
    if kind == "go":
        os.environ.setdefault("GOTOOLCHAIN", "local")  # a newer one is not to be fetched
        return need("go", ["go", "env", "GOVERSION"], "go/go.mod", r"(?m)^go ([\d.]+)")
    if kind == "rust":
        return need("cargo", ["cargo", "--version"], "rust/Cargo.toml", r'rust-version = "([\d.]+)"')
    if not shutil.which("npm"):
        raise MissingToolchain("npm is needed, found none")
    return need("node", ["node", "--version"], "js/package.json", r'"node": ">=([\d.]+)"')


def sources(kind):
    paths = (HERE / kind).rglob("*")
    skipped = {"node_modules", "target"}
    return sorted(p for p in paths if p.is_file() and not skipped & set(p.relative_to(HERE).parts))


def digest(kind, version):
    state = hashlib.sha256(version.encode())
    for path in sources(kind):
        state.update(f"\0{path.relative_to(HERE)}\0".encode() + path.read_bytes())
    return state.hexdigest()[:16]


def compile_peer(kind, out):
    """Fills the empty directory `out`."""
    env = dict(os.environ)
    cwd = HERE / kind
    if kind == "go":
        env.update(CGO_ENABLED="0", GOFLAGS="-mod=readonly -buildvcs=false")
        command = ["go", "build", "-trimpath", "-ldflags=-s -w", "-o", str(out / "peer"), "."]
    elif kind == "rust":
        env["CARGO_TARGET_DIR"] = str(CACHE / "rust-target")
        command = ["cargo", "build", "--release", "--locked", "--quiet"]
    else:
        for path in sources(kind):
            shutil.copy(path, out)
        cwd = out
        command = ["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]
    done = subprocess.run(command, cwd=cwd, env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, errors="replace", timeout=BUILD_SECONDS_MAX)
    if done.returncode != 0:
        raise RuntimeError(f"building the {kind} peer failed:\n{done.stdout[-4000:]}")
    if kind == "rust":
        shutil.copy(CACHE / "rust-target" / "release" / "peer", out / "peer")


def forget_old(kind):
    builds = sorted(CACHE.glob(f"{kind}-????????????????"), key=lambda p: p.stat().st_mtime, reverse=True)
    for old in builds[KEPT_BUILDS:]:
        shutil.rmtree(old, ignore_errors=True)


def place(kind):
    """The directory that holds this peer, once it is built; raises MissingToolchain."""
    return CACHE / f"{kind}-{digest(kind, toolchain(kind))}"


def command(kind, built):
    return ["node", str(built / "peer.mjs")] if kind == "js" else [str(built / "peer")]


def find(kind):
    """Returns the command that starts this peer, or None if it is not built."""
    try:
        built = place(kind)
    except MissingToolchain:
        return None
    return command(kind, built) if built.exists() else None


def build(kind):
    """Returns the command that starts this peer, as a list; raises MissingToolchain or RuntimeError."""
    built = place(kind)
    CACHE.mkdir(parents=True, exist_ok=True)
    with open(CACHE / f"{kind}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if built.exists():
            os.utime(built)
        else:
            fresh = pathlib.Path(tempfile.mkdtemp(prefix=f"{kind}-new.", dir=CACHE))
            try:
                compile_peer(kind, fresh)
                fresh.rename(built)
            finally:
                shutil.rmtree(fresh, ignore_errors=True)
            forget_old(kind)
    return command(kind, built)
