"""The solvers that taichi ships as example scripts, as modules: their fields and kernels, without their window and main loop.

`taichi.examples` are scripts: importing one picks a GPU, opens a window and runs. `load_example` executes the installed script's own
definitions, with some of its constants replaced (a coarser grid, a stiffer material), and leaves out `ti.init` and all that follows
the first statement of its main loop. Nothing is copied: the kernels are read, line for line, from the installed file.

May import: taichi (on demand). Refuses to know: what the solvers are used for.
"""

import ast
import io
import os
import sys
from collections.abc import Mapping
from contextlib import redirect_stdout
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

EXTRA = "sim-fluid"


def start_taichi() -> Any:
    """The `taichi` module, initialised once per process for one CPU thread, so that sums have one order and runs are exact."""
    os.environ.setdefault("ENABLE_TAICHI_HEADER_PRINT", "0")
    try:
        import taichi  # noqa: PLC0415
    except ImportError as error:
        raise ImportError(f'this domain runs on taichi, which is not installed: pip install "worldline[{EXTRA}]"') from error
    if taichi.lang.impl.get_runtime().prog is None:
        taichi.set_logging_level(taichi.ERROR)
        with redirect_stdout(io.StringIO()):  # it greets on standard output, which may be a pipe to somebody's parser
            taichi.init(arch=taichi.cpu, cpu_max_num_threads=1, offline_cache=True, verbose=False)
    return taichi


def load_example(name: str, constants: Mapping[str, float | int], *, main_loop: str) -> ModuleType:
    """A fresh copy of a shipped example, with fields of its own.

    Args:
        name: below `taichi.examples`, e.g. `simulation.mpm128`.
        constants: top-level names of the script that get another value (tuples of names are matched one by one).
        main_loop: source of the first top-level statement that is not executed (its beginning is enough).

    Raises:
        ImportError: if taichi is missing, or ships no such example, or an example that no longer looks as expected.
    """
    start_taichi()
    spec = find_spec(f"taichi.examples.{name}")
    if spec is None or spec.origin is None:
        raise ImportError(f'this taichi ships no example {name}: pip install "worldline[{EXTRA}]" for a version that does')
    source = Path(spec.origin).read_text()
    tree = ast.parse(source)
    body, missing = [], set(constants)
    for statement in tree.body:
        text = ast.get_source_segment(source, statement) or ""
        if text.startswith(main_loop):
            break
        body.append(_WithoutInitialisation().visit(statement))
        names = _assigned_names(statement) & set(constants)
        missing -= names
        for constant in sorted(names):
            replaced = ast.parse(f"{constant} = {constants[constant]!r}").body[0]
            body.append(ast.copy_location(replaced, statement))
    else:
        raise ImportError(f"taichi's example {name} has no statement {main_loop!r}: install the pinned taichi of worldline[{EXTRA}]")
    if missing:
        raise ImportError(f"taichi's example {name} does not set {sorted(missing)}: install the pinned taichi of worldline[{EXTRA}]")
    tree.body = body
    ast.fix_missing_locations(tree)
    module = ModuleType(f"worldline_taichi_{name.replace('.', '_')}")
    module.__file__ = spec.origin
    # Compiled under the script's own name, because taichi reads the source of a kernel from its file.
    sys_argv, sys.argv = sys.argv, sys.argv[:1]
    try:
        with redirect_stdout(io.StringIO()):
            exec(compile(tree, spec.origin, "exec"), module.__dict__)
    finally:
        sys.argv = sys_argv
    return module


class _WithoutInitialisation(ast.NodeTransformer):
    """Takes `ti.init(...)` out, which would destroy the fields of every example loaded before."""

    def visit_Expr(self, node: ast.Expr) -> ast.stmt:
        """A statement that is nothing but a call."""
        return ast.Pass() if ast.unparse(node).startswith("ti.init(") else node


def _assigned_names(statement: ast.stmt) -> set[str]:
    if not isinstance(statement, ast.Assign):
        return set()
    return {node.id for target in statement.targets for node in ast.walk(target) if isinstance(node, ast.Name)}
