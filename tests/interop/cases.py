"""The cases: which there are, and what must be true of the answers."""

import dataclasses
import re

from program import Failure

MIB = 1 << 20
SIMULTANEOUS_ROUNDS = 5
NO_NODE = "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN"  # the Ed25519 key of an all-zero seed
KEYS = {"go": ("rsa", "secp256k1", "ecdsa"), "rust": ("rsa", "secp256k1", "ecdsa"), "js": ("rsa", "secp256k1")}

# What a kind of program can do beyond the contract's minimum.
AGENTS = {"chorus": "chorus-p2p/", "go": "go-libp2p/", "rust": "rust-libp2p/", "js": "js-libp2p/"}
RESET_CODES = {"chorus", "go"}           # sends and shows the code of a reset
EARLY_MUXER = {"chorus", "go", "js"}     # agrees on the muxer inside the Noise handshake
SIGNED_RECORDS = {"chorus", "go", "js"}  # rust's identify knows a record format of its own only
TLS_FIRST = ("go", "js")                 # the rust peer is built without TLS, for its build time

LISTENER_PROTOCOLS = {"/ipfs/id/1.0.0", "/ipfs/ping/1.0.0", "/echo/1.0.0", "/perf/1.0.0", "/half/1.0.0",
                      "/reset/1.0.0"}
DIALLER_PROTOCOLS = {"/ipfs/id/1.0.0"}


@dataclasses.dataclass
class Side:
    """One end of a case."""
    kind: str  # chorus, go, rust or js
    program: object


@dataclasses.dataclass
class Case:
    """A row of the table: `run` gets the dialling and the listening side, and returns a remark."""
    name: str
    run: object
    keys: tuple = ("ed25519",)
    directions: tuple = ("they-dial", "we-dial")
    kinds: tuple = ("go", "rust", "js")
    security: str = "noise"        # of the dialler
    plaintext: bool = False        # both sides
    background: bool = False       # takes long, runs beside all others
    daemon: bool = False           # against chorus-p2p itself


def require(condition, message):
    if not condition:
        raise Failure(message)


def bare(address):
    """Without a /p2p/ID at the end: js leaves one on the observed address of inbound connections."""
    return re.sub(r"/p2p/[^/]+$", "", address)


def megabytes_per_second(count, seconds):
    return f"{count / 1e6 / max(seconds, 1e-6):.0f} MB/s"


def check_common(found, observer, target, security="/noise"):
    require(found["agent"].startswith(AGENTS[target.kind]), f"agent is {found['agent']!r}")
    require(found.get("security", security) == security, f"security is {found.get('security')}")
    if {observer.kind, target.kind} <= SIGNED_RECORDS:
        require(found["signedPeerRecord"] != "invalid", "signed peer record is invalid")
    if target.kind == "chorus":
        require(found["protocolVersion"] == "CHORUS-network", f"protocolVersion is {found['protocolVersion']!r}")


def check_listener(found, dialler, listener, protocols=LISTENER_PROTOCOLS):
    """What the dialler learned of the listening node."""
    check_common(found, dialler, listener)
    address = bare(listener.program.address)
    require(found["remoteId"] == listener.program.id, f"remoteId is {found['remoteId']}")
    missing = protocols - set(found["protocols"])
    require(not missing, f"protocols lack {', '.join(sorted(missing))}")
    require(address in map(bare, found["listenAddrs"]), f"listenAddrs are {found['listenAddrs']}")
    if {dialler.kind, listener.kind} <= SIGNED_RECORDS:
        require(found["signedPeerRecord"] == "valid", f"signed peer record: {found['signedPeerRecord']}")
    observed = bare(found["observedAddr"])
    if "localAddr" in found:
        require(observed == bare(found["localAddr"]), f"observedAddr is {observed}, not {found['localAddr']}")
    else:
        require(re.fullmatch(r"/ip4/127\.0\.0\.1/tcp/[1-9]\d*", observed) and observed != address,
                f"observedAddr is {observed!r}")


def check_dialler(found, listener, dialler, dialler_id):
    """What the listening node learned of the one that dialled."""
    check_common(found, listener, dialler)
    require(found["remoteId"] == dialler_id, f"remoteId is {found['remoteId']}")
    missing = DIALLER_PROTOCOLS - set(found["protocols"])
    require(not missing, f"protocols lack {', '.join(sorted(missing))}")
    require(bare(found["observedAddr"]) == bare(listener.program.address), f"observedAddr is {found['observedAddr']}")


def both_learned(dialler, listener):
    there = dialler.program.ask("identify", listener.program.address)
    back = listener.program.ask("learned", there["localId"])
    return there, back


def identify(dialler, listener):
    there, back = both_learned(dialler, listener)
    check_listener(there, dialler, listener)
    check_dialler(back, listener, dialler, there["localId"])
    return f"signed record: {there['signedPeerRecord']}"


def muxer(dialler, listener):
    """How the muxer was agreed on, as told by whichever side knows."""
    seen = {found["earlyMuxer"] for found in both_learned(dialler, listener) if "earlyMuxer" in found}
    early = {dialler.kind, listener.kind} <= EARLY_MUXER
    require(seen <= {early}, f"early muxer negotiation: {not early}, expected {early}")
    return ("early" if early else "multistream") + ("" if seen else ", not shown by either")


def ping(dialler, listener):
    found = dialler.program.ask("ping", listener.program.address, 10)
    require(found.get("security", "/noise") == "/noise", f"security is {found.get('security')}")
    return f"{found['rttUs']} us"


def tls_first(dialler, listener):
    return ping(dialler, listener) + ", after a refused /tls/1.0.0"


def plaintext(dialler, listener):
    found = dialler.program.ask("ping", listener.program.address, 3)
    require("plaintext" in found.get("security", "/plaintext/2.0.0"), f"security is {found.get('security')}")
    dialler.program.ask("echo", listener.program.address, 64 << 10)
    return f"{found['rttUs']} us"


def echo(count):
    def run(dialler, listener):
        found = dialler.program.ask("echo", listener.program.address, count)
        require(re.fullmatch("[0-9a-f]{64}", found["sha256"]), f"sha256 is {found['sha256']!r}")
        return megabytes_per_second(2 * count, found["seconds"])
    return run


def streams(dialler, listener):
    found = dialler.program.ask("streams", listener.program.address, 1000, 256)
    require(found["failed"] == 0, f"{found['failed']} streams failed")
    return f"{1000 / max(found['seconds'], 1e-6):.0f} /s"


def half(dialler, listener):
    dialler.program.ask("half", listener.program.address)


def reset(dialler, listener):
    found = dialler.program.ask("reset", listener.program.address)
    if {dialler.kind, listener.kind} <= RESET_CODES:
        require(found["code"] == 4242, f"code is {found['code']}, not 4242")
        return "code 4242"
    return "no code shown" if dialler.kind not in RESET_CODES else "no code sent"


def perf(dialler, listener):
    found = dialler.program.ask("perf", listener.program.address, 256 * MIB, 256 * MIB)
    return "up {}, down {}".format(*(megabytes_per_second(256 * MIB, found[s]) for s in ("upSeconds", "downSeconds")))


def wrong_id(dialler, listener):
    dialler.program.ask("wrong-id", f"{bare(listener.program.address)}/p2p/{NO_NODE}")


def simultaneous(dialler, listener):
    """Both dial each other at once, from their listening nodes; several times, each from unconnected."""
    sides = (dialler.program, listener.program)
    counts = []
    for _ in range(SIMULTANEOUS_ROUNDS):
        pending = [(a, a.command("simultaneous", b.address)) for a, b in (sides, sides[::-1])]
        counts += [program.answer(waiting)["connections"] for program, waiting in pending]
        for a, b in (sides, sides[::-1]):
            a.ask("disconnect", b.id)
    return f"connections: {' '.join(map(str, counts))}"


def idle(seconds):
    def run(dialler, listener):
        dialler.program.ask("idle", listener.program.address, seconds, extra_seconds=seconds)
        return f"{seconds} s"
    return run


def daemon_identify(dialler, listener):
    if dialler.kind == "chorus":
        found = dialler.program.call("identify", listener.program.address, "--json")
        require(AGENTS[listener.kind] in str(found), f"no agent in {found}")
    else:
        there = dialler.program.ask("identify", listener.program.address)
        check_listener(there, dialler, listener, LISTENER_PROTOCOLS - {"/half/1.0.0", "/reset/1.0.0"})


def daemon_ping(dialler, listener):
    if dialler.kind == "chorus":
        dialler.program.call("ping", listener.program.address, "-n", 5, "--json")
    else:
        return ping(dialler, listener)


def daemon_perf(dialler, listener):
    if dialler.kind == "chorus":
        size = 64 * MIB
        dialler.program.call("perf", listener.program.address, "--upload", size, "--download", size, "--json")
    else:
        return perf(dialler, listener)


def all_cases(idle_seconds):
    every_key = ("ed25519", "rsa", "secp256k1", "ecdsa")
    one_way = {"directions": ("they-dial",)}
    return [
        Case("idle", idle(idle_seconds), background=True),
        Case("identify", identify, keys=every_key),
        Case("muxer", muxer),
        Case("ping", ping, keys=every_key),
        Case("echo-1", echo(1)),
        Case("echo-1M", echo(MIB), keys=every_key),
        Case("echo-64M", echo(64 * MIB)),
        Case("streams", streams),
        Case("half-close", half),
        Case("reset", reset),
        Case("perf-256M", perf),
        Case("wrong-id", wrong_id),
        Case("simultaneous", simultaneous, directions=("both",)),
        Case("tls-first", tls_first, kinds=TLS_FIRST, security="tls,noise", **one_way),
        Case("plaintext", plaintext, security="plaintext", plaintext=True),
        Case("daemon-identify", daemon_identify, daemon=True),
        Case("daemon-ping", daemon_ping, daemon=True),
        Case("daemon-echo", echo(MIB), daemon=True, **one_way),
        Case("daemon-perf", daemon_perf, daemon=True),
    ]
