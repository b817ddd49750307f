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
    "two_room": Domain(path="worldline.envs.two_room:TwoRoom", extra="sim-2d"),
    "balls": Domain(path="worldline.envs.balls:Balls", extra="sim-2d"),
    "occluder": Domain(path="worldline.envs.occluder:Occluder", extra="sim-2d"),
    "sand": Domain(path="worldline.envs.sand:Sand", extra="sim-2d"),
    "reacher": Domain(path="worldline.envs.dm_suite:Reacher", extra="sim-mujoco"),
    "ball_in_cup": Domain(path="worldline.envs.dm_suite:BallInCup", extra="sim-mujoco"),
    "cube": Domain(path="worldline.envs.cube:Cube", extra="sim-mujoco"),
    "fetch_push": Domain(path="worldline.envs.fetch:FetchPush", extra="sim-mujoco"),
    "pong": Domain(path="worldline.envs.pong:Pong", extra="sim-games"),
    "crafter": Domain(path="worldline.envs.crafter:Crafter", extra="sim-games"),
    "towers": Domain(path="worldline.envs.blocks:Towers", extra="sim-mujoco"),
    "dominoes": Domain(path="worldline.envs.blocks:Dominoes", extra="sim-mujoco"),
    "jenga": Domain(path="worldline.envs.blocks:Jenga", extra="sim-mujoco"),
    "cloth": Domain(path="worldline.envs.cloth:Cloth", extra="sim-mujoco"),
    "soft": Domain(path="worldline.envs.soft:Soft", extra="sim-mujoco"),
    "pouring": Domain(path="worldline.envs.pouring:Pouring", extra="sim-mujoco"),
    "magnifier": Domain(path="worldline.envs.light:Magnifier", extra="sim-light"),
    "mirror": Domain(path="worldline.envs.light:Mirror", extra="sim-light"),
    "liquid_jelly_snow": Domain(path="worldline.envs.fluids.materials:LiquidJellySnow", extra="sim-fluid"),
    "ink": Domain(path="worldline.envs.fluids.ink:Ink", extra="sim-fluid"),
    "smoke": Domain(path="worldline.envs.fluids.smoke:Smoke", extra="sim-fluid"),
    "counterflow": Domain(path="worldline.envs.crowds.crowd:Counterflow", extra="sim-crowd"),
    "bottleneck": Domain(path="worldline.envs.crowds.crowd:Bottleneck", extra="sim-crowd"),
    "painting": Domain(path="worldline.envs.painting.wall:PaintedRoom", extra="sim-paint"),
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
