"""The rules of the house, each a function from a tree to a list of offences.

A tree is a dict {path: text} of the files under version control, so that every rule can be tried on a
small tree that breaks it.
"""

import re

ROOMS = ("crypto", "net", "runtime", "actors")

# Who may include whom.  A room sees itself, the public header and what stands here.
EDGES = {
    "crypto": (),
    "net": ("crypto/",),
    "runtime": ("crypto/table.h",),
    "actors": ("net/", "runtime/", "crypto/"),
    "daemon": (),
    "bench": (),
}
PUBLIC_HEADER = "chorus/p2p.h"
BENCH_INNER = re.compile(r"bench/(msg|timers|mailbox|limits(_\w+)?)\.c")  # what the public header does not show

# One library, one job, one place: (header pattern, paths that may include it).
LIBRARIES = (
    (r"liburing(/.*|\.h)", r"runtime/(driver_uring\.c|uring\.h)"),
    (r"ck_(ring|fifo|stack)\.h", r"runtime/mailbox\.c"),
    (r"ck_.*\.h", r"(runtime|actors)/.*\.c"),  # they do not compile as C++: never in a header
    (r"xxh(ash|3)\.h", r"crypto/table\.[ch]"),
    (r"sodium(/.*|\.h)", r"crypto/.*"),
    (r"openssl/.*", r"crypto/.*"),
    (r"ares(_.*)?\.h", r"actors/resolver\.c"),
    (r"lmdb\.h", r"runtime/store\.c"),
    (r"cyaml/.*", r"daemon/.*"),
    (r"microhttpd\.h", r"daemon/.*"),
    (r"(jansson|cjson/cJSON)\.h", r"(daemon|bench)/.*"),
    (r"argp\.h", r"(daemon|bench)/.*"),
    (r"(sys/epoll|pthread|threads|time|sys/time)\.h", r"(?!net/).*"),
)

INCLUDE = re.compile(r'^[ \t]*#[ \t]*include[ \t]*(["<])([^">]+)[">]', re.M)


def includes(text):
    """(quote, name) of every #include."""
    return INCLUDE.findall(text)


def allowed(path, name):
    """May the file `path` include `name`, a path of ours?"""
    room = path.split("/")[0]
    if room not in EDGES or BENCH_INNER.fullmatch(path):
        return True
    return name == PUBLIC_HEADER or name.startswith((room + "/",) + EDGES[room])


def ours(path, name, tree):
    """The path in the tree that `name` stands for, or None when it belongs to the system."""
    beside = path.rsplit("/", 1)[0] + "/" + name
    if beside in tree:
        return beside
    if name == PUBLIC_HEADER or "include/" + name in tree:
        return name
    return name if name in tree or name.split("/")[0] in EDGES else None


def include_edges(tree):
    """Every #include of ours is an edge that the house allows."""
    return [f"{path} includes {name}"
            for path, text in tree.items() if path.endswith((".c", ".h")) and not path.startswith("tests/")
            for _, name in includes(text)
            for target in [ours(path, name, tree)] if target and not allowed(path, target)]


def include_files(tree):
    """Every #include in quotes names a file that is there, from the top or beside."""
    return [f'{path} includes "{name}", which is not there'
            for path, text in tree.items() if path.endswith((".c", ".h", ".cc"))
            for quote, name in includes(text)
            if quote == '"' and name != PUBLIC_HEADER and (ours(path, name, tree) or "") not in tree]


def library_edges(tree):
    """Every library is behind the file that is its door."""
    offences = []
    for path, text in tree.items():
        if not path.endswith((".c", ".h")) or path.startswith("tests/") or BENCH_INNER.fullmatch(path):
            continue
        for _, name in includes(text):
            for header, doors in LIBRARIES:
                if re.fullmatch(header, name) and not re.fullmatch(doors, path):
                    offences.append(f"{path} includes <{name}>")
                    break
    return offences


def public_header_alone(tree):
    """include/ holds one public header and nothing else."""
    return [path for path in tree if path.startswith("include/") and path != "include/" + PUBLIC_HEADER]


def top_level(tree):
    """The top level is fixed: no src/, util/, common/, third_party/."""
    known = {"CMakeLists.txt", "CMakePresets.json", "README.md", "LICENSE", "include", "runtime", "crypto", "net",
             "actors", "daemon", "bench", "tests"}
    return sorted({path.split("/")[0] for path in tree if not path.startswith(".")} - known)


def header_guards(tree):
    """Every header of ours can be included twice."""
    return [path for path, text in tree.items()
            if path.endswith(".h") and not re.search(r"#ifndef \w+_H\w*\s+#define|#pragma once", text)]


def typedefs(tree):
    """Structs are called struct; nothing hides behind a typedef."""
    return [f"{path}: {line.strip()}"
            for path, text in tree.items()
            if path.endswith((".c", ".h")) and path.split("/")[0] in ROOMS + ("include",)
            for line in text.splitlines() if re.match(r"\s*typedef\s+(struct|union|enum)\b", line)]


def shared_bits(tree):
    """Flags of one enum have a bit each."""
    offences = []
    for path, text in tree.items():
        if not path.endswith((".c", ".h")):
            continue
        for enum in re.findall(r"\benum\b[^{;()]*\{([^}]*)\}", text):
            flags = re.findall(r"\b(\w+)\s*=\s*1u?\s*<<\s*(\d+)\s*(?=[,/}]|$)", enum, re.M)
            seen = {}
            for name, bit in flags:
                if bit in seen and not name.endswith(("_MAX", "_MIN")):
                    offences.append(f"{path}: {name} is {seen[bit]}")
                seen.setdefault(bit, name)
    return offences


def line_width(tree):
    """Lines are at most 120 columns wide."""
    return [f"{path}:{number} has {len(line)} columns"
            for path, text in tree.items() if path.endswith((".c", ".h")) and not path.startswith("tests/")
            for number, line in enumerate(text.splitlines(), 1) if len(line) > 120]


def todos(tree):
    """A TODO has an owner and a reason: TODO(name): why."""
    return [f"{path}:{number}: {line.strip()}"
            for path, text in tree.items() if path.endswith((".c", ".h", ".cc", ".md"))
            for number, line in enumerate(text.splitlines(), 1)
            if re.search(r"\b(TODO|FIXME|XXX)\b(?!\(\w+\): )", line)]


# Paths of one machine, and registries other than the public ones, in lock files above all.
MACHINE = re.compile(r"/(?:home|Users|work|mnt|data)/[\w.+-]+/|/tmp/bash|\bfile:///|"
                     r"\"resolved\": \"https?://(?!registry\.npmjs\.org/)|\blocalhost:\d+/(?:npm|simple|crates)")


def machine_words(tree):
    """The tree speaks of the project alone, not of the machine it was written on."""
    return [f"{path}:{number}: {match.group(0)}"
            for path, text in tree.items() if not path.startswith("tests/house/")
            for number, line in enumerate(text.splitlines(), 1)
            for match in [MACHINE.search(line)] if match]


def long_files(tree, lines_max=800):
    """Files too long to read in one go (a warning: most have 250 to 650 lines)."""
    return [f"{path} has {text.count(chr(10))} lines"
            for path, text in tree.items() if path.endswith((".c", ".h", ".cc")) and text.count("\n") > lines_max]


def exported(nm_output):
    """Names in the output of `nm -g --defined-only` or `nm -D --defined-only` that are not p2p_*."""
    names = [line.split()[-1] for line in nm_output.splitlines() if len(line.split()) >= 3]
    return [name for name in names
            if not re.match(r"p2p_\w+(@@?\w+)?$", name) and not re.match(r"CHORUS_P2P_\d+$", name)]


# What a machine without I/O may not ask the system for.
IMPURE = re.compile(r"(socket|bind|listen|accept4?|connect|send(to|msg)?|recv(from|msg)?|read|write|open(at)?|fopen|"
                    r"poll|epoll_\w+|select|clock_gettime|gettimeofday|time|nanosleep|usleep|sleep|getrandom|"
                    r"getentropy|rand|srand|random|arc4random\w*|randombytes\w*|RAND_\w+|pthread_\w+|getaddrinfo|"
                    r"printf|puts|fprintf|__fprintf_chk|__printf_chk|getenv|exit)")


def impure(nm_output):
    """Names in the output of `nm -u` by which a machine would reach for I/O, time or chance."""
    names = {line.split()[-1] for line in nm_output.splitlines() if line.split()[:1] == ["U"]}
    return sorted(name for name in names if IMPURE.fullmatch(name))


def ndebug(compile_commands):
    """Commands that would switch asserts off."""
    return [entry["file"] for entry in compile_commands if re.search(r"-D\s*NDEBUG\b", entry["command"])]


def unhardened(headers, symbols):
    """What a program lacks by its `readelf -W -h -l -d` and its `nm -D -u`."""
    wanted = {
        "position independent": r"Type:\s+DYN",
        "RELRO": r"GNU_RELRO",
        "bind now": r"\(FLAGS_1\).*NOW|BIND_NOW",
        "a stack that does not execute": r"GNU_STACK\s+\S+\s+\S+\s+\S+\s+\S+\s+\S+\s+RW\s",
    }
    lacks = [name for name, pattern in wanted.items() if not re.search(pattern, headers)]
    if "__stack_chk_fail" not in symbols:
        lacks.append("stack protector")
    if not re.search(r"__\w+_chk\b", symbols.replace("__stack_chk_fail", "")):
        lacks.append("fortified calls")
    return lacks


def declared(preprocessed):
    """Names of the functions that a preprocessed header declares."""
    depth, flat = 0, []
    for char in preprocessed:
        depth -= char in ")}" and not (char == "}" and depth == 0)
        if depth == 0:
            flat.append(char)
        depth += char in "({" and not (char == "{" and 'extern "C"' in "".join(flat[-14:]))
    return set(re.findall(r"\b(p2p_\w+)\s*\(\)", "".join(flat)))
