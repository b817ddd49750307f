"""The house rules of CONTRIBUTING.md, checked on the source; and the checks themselves, on sources that break them."""

import ast
import re
from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGE = ROOT / "src" / "worldline"

LAYERS = (
    {"__main__"},
    {"cli"},
    {"__init__"},
    {"recipes", "studio"},
    {"agent", "eval"},
    {"world", "testing"},
    {"data", "tokenizer", "dynamics", "text", "reward", "event", "control", "envs"},
    {"train"},
    {"nn", "scale"},
    {"interfaces"},
)
HEIGHT = {room: len(LAYERS) - index for index, layer in enumerate(LAYERS) for room in layer}

FORBIDDEN_NAMES = {"utils", "util", "common", "helpers", "helper", "misc", "base", "core"}
MAX_FILE_LINES = 400
MAX_FUNCTION_LINES = 80

# Who may name uint8: `data` converts; `interfaces` checks that a clip's frames are bytes; `envs` declares gymnasium's pixel space.
ROOMS_WITH_BYTES = {"data", "interfaces", "envs"}


def room_of(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported_modules(tree: ast.AST) -> Iterable[str]:
    """Every module that is imported anywhere in a file, in functions and under TYPE_CHECKING too; relative ones start with a dot."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = "." * node.level + (node.module or "")
            yield from (f"{module}.{alias.name}" for alias in node.names)


def wrong_imports(source: str, room: str) -> list[str]:
    problems = []
    for module in imported_modules(ast.parse(source)):
        parts = module.split(".")
        if not parts[0]:
            problems.append(f"imports {module} relatively; write worldline.{room}...")
        elif parts[0] == "tyro" and room != "cli":
            problems.append("imports tyro; only cli.py does")
        elif parts[0] == "worldline":
            # A name that is no room (`from worldline import World`) comes from the package's front door, which is at the top.
            target = parts[1] if len(parts) > 1 and parts[1] in HEIGHT else "__init__"
            if target != room and HEIGHT[target] >= HEIGHT[room]:
                problems.append(f"{room} imports {module}, which is not below it")
    return problems


def wrong_names(path: Path) -> list[str]:
    return [f"{part} is a name that says nothing" for part in path.parts if part.removesuffix(".py") in FORBIDDEN_NAMES]


def wrong_lengths(source: str) -> list[str]:
    num_lines = len(source.splitlines())
    problems = [f"has {num_lines} lines, more than {MAX_FILE_LINES}"] if num_lines > MAX_FILE_LINES else []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or 0) - node.lineno + 1
            if length > MAX_FUNCTION_LINES:
                problems.append(f"{node.name} has {length} lines, more than {MAX_FUNCTION_LINES}")
    return problems


def wrong_bytes(source: str, room: str) -> list[str]:
    if room in ROOMS_WITH_BYTES:
        return []
    problems = []
    for node in ast.walk(ast.parse(source)):
        named = (isinstance(node, ast.Attribute) and node.attr == "uint8") or (isinstance(node, ast.Constant) and node.value == "uint8")
        imported = isinstance(node, ast.ImportFrom) and any(alias.name == "uint8" for alias in node.names)
        byte = isinstance(node, ast.Attribute) and node.attr == "byte"
        if named or imported or byte:
            problems.append(f"line {node.lineno} makes bytes; ask worldline.data")
    return problems


def wrong_docstrings(source: str, *, is_room: bool) -> list[str]:
    docstring = ast.get_docstring(ast.parse(source))
    if not docstring:
        return ["has no docstring"]
    if is_room and not re.search(r"\brefuses? to know\b", docstring, re.IGNORECASE):
        return ["is a room whose docstring does not say what it refuses to know"]
    return []


def is_room(path: Path) -> bool:
    """Whether a file is the front of a room: `name.py` right under the package, or its folder's `__init__.py`."""
    relative = path.relative_to(PACKAGE)
    return relative.name not in {"__init__.py", "__main__.py"} if len(relative.parts) == 1 else relative.parts[1:] == ("__init__.py",)


def python_files(*folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def assert_no_problems(paths: Iterable[Path], check: Callable[[Path], list[str]]) -> None:
    paths = list(paths)
    assert paths
    problems = [f"{path.relative_to(ROOT)}: {problem}" for path in paths for problem in check(path)]
    assert not problems, "\n" + "\n".join(problems)


def test_every_room_has_a_floor() -> None:
    assert_no_problems(python_files("src"), lambda path: [] if room_of(path) in HEIGHT else [f"room {room_of(path)} is in no layer"])


def test_imports_point_down() -> None:
    assert_no_problems(python_files("src"), lambda path: wrong_imports(path.read_text(), room_of(path)))


def test_names_say_something() -> None:
    assert_no_problems(
        python_files("src", "tests", "experiments", "examples"),
        lambda path: wrong_names(path.relative_to(ROOT)),
    )


def test_files_and_functions_are_small() -> None:
    assert_no_problems(python_files("src", "tests", "experiments", "examples"), lambda path: wrong_lengths(path.read_text()))


def test_only_data_touches_bytes() -> None:
    assert_no_problems(python_files("src"), lambda path: wrong_bytes(path.read_text(), room_of(path)))


def test_docstrings_say_what_and_what_not() -> None:
    assert_no_problems(python_files("src"), lambda path: wrong_docstrings(path.read_text(), is_room=is_room(path)))


def test_tests_mirror_the_source() -> None:
    rooms = {room_of(path) for path in python_files("src")} - {"__init__", "__main__"}
    tests = Path(__file__).parent
    tested = {room for room in rooms if list(tests.glob(f"{room}/**/test_*.py")) or (tests / f"test_{room}.py").exists()}
    assert rooms - tested == set(), "rooms without tests"
    folders = {path.relative_to(tests).parts[0] for path in tests.rglob("test_*.py") if path.parent != tests}
    assert folders - rooms == set(), "tests of rooms that are not there"


@pytest.mark.parametrize(
    ("room", "source"),
    [
        ("nn", "from worldline.dynamics import network"),
        ("control", "import worldline.reward.goal"),
        ("control", "from worldline import reward"),
        ("train", "def late():\n    from worldline.data import loader"),
        ("train", "from worldline import World"),
        ("eval", "import worldline"),
        ("reward", "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from worldline.world import World"),
        ("control", "from .cem import CrossEntropy"),
        ("control", "from . import cem"),
        ("recipes", "import tyro"),
        ("recipes", "from tyro.conf import arg"),
        ("interfaces", "from worldline.nn import attention"),
    ],
)
def test_an_import_that_does_not_point_down_is_seen(room: str, source: str) -> None:
    assert len(wrong_imports(source, room)) == 1


@pytest.mark.parametrize(
    ("room", "source"),
    [
        ("control", "import torch\nfrom worldline.interfaces import World\nfrom worldline.control.cem import CrossEntropy"),
        ("world", "from worldline import dynamics, tokenizer"),
        ("cli", "import tyro\nimport worldline"),
        ("scale", "import worldlines"),
    ],
)
def test_an_import_that_points_down_passes(room: str, source: str) -> None:
    assert wrong_imports(source, room) == []


def test_a_name_that_says_nothing_is_seen() -> None:
    assert wrong_names(Path("src/worldline/nn/utils.py"))
    assert wrong_names(Path("src/worldline/common/attention.py"))
    assert not wrong_names(Path("src/worldline/nn/attention.py"))


def test_a_long_file_and_a_long_function_are_seen() -> None:
    assert wrong_lengths("x = 1\n" * 401) == ["has 401 lines, more than 400"]
    assert wrong_lengths("class A:\n    def f(self):\n" + "        x = 1\n" * 80) == ["f has 81 lines, more than 80"]
    assert wrong_lengths("async def g():\n" + "    x = 1\n" * 79) == []


def test_bytes_outside_data_are_seen() -> None:
    for source in ("frames.to(torch.uint8)", "np.zeros(3, dtype='uint8')", "from torch import uint8", "frames.byte()"):
        assert wrong_bytes(source, "world"), source
        assert not wrong_bytes(source, "data"), source
    assert not wrong_bytes('"""Takes (T, H, W, 3) uint8."""\nx = video.float()', "world")


def test_a_missing_docstring_is_seen() -> None:
    assert wrong_docstrings("x = 1", is_room=False)
    assert wrong_docstrings('"""Does much."""', is_room=True)
    assert not wrong_docstrings('"""Does much. Refuses to know: the rest."""', is_room=True)
    assert not wrong_docstrings('"""Does much."""', is_room=False)
    assert is_room(PACKAGE / "world.py")
    assert is_room(PACKAGE / "nn" / "__init__.py")
    assert not is_room(PACKAGE / "nn" / "attention.py")
    assert not is_room(PACKAGE / "__init__.py")
