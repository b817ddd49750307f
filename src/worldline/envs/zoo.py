"""The zoo: every simulated domain by name, imported only when it is asked for.

A domain is a `Simulator` in a file of its own, behind an optional extra; a missing one is named by the error. To add a domain, add a line.

May import: interfaces, envs.simulator. Refuses to know: what a domain shows.
"""

import importlib
from dataclasses import dataclass

from worldline.envs.simulator import Simulator


@dataclass(frozen=True, kw_only=True, slots=True)
class Domain:
    """Where a domain is found: `module:class`, and the extra that installs its simulator."""

    path: str
    extra: str


DOMAINS: dict[str, Domain] = {
    "push": Domain(path="worldline.envs.push:Push", extra="pusht"),
}


def load_domain(name: str) -> type[Simulator]:
    """The class of a domain. Many import their simulator only when they are started; `start_domain` finds out.

    Raises:
        ValueError: if there is no such domain.
        ImportError: if its simulator is not installed; says what to install.
    """
    if name not in DOMAINS:
        raise ValueError(f"domain {name!r} is unknown; choose one of {', '.join(DOMAINS)}")
    module, _, class_name = DOMAINS[name].path.partition(":")
    try:
        return getattr(importlib.import_module(module), class_name)
    except ImportError as error:
        raise _named(error, name) from error


def start_domain(name: str) -> Simulator:
    """A domain's simulator, ready for `reset`. Raises what `load_domain` does."""
    domain = load_domain(name)
    try:
        return domain()
    except ImportError as error:
        raise _named(error, name) from error


def _named(error: ImportError, name: str) -> ImportError:
    """The error, which says what to install."""
    if "worldline[" in str(error):
        return error
    return ImportError(f'{name} needs a simulator ({error}); install it with: pip install "worldline[{DOMAINS[name].extra}]"')
