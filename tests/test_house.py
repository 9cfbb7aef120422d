"""The rules of the house: which module may know which, and how modules are named and sized."""

from __future__ import annotations

import ast
import functools
import itertools
import re
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Final

import pytest

import socketproto
import umlctl

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT: Final = Path(umlctl.__file__).parent.parent
PACKAGES: Final = (Path(socketproto.__file__).parent, Path(umlctl.__file__).parent)
MAX_MODULE_LINES: Final = 500
MAX_CLASS_LINES: Final = 300
MAX_FUNCTION_LINES: Final = 60
WHY_LONG: Final = "In one piece: "
"""What the docstring of a longer function says, and then why."""
NAMELESS: Final = {"utils", "util", "helpers", "helper", "common", "manager", "misc", "base"}
HEAVY: Final = {"trio", "trio_asyncio", "prompt_toolkit", "rich", "pyroute2"}
DOING: Final = {
    *("asyncio", "builtins", "ctypes", "datetime", "fcntl", "io", "mmap", "multiprocessing", "os"),
    *("pathlib", "random", "select", "selectors", "shutil", "signal", "socket", "subprocess"),
    *("sys", "tempfile", "threading", "time", "_socket"),
}
"""Modules of the standard library through which a program touches the world or the clock."""
ROW: Final = re.compile(r"\| (`[\w.]+`(?:, `[\w.]+`)*) \| (.*) \|")
ROOMS: Final = tuple(
    tuple(name.strip("`") for name in row[1].split(", "))
    for row in ROW.finditer((ROOT / "docs" / "architecture.md").read_text())
)
"""What stands further down may import what stands above it, and nothing the other way."""
SECONDS: Final = ("_TIMEOUT", "_INTERVAL", "_SECONDS", "_A_SECOND")
NUMERIC: Final = (ast.Constant, ast.BinOp, ast.operator)
FACES: Final = (
    *("umlctl.cli", "umlctl.client", "umlctl.entry", "umlctl.library", "umlctl.output"),
    "umlctl.shell",
)
"""What people see, and what it alone is made of."""


class Module:
    """One source file and what it imports."""

    def __init__(self, path: Path) -> None:
        self.path = path
        parts = path.relative_to(ROOT).with_suffix("").parts
        self.name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)

    @functools.cached_property
    def text(self) -> str:
        return self.path.read_text()

    @functools.cached_property
    def tree(self) -> ast.Module:
        return ast.parse(self.text)

    def imports(self, *, lazy: bool = True, types: bool = False) -> set[str]:
        """Names of the modules imported when this one runs, `a.b` for `from a import b` too.

        lazy: those inside functions as well
        types: and those that are only for the type checker
        """
        return set(self._found(lazy, types))

    @functools.cache  # noqa: B019 - modules live as long as this file
    def _found(self, lazy: bool, types: bool) -> frozenset[str]:
        return frozenset(_imported(self.tree, lazy=lazy, types=types))

    def imports_any(self, names: set[str], *, lazy: bool = True) -> set[str]:
        return {found for found in self.imports(lazy=lazy) if inside(found, names)}


def _imported(tree: ast.AST, *, lazy: bool, types: bool) -> Iterator[str]:
    for node in ast.iter_child_nodes(tree):
        only_types = isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        if only_types and not types:
            continue
        if not lazy and isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "imports are absolute"
            assert node.module is not None
            if node.module.partition(".")[0] not in sys.stdlib_module_names:
                yield from (f"{node.module}.{alias.name}" for alias in node.names)
            yield node.module
        yield from _imported(node, lazy=lazy, types=types)


def inside(name: str, packages: set[str] | tuple[str, ...]) -> bool:
    return any(name == package or name.startswith(package + ".") for package in packages)


MODULES: Final = [Module(path) for package in PACKAGES for path in sorted(package.rglob("*.py"))]
BY_NAME: Final = {module.name: module for module in MODULES}


def room(name: str) -> int:
    """Which of ROOMS a module stands in."""
    found = [
        (len(member), index)
        for index, members in enumerate(ROOMS)
        for member in members
        if name == member or (name.startswith(member + ".") and member != "umlctl")
    ]
    assert found, f"{name} has no room: give it one in docs/architecture.md"
    return max(found)[1]


def in_package(name: str) -> list[Module]:
    return [module for module in MODULES if inside(module.name, (name,))]


# Who may know whom


def test_module_imports_only_rooms_above_it() -> None:
    rooms = {module.name: room(module.name) for module in MODULES}
    downwards = {
        (module.name, found)
        for module in MODULES
        for found in module.imports(types=True) & BY_NAME.keys()
        if rooms[found] > rooms[module.name]
    }
    assert not downwards


def test_every_room_is_there() -> None:
    rooms = [name for members in ROOMS for name in members]
    assert {"socketproto", "umlctl.host", "umlctl.client", "umlctl.cli"} < set(rooms)
    assert [name for name in rooms if name not in BY_NAME] == []


def test_there_is_no_circle() -> None:
    """Of imports that are made as a module is loaded."""
    imported = {module.name: module.imports(lazy=False) & BY_NAME.keys() for module in MODULES}
    assert circles(imported) == []


def circles(imported: dict[str, set[str]]) -> list[list[str]]:
    """Modules that reach each other by their imports."""
    reached: dict[str, set[str]] = {}
    for name in imported:
        todo = [name]
        found: set[str] = set()
        while todo:
            new = imported[todo.pop()] - found
            found |= new
            todo += new
        reached[name] = found
    rings = {
        tuple(sorted(other for other in found if name in reached[other]))
        for name, found in reached.items()
        if name in found
    }
    return [list(ring) for ring in sorted(rings)]


def test_room_has_no_circle() -> None:
    """Imports inside functions and those for types count. Between rooms there can be none: of two
    rooms one is above."""
    rooms: dict[int, set[str]] = {}
    for module in MODULES:
        rooms.setdefault(room(module.name), set()).add(module.name)
    imported = {
        name: BY_NAME[name].imports(types=True) & here - {name}
        for here in rooms.values()
        for name in here
    }
    assert circles(imported) == []


def test_socketproto_knows_nothing_of_umlctl() -> None:
    knowing = {each.name for each in in_package("socketproto") if each.imports_any({"umlctl"})}
    assert not knowing


@pytest.mark.parametrize("name", ["socketproto.wire", "socketproto.exchange"])
def test_protocol_is_pure(name: str) -> None:
    assert not BY_NAME[name].imports_any(DOING | HEAVY)
    assert not calls(BY_NAME[name], {"open", "print", "input"})


def test_descriptions_are_pure() -> None:
    """`os.path` may join names; it may not look at files."""
    looking = {"exists", "isfile", "isdir", "stat", "getsize", "realpath", "lexists", "islink"}
    described = [
        *(in_package("umlctl.protocol") + in_package("umlctl.devices")),
        *in_package("umlctl.guest"),
        *(BY_NAME["umlctl.protocol.guard"], BY_NAME["umlctl.supervisor.lifecycle"]),
    ]
    touching = {
        module.name: found
        for module in described
        if (found := module.imports_any(DOING | HEAVY) - {"os.path"})
        or (found := calls(module, {"open", "print", "input"} | looking))
    }
    assert not touching


def test_faces_speak_mconsole_like_everybody_else() -> None:
    """`umlctl run` and `umlctl exec` alone see to a guest themselves."""
    knowing = {
        module.name
        for module in MODULES
        if inside(module.name, FACES) and module.imports_any({"umlctl.supervisor"})
    }
    assert knowing == {"umlctl.cli.foreground", "umlctl.cli.exec_guest"}


def test_faces_leave_the_dead_to_supervisors() -> None:
    """Who looks at a guest neither writes nor cleans up: `kill` does where nobody else can, and
    `exec` has a guest of its own."""
    acts = {
        *(
            "cleanup.clean_up",
            "cleanup.clean_up_last_life",
            "cleanup.record_end",
            "umid_lock.claim",
            "umid_lock.claim_running",
        ),
        *("event_log.append", "discover.set_aside", "discover.set_dead_aside", "records.save"),
        *("records.save_copy", "records.set_aside", "registry.release_all"),
    }
    acting: dict[str, set[str]] = {}
    for module in MODULES:
        if inside(module.name, FACES):
            calls = (each for each in ast.walk(module.tree) if isinstance(each, ast.Call))
            found = {ast.unparse(each.func) for each in calls} & acts
            acting |= {module.name: found} if found else {}
    assert acting == {
        "umlctl.client.afterlife": {"cleanup.record_end", "umid_lock.claim", "discover.set_aside"},
        "umlctl.cli.exec_guest": {"cleanup.clean_up", "registry.release_all"},
    }


def test_where_a_guest_is_asked_is_known_in_one_place() -> None:
    using = {module.name for module in MODULES if re.search(r"\bfind_socket\b", module.text)}
    assert using == {"umlctl.host.paths", "umlctl.client.target"}


def test_heavy_imports_are_behind_the_commands_that_need_them() -> None:
    at_the_top = {
        module.name: heavy for module in MODULES if (heavy := module.imports_any(HEAVY, lazy=False))
    }
    allowed = (
        *("socketproto.client", "socketproto.listener"),
        *("umlctl.client.asynchronous", "umlctl.supervisor", "umlctl.shell", "umlctl.trio"),
    )
    assert not {name for name in at_the_top if not inside(name, allowed)}


def test_click_stays_at_the_command_line() -> None:
    using = {module.name for module in MODULES if module.imports_any({"click"})}
    assert not {name for name in using if not inside(name, ("umlctl.cli",))}


def calls(module: Module, names: set[str]) -> set[str]:
    """Which of these functions are called, by their last name."""
    found = set()
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Call):
            found.add(ast.unparse(node.func).rpartition(".")[2])
    return found & names


# How they look


def too_long(module: Module) -> set[str]:
    """What of a module has too many lines: itself, and its classes and functions by their names."""
    found = {module.name} if module.text.count("\n") > MAX_MODULE_LINES else set()
    for node in ast.walk(module.tree):
        if isinstance(node, ast.ClassDef):
            most = MAX_CLASS_LINES
        elif isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            most = MAX_FUNCTION_LINES
            if WHY_LONG in (ast.get_docstring(node) or ""):
                continue
        else:
            continue
        assert node.end_lineno is not None
        if node.end_lineno - node.lineno >= most:
            found.add(f"{module.name}.{node.name}")
    return found


def test_module_is_of_a_size_to_be_read() -> None:
    to_be_split = set().union(*map(too_long, MODULES))
    assert not to_be_split


def file_of_tests(module: Module) -> Path | None:
    """Where the tests of a module stand; None: there is nothing in it to be tested."""
    if not any(
        isinstance(node, (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef))
        for node in module.tree.body
    ):
        return None
    package = module.path.parent
    name = {"__init__": package.name, "__main__": "main"}.get(module.path.stem, module.path.stem)
    return ROOT / "tests" / package.relative_to(ROOT) / f"test_{name}.py"


def test_module_has_a_test_of_its_name() -> None:
    missing = {str(path) for path in map(file_of_tests, MODULES) if path and not path.exists()}
    assert not missing


def test_module_is_named_for_what_it_holds() -> None:
    nameless = {each.name for each in MODULES if set(each.name.split(".")) & NAMELESS}
    assert not nameless


def constants(module: Module) -> Iterator[tuple[str, ast.expr, str]]:
    """The name, the value and the docstring of each constant of a module."""
    for node, after in itertools.pairwise([*module.tree.body, ast.Pass()]):
        if isinstance(node, ast.AnnAssign) and ast.unparse(node.annotation) == "Final":
            assert node.value is not None
            said = after.value if isinstance(after, ast.Expr) else None
            text = said.value if isinstance(said, ast.Constant) else ""
            yield ast.unparse(node.target), node.value, " ".join(str(text).split())


def lacks_unit(name: str, value: ast.expr, said: str) -> str:
    """The unit that a constant should be named for; empty if it is, or has none."""
    numbers = [each.value for each in ast.walk(value) if isinstance(each, ast.Constant)]
    other = [each for each in ast.walk(value) if not isinstance(each, NUMERIC)]
    if other or not numbers:
        return ""
    if any(isinstance(number, float) for number in numbers) or ", seconds" in said:
        return "" if name.endswith(SECONDS) else "seconds"
    return "bytes" if ", bytes" in said and not name.endswith("_BYTES") else ""


def test_constant_is_named_for_its_unit() -> None:
    unnamed = {
        f"{module.name}.{constant[0]}": unit
        for module in MODULES
        for constant in constants(module)
        if (unit := lacks_unit(*constant))
    }
    assert not unnamed


def test_module_says_why_it_exists() -> None:
    silent = {module.name for module in MODULES if not ast.get_docstring(module.tree)}
    assert not silent


def test_changelog_says_each_thing_once() -> None:
    lines = (ROOT / "CHANGELOG.md").read_text().splitlines()
    begun = Counter(line for line in lines if line.startswith("- "))
    assert [line for line, times in begun.items() if times > 1] == []
