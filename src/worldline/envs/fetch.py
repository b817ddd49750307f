"""Fetch push: a robot arm with its fingers closed pushes a block to a spot on a table (gymnasium-robotics, MIT; physics by MuJoCo).

May import: interfaces, envs.simulator, envs.colors, envs.phrases, envs.mujoco_engine, envs.mujoco_camera, numpy, gymnasium-robotics and
mujoco (extra `sim-mujoco`). Refuses to know: clips, files.
"""

import enum
import types
import warnings
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, cast

import numpy as np

from worldline.envs.colors import share_of_full
from worldline.envs.mujoco_camera import MujocoCamera, free_view
from worldline.envs.mujoco_engine import check_physics, full_state, load_mujoco, restore_state
from worldline.envs.phrases import article, sentence
from worldline.envs.simulator import Act, Attribute, Simulator, Value
from worldline.interfaces import ActionSpec

_STEPS_PER_FRAME = 2  # of the environment, 0.04 s each
GOAL_DISTANCE_M = 0.05
_TABLE_M = 0.425  # height of a block's centre on the table


def _make_env() -> Any:
    mujoco = load_mujoco()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about versions of other environments
        from gymnasium_robotics.envs.fetch.push import MujocoFetchPushEnv  # noqa: PLC0415
        from gymnasium_robotics.utils import mujoco_utils  # noqa: PLC0415

        # It asks if a joint's type, a NumPy integer, is `in` a tuple of enumerators; since MuJoCo 3.17 those only compare the other way.
        if not np.int32(3) in (mujoco.mjtJoint.mjJNT_HINGE,):  # noqa: E713
            kinds = enum.IntEnum("kinds", {name: int(kind) for name, kind in mujoco.mjtJoint.__members__.items()})
            vars(mujoco_utils)["mujoco"] = types.SimpleNamespace(**{**vars(mujoco), "mjtJoint": kinds})
        return MujocoFetchPushEnv(reward_type="sparse")


class FetchPush(Simulator):
    """See `Simulator`. Metres; the action moves the closed hand, as shares of the largest step."""

    name = "fetch_push"
    extra = "sim-mujoco"
    rate_hz = 12.5
    action_spec = ActionSpec(low=(-1.0,) * 3, high=(1.0,) * 3, names=("x", "y", "z"))
    state_names = (
        *("hand_x", "hand_y", "hand_z", "block_x", "block_y", "block_z"),
        *("block_velocity_x", "block_velocity_y", "block_velocity_z", "goal_x", "goal_y", "goal_z"),
    )
    event_names = ("contact", "goal_reached", "fallen")
    policy_names = ("push", "wander", "random")
    restores = "exactly"
    attributes: ClassVar[tuple[Attribute, ...]] = (
        Attribute(name="block_color", kind="appearance", usual=("black", "blue", "green", "purple"), unusual=("magenta", "cyan")),
        Attribute(name="goal_color", kind="appearance", usual=("red", "orange"), unusual=("lime", "white")),
        Attribute(name="camera_azimuth_degrees", kind="appearance", usual=(115.0, 150.0), unusual=(165.0, 195.0)),
        Attribute(name="camera_elevation_degrees", kind="appearance", usual=(-35.0, -22.0), unusual=(-60.0, -50.0)),
        Attribute(name="friction_scale", kind="physics", usual=(0.7, 1.3), unusual=(0.05, 0.2)),
        Attribute(name="mass_scale", kind="physics", usual=(0.7, 1.5), unusual=(3.0, 6.0)),
    )

    def __init__(self) -> None:
        self._mujoco = load_mujoco()
        self._env = _make_env()
        model = self._env.model
        self._camera = MujocoCamera(model, None)
        self._block_geoms = np.flatnonzero(model.geom_bodyid == model.body("object0").id)
        model.geom_rgba[model.geom_bodyid == model.body("robot0:mocap").id, 3] = 0  # green lines through all of the picture
        self._robot_bodies = [index for index in range(model.nbody) if model.body(index).name.startswith("robot0:")]
        self._usual = {name: getattr(model, name).copy() for name in ("body_mass", "body_inertia", "geom_friction")}
        self._observation: dict[str, np.ndarray] = {}
        self._attributes: dict[str, Value] = {}
        self._events: dict[str, bool] = {}
        self._happened: set[str] = set()

    def reset(self, seed: int, attributes: Mapping[str, Value]) -> None:
        """See `Simulator.reset`."""
        model = self._env.model
        self._attributes = dict(attributes)
        for name, value in self._usual.items():
            getattr(model, name)[:] = value
        body = model.body("object0").id
        model.body_mass[body] *= float(attributes["mass_scale"])
        model.body_inertia[body] *= float(attributes["mass_scale"])
        table = np.flatnonzero(model.geom_bodyid == model.body("table0").id)
        # MuJoCo takes the larger friction of a pair, so both sides change.
        model.geom_friction[np.concatenate([self._block_geoms, table]), 0] *= float(attributes["friction_scale"])
        welds = model.eq_data.copy()
        self._mujoco.mj_setConst(model, self._mujoco.MjData(model))  # what else follows from a mass
        model.eq_data[:] = welds  # but it would anchor the weld that moves the hand elsewhere
        self._observation, _ = self._env.reset(seed=seed)
        azimuth, elevation = (float(attributes[f"camera_{angle}_degrees"]) for angle in ("azimuth", "elevation"))
        self._camera.view = free_view((1.3, 0.75, 0.5), distance=1.2, azimuth=azimuth, elevation=elevation)
        for geom in self._block_geoms:
            self._paint(geom, attributes["block_color"])
        site = model.site("target0").id
        model.site_rgba[site, :3] = share_of_full(attributes["goal_color"])
        model.site_pos[site] = self._observation["desired_goal"] - model.body("floor0").pos
        self._mujoco.mj_forward(model, self._env.data)
        self._events = dict.fromkeys(self.event_names, False)
        self._happened = set()

    def step(self, action: np.ndarray | None) -> None:
        """See `Simulator.step`."""
        touched = False
        for _ in range(_STEPS_PER_FRAME):
            self._observation, *_ = self._env.step(np.append(np.asarray(action, np.float64), 0.0))
            touched = touched or self._touches_hand()
        check_physics(self._env.data, self.name, self._attributes)
        block, goal = self._observation["achieved_goal"], self._observation["desired_goal"]
        self._events = {
            "contact": touched,
            "goal_reached": bool(np.linalg.norm(block - goal) < GOAL_DISTANCE_M),
            "fallen": bool(block[2] < _TABLE_M - 0.05),
        }
        self._happened |= {name for name, happened in self._events.items() if happened}

    def render(self, size: int) -> np.ndarray:
        """See `Simulator.render`."""
        return self._camera.take(self._env.data, size)

    def state(self) -> np.ndarray:
        """See `Simulator.state`."""
        velocity = self._env.data.joint("object0:joint").qvel[:3]
        seen = self._observation
        return np.concatenate([seen["observation"][:3], seen["achieved_goal"], velocity, seen["desired_goal"]])

    def events(self) -> Mapping[str, bool]:
        """See `Simulator.events`."""
        return self._events

    def save(self) -> object:
        """See `Simulator.save`: MuJoCo's integration state, and what the environment last observed."""
        state = full_state(self._env.model, self._env.data)
        return state, self._observation, self._events, frozenset(self._happened)

    def load(self, saved: object) -> None:
        """See `Simulator.load`."""
        kept = cast(tuple[np.ndarray, dict[str, np.ndarray], dict[str, bool], set[str]], saved)
        state, self._observation, self._events, happened = kept
        restore_state(self._env.model, self._env.data, state)
        self._happened = set(happened)

    def policy(self, name: str, generator: np.random.Generator) -> Act:
        """`push` goes behind the block and pushes it to the goal, then elsewhere; `wander` is smooth noise, `random` is not."""
        if name == "random":
            return lambda: generator.uniform(-1, 1, 3)
        noise = np.zeros(3)
        goal = self._observation["desired_goal"]

        def choose() -> np.ndarray:
            nonlocal noise, goal
            noise = 0.85 * noise + generator.normal(0, 0.3 if name == "wander" else 0.05, 3)
            if name == "wander":
                hand = self._observation["observation"][:3]
                return np.clip(noise + 4 * ((1.32, 0.75, _TABLE_M + 0.05) - hand), -1, 1)
            hand, block = self._observation["observation"][:3], self._observation["achieved_goal"]
            if np.linalg.norm(block[:2] - goal[:2]) < 0.03:
                goal = np.array([generator.uniform(1.2, 1.45), generator.uniform(0.6, 0.9), _TABLE_M])
            return np.clip(10 * (self._hand_target(hand, block, goal) - hand) + noise, -1, 1)

        return choose

    def captions(self) -> Sequence[str]:
        """See `Simulator.captions`."""
        block, goal = (str(self._attributes[f"{what}_color"]) for what in ("block", "goal"))
        slippery = "slippery " if float(self._attributes["friction_scale"]) < 0.4 else ""
        thing = f"{slippery}{block} block"
        if "fallen" in self._happened:
            outcomes = (f"pushes the {thing} over the edge of the table", f"makes the {thing} fall off the table", f"drops the {thing}")
        elif "goal_reached" in self._happened:
            outcomes = (
                f"pushes the {thing} to the {goal} spot",
                f"brings the {thing} to its {goal} goal",
                f"slides the {thing} onto the mark",
            )
        elif "contact" in self._happened:
            outcomes = (
                f"pushes the {thing} across the table",
                f"shoves the {thing} aside",
                f"moves the {thing} but misses the {goal} mark",
            )
        else:
            outcomes = (f"does not touch the {thing}", f"moves above the {thing}", f"leaves the {thing} in its place")
        subjects = ("a Fetch robot", "a white robot arm", f"at a table with {article(goal)} mark, a robot", "the robot's closed gripper")
        return [sentence(f"{subject} {outcome}") for subject in subjects for outcome in outcomes]

    def close(self) -> None:
        """See `Simulator.close`."""
        self._camera.close()

    def _hand_target(self, hand: np.ndarray, block: np.ndarray, goal: np.ndarray) -> np.ndarray:
        """Behind the block as seen from the goal; high up until it is there, then down, then through."""
        direction = (goal - block)[:2] / max(float(np.linalg.norm((goal - block)[:2])), 1e-6)
        behind = block[:2] - 0.09 * direction
        offset = hand[:2] - block[:2]
        aligned = float(offset @ direction) < -0.03 and abs(float(offset[0] * direction[1] - offset[1] * direction[0])) < 0.025
        low = hand[2] < _TABLE_M + 0.03
        if aligned and low:
            return np.array([*(block[:2] + 0.03 * direction), _TABLE_M])
        if np.linalg.norm(hand[:2] - behind) < 0.03:
            return np.array([*behind, _TABLE_M - 0.01])
        return np.array([*(behind if hand[2] > _TABLE_M + 0.07 else hand[:2]), _TABLE_M + 0.12])

    def _paint(self, geom: int, color: Value) -> None:
        model = self._env.model
        model.geom_matid[geom] = -1
        model.geom_rgba[geom] = (*share_of_full(color), 1.0)

    def _touches_hand(self) -> bool:
        """Whether the block touches the robot."""
        bodies = self._env.model.geom_bodyid[self._env.data.contact.geom]
        block = self._env.model.body("object0").id
        return bool(((bodies == block).any(1) & np.isin(bodies, self._robot_bodies).any(1)).any())
