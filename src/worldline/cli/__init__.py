"""The command line: `worldline demo | train | predict | eval | plan | ingest | collect | data | code | bench | doctor`.

This room parses, calls and prints; what is computed is computed below. Each command is a dataclass of arguments in `cli.arguments` and a
module of its name with `run(arguments) -> Report`, imported only when it is called for.

May import: everything, and tyro. Refuses to know: models, pixels, simulators.

Exit status: 0; 1 if `doctor` finds something broken; 2 for a mistake, which the message says how to mend; 130 if training was interrupted,
after saving. With WORLDLINE_TRACEBACK=1 mistakes show where they come from.
"""

import contextlib
import importlib
import json
import os
import sys
from collections.abc import Sequence
from typing import Any

import tyro

from worldline.cli.arguments import AnyCommand, Bench, Code, Collect, Data, Demo, Doctor, Eval, Plan, Predict, Train
from worldline.cli.ingest_arguments import Ingest
from worldline.cli.report import INTERRUPTED, Report

_COMMANDS: dict[str, type] = {
    "demo": Demo,
    "train": Train,
    "predict": Predict,
    "eval": Eval,
    "plan": Plan,
    "ingest": Ingest,
    "collect": Collect,
    "data": Data,
    "code": Code,
    "bench": Bench,
    "doctor": Doctor,
}
_DESCRIPTION = "Show it a video. Get a world you can step, differentiate and plan in. `worldline COMMAND --help` says more."
_WRONG_USE = 2


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; figures go to stdout, progress and errors to stderr.

    Args:
        argv: the words after `worldline`; those of the process if None.

    Returns:
        The exit status.

    Raises:
        SystemExit: from the parser, after `--help` (0) or words that it does not understand (2).
    """
    name, arguments = _parse(list(sys.argv[1:] if argv is None else argv))
    try:
        with contextlib.redirect_stdout(sys.stderr):
            report: Report = importlib.import_module(f"worldline.cli.{name}").run(arguments)
    except KeyboardInterrupt:
        return _refuse("interrupted", INTERRUPTED)
    except (ValueError, OSError, ImportError) as error:
        if os.environ.get("WORLDLINE_TRACEBACK"):
            raise
        return _refuse(str(error) or type(error).__name__, _WRONG_USE)
    print(json.dumps(report.figures) if arguments.json else report.text)
    return report.exit_status


def _parse(words: list[str]) -> tuple[str, Any]:
    """The command's name and its arguments."""
    if words and words[0] in _COMMANDS:
        name = words[0]
        return name, tyro.cli(_COMMANDS[name], prog=f"worldline {name}", args=words[1:])
    # Only help and errors are left for the parser of all commands.
    tyro.cli(AnyCommand, prog="worldline", description=_DESCRIPTION, args=words or ["--help"])
    raise AssertionError("words that start with no command do not parse")


def _refuse(message: str, exit_status: int) -> int:
    print(f"worldline: {message}", file=sys.stderr)
    return exit_status
