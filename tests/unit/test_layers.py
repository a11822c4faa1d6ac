"""Imports point down the layers drawn in HACKING.md, and the pure half of layer 1 stays pure."""

import ast
import glob
import os
import re

import pytest

SOURCE = os.path.join(os.path.dirname(__file__), "..", "..", "pyrunc")

# Layer 1 has two rows that never meet: what decides, and what touches the host.
PURE = "plan plan_create plan_exec plan_mounts scheduling listing namespaces rootfs mounts".split()
PURE += "process failures record exposition mounts_cgroup completion".split()
HOST = "spec normal host cgroups hooks rdt criu processes netdevices userns".split()
HOST += ["attributes", "seccomp", "seccomp_filter", "seccomp_bpf"]
HOST += ["relay", "handover", "terminal", "descriptors", "notify", "mountpoints", "users"]
# What pure code may take from `os`, besides constants.
LEXICAL = "path fspath fsencode fsdecode strerror makedev major minor".split()
RANKS = {
    "api": 4,
    **dict.fromkeys("cli help __main__".split(), 4),
    "commands.": 3,
    **dict.fromkeys("launch enter matching mounting".split(), 2.5),
    **dict.fromkeys(
        "freezer update events ending usage checkpoint restore".split(), 2.5
    ),  # verbs' stories about a container
    **dict.fromkeys("child guest".split(), 2.4),  # the API's
    "agent": 2.4,
    "replay": 2.4,
    "passed": 2.4,
    "console": 2.4,  # the foreground of run and exec: relays for a process that init became
    "container": 2,
    "idmaps": 1.7,
    "visit": 1.6,
    "explain": 1.4,  # of a plan that failed, by the host
    "handshake": 1.5,  # carries a plan to init, and init's report back to the plan
    **dict.fromkeys(PURE + HOST, 1),
    # `commands` itself is data: the table of verbs that parser, help and verbs read.
    **dict.fromkeys(
        "beneath blame errors files jsonio jsonfault procfs signals log daemons duration commands "
        "criu_messages documents".split(),
        0,
    ),
    **dict.fromkeys("_core _seccomp _systemd _schema __init__".split(), 0),
}


def modules():
    """Dotted name below pyrunc -> path."""
    found = {}
    for path in glob.glob(f"{SOURCE}/**/*.py", recursive=True):
        name = os.path.relpath(path, SOURCE)[:-3].replace("/", ".")
        name = name.removesuffix(".__init__") if "." in name else name
        if name != "_schema":
            found[name] = path
    return found


def tree(path):
    with open(path) as file:
        return ast.parse(file.read())


def imports(path, nested=True):
    """Dotted names below pyrunc that a module imports; nested: inside functions too."""
    names = set()
    known = set(modules()) | {"_core", "_seccomp", "_systemd", "_schema"}
    body = tree(path)
    # What only a type checker reads is no import.
    unread = {
        id(node)
        for block in ast.walk(body)
        if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING"
        for node in ast.walk(block)
    }
    for node in ast.walk(body) if nested else body.body:
        if id(node) in unread:
            continue
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                is_module = whole.removeprefix("pyrunc.") in known
                names.add(whole if is_module else str(node.module))
    return {name.removeprefix("pyrunc.") for name in names if name.startswith("pyrunc.")}


def rank(name):
    if name.startswith("commands."):
        return RANKS["commands."]
    return RANKS[name.partition(".")[0]]


def row(name):
    top = name.partition(".")[0]
    return "pure" if top in PURE else "host" if top in HOST else None


@pytest.mark.parametrize("name", modules())
def test_imports_point_down(name):
    for target in imports(modules()[name]):
        assert rank(target) <= rank(name), f"{name} imports {target}, which is above it"
        both = {row(name), row(target)}
        assert both != {"pure", "host"}, f"{name} imports {target}: the rows of layer 1 are apart"
        if name.startswith("commands."):
            assert not target.startswith("commands."), f"{name} imports the command {target}"


def test_the_drawing_has_all_modules():
    with open(f"{SOURCE}/../HACKING.md") as file:
        drawing = file.read().partition("## Layers")[2].partition("\n## ")[0]
    drawn = set(re.sub(r"[*/,]", " ", drawing).split())
    missing = {name for name in RANKS if not name.startswith("_")} - drawn - {"commands."}
    assert not missing


def test_no_cycles():
    graph = {name: imports(path, False) & set(modules()) for name, path in modules().items()}

    def visit(name, trail):
        assert name not in trail, " -> ".join([*trail, name])
        for target in graph[name]:
            if target != name:
                visit(target, [*trail, name])

    for name in graph:
        visit(name, [])


@pytest.mark.parametrize("name", [name for name in modules() if row(name) == "pure"])
def test_the_pure_row_touches_nothing(name):
    for node in ast.walk(tree(modules()[name])):
        if isinstance(node, ast.Import):
            for alias in node.names:
                assert alias.name not in ("fcntl", "subprocess", "socket", "time"), alias.name
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name):
            assert node.func.id != "open", f"{name}:{node.lineno} opens a file"
        if isinstance(node, ast.Attribute) and ast.unparse(node.value) == "os":
            allowed = node.attr in LEXICAL or node.attr.isupper()
            assert allowed, f"{name}:{node.lineno} uses os.{node.attr}"


def test_modules_are_small():
    for name, path in modules().items():
        with open(path) as file:
            length = len(file.readlines())
        assert length <= 400, f"{name} has {length} lines: split it by noun"
    for path in glob.glob(f"{SOURCE}/../csrc/*.[ch]"):
        with open(path) as file:
            length = len(file.readlines())
        assert length <= 600, f"{path} has {length} lines: split it by noun"
