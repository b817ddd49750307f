"""Two scenes of the DeepMind Control Suite (dm_control, Apache; physics by MuJoCo): a two-link arm that reaches, a ball on a string that is
swung into a cup.

May import: interfaces, envs.simulator, envs.colors, envs.phrases, envs.mujoco_engine, envs.mujoco_camera, numpy, dm_control and mujoco
(extra `sim-mujoco`). Refuses to know: clips, files.
"""

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, cast

import numpy as np

from worldline.envs.colors import share_of_full
from worldline.envs.mujoco_camera import MujocoCamera, fixed_view
from worldline.envs.mujoco_engine import check_physics, full_state, load_mujoco, restore_state
from worldline.envs.phrases import article, sentence
from worldline.envs.simulator import Act, Attribute, Simulator, Value
from worldline.interfaces import ActionSpec

_COLORS_OF_THINGS = ("red", "blue", "orange", "purple")
_ODD_COLORS = ("lime", "cyan", "pink")
_FLOOR = Attribute(name="floor_color", kind="appearance", usual=("navy", "teal", "gray"), unusual=("sand", "crimson"))


class SuiteScene(Simulator):
    """What the two have in common. A subclass names its scene and task and says what an attribute does to the model."""

    extra = "sim-mujoco"
    rate_hz = 20.0
    restores = "exactly"
    action_spec = ActionSpec(low=(-1.0, -1.0), high=(1.0, 1.0), names=("first", "second"))
    scene: ClassVar[tuple[str, str]]
    camera: ClassVar[str]

    def __init__(self) -> None:
        self._mujoco = load_mujoco()
        from dm_control import suite  # noqa: PLC0415

        self._env = suite.load(*self.scene, task_kwargs={"random": 0})
        self._physics: Any = self._env.physics
        self.model, self.data = self._physics.model.ptr, self._physics.data.ptr
        self._camera = MujocoCamera(self.model, fixed_view(self.model, self.camera))
        self._steps_per_frame = round(1 / self.rate_hz / self.model.opt.timestep)
        self._usual = {name: getattr(self.model, name).copy() for name in ("dof_damping", "actuator_gear", "body_mass", "body_inertia")}
        self._attributes: dict[str, Value] = {}
        self._happened: set[str] = set()
        self._events: dict[str, bool] = {}

    def reset(self, seed: int, attributes: Mapping[str, Value]) -> None:
        """See `Simulator.reset`."""
        self._attributes = dict(attributes)
        for name, value in self._usual.items():
            getattr(self.model, name)[:] = value
        self._change_model(attributes)
        self._mujoco.mj_setConst(self.model, self.data)  # what else follows from a mass
        self._paint("grid", attributes["floor_color"])
        self._env.task.random.seed(seed)
        with self._physics.reset_context():
            self._env.task.initialize_episode(self._physics)
        self._events = dict.fromkeys(self.event_names, False)
        self._happened = set()

    def step(self, action: np.ndarray | None) -> None:
        """See `Simulator.step`."""
        self.data.ctrl[:] = action
        held = dict.fromkeys(self.event_names, False)
        for _ in range(self._steps_per_frame):
            self._physics.step()
            held = {name: before or now for (name, before), now in zip(held.items(), self._now().values(), strict=True)}
        check_physics(self.data, self.name, self._attributes)
        self._events = held
        self._happened |= {name for name, happened in held.items() if happened}

    def advance(self, action: np.ndarray | None) -> None:
        """See `Simulator.advance`."""
        self.data.ctrl[:] = action
        self._physics.step(self._steps_per_frame)
        check_physics(self.data, self.name, self._attributes)

    def render(self, size: int) -> np.ndarray:
        """See `Simulator.render`."""
        return self._camera.take(self.data, size)

    def events(self) -> Mapping[str, bool]:
        """See `Simulator.events`."""
        return self._events

    def save(self) -> object:
        """See `Simulator.save`: MuJoCo's integration state."""
        return full_state(self.model, self.data), self._events, frozenset(self._happened)

    def load(self, saved: object) -> None:
        """See `Simulator.load`."""
        state, self._events, happened = cast(tuple[np.ndarray, dict[str, bool], set[str]], saved)
        restore_state(self.model, self.data, state)
        self._happened = set(happened)

    def close(self) -> None:
        """See `Simulator.close`."""
        self._camera.close()

    def _paint(self, material: str, color: Value) -> None:
        self.model.material(material).rgba[:3] = share_of_full(color)

    @abstractmethod
    def _change_model(self, attributes: Mapping[str, Value]) -> None: ...

    @abstractmethod
    def _now(self) -> Mapping[str, bool]:
        """Events that hold at this moment, in the order of `event_names`."""


class Reacher(SuiteScene):
    """See `Simulator`. Metres, radians; actions are torques at shoulder and wrist, as shares of the strongest."""

    name = "reacher"
    scene = ("reacher", "easy")
    camera = "fixed"
    action_spec = ActionSpec(low=(-1.0, -1.0), high=(1.0, 1.0), names=("shoulder_torque", "wrist_torque"))
    state_names = (
        *("shoulder_angle", "wrist_angle", "shoulder_velocity", "wrist_velocity"),
        *("finger_x", "finger_y", "target_x", "target_y"),
    )
    event_names = ("goal_reached", "wrist_at_limit")
    policy_names = ("reach", "swing", "random")
    attributes: ClassVar[tuple[Attribute, ...]] = (
        Attribute(name="arm_color", kind="appearance", usual=("orange", "white", "yellow"), unusual=("magenta", "lime")),
        Attribute(name="target_color", kind="appearance", usual=("red", "green", "purple"), unusual=("cyan", "brown")),
        _FLOOR,
        Attribute(name="target_radius_m", kind="scene", usual=(0.02, 0.04), unusual=(0.05, 0.06)),
        Attribute(name="joint_damping", kind="physics", usual=(0.007, 0.015), unusual=(0.03, 0.05)),
        Attribute(name="torque_scale", kind="physics", usual=(0.7, 1.2), unusual=(1.6, 2.2)),
    )

    def _change_model(self, attributes: Mapping[str, Value]) -> None:
        self.model.dof_damping[:] = float(attributes["joint_damping"])
        self.model.actuator_gear[:] *= float(attributes["torque_scale"])
        self._paint("self", attributes["arm_color"])
        self._paint("effector", attributes["arm_color"])
        self._paint("target", attributes["target_color"])

    def reset(self, seed: int, attributes: Mapping[str, Value]) -> None:
        """See `Simulator.reset`."""
        super().reset(seed, attributes)
        self.model.geom("target").size[0] = float(attributes["target_radius_m"])

    def _now(self) -> Mapping[str, bool]:
        reach = self.model.geom("target").size[0] + self.model.geom("finger").size[0]
        wrist = self.model.joint("wrist")
        return {
            "goal_reached": bool(self._physics.finger_to_target_dist() < reach),
            "wrist_at_limit": bool(abs(self.data.qpos[1]) > wrist.range[1] - 0.01),
        }

    def state(self) -> np.ndarray:
        """See `Simulator.state`."""
        points = (self.data.geom(name).xpos[:2] for name in ("finger", "target"))
        return np.concatenate([self.data.qpos, self.data.qvel, *points])

    def policy(self, name: str, generator: np.random.Generator) -> Act:
        """`reach` goes to the target and, every other second, elsewhere; `swing` is smooth noise, `random` is not."""
        if name == "random":
            return lambda: generator.uniform(-1, 1, 2)
        noise = np.zeros(2)
        goal, frames_left = self.state()[6:8], 40

        def choose() -> np.ndarray:
            nonlocal noise, goal, frames_left
            noise = 0.9 * noise + generator.normal(0, 0.25, 2)
            if name == "swing":
                return np.clip(noise, -1, 1)
            frames_left -= 1
            if frames_left == 0:
                frames_left = int(generator.integers(15, 40))
                angle, radius = generator.uniform(-np.pi, np.pi), generator.uniform(0.08, 0.23)
                away = not np.allclose(goal, self.state()[6:8])
                goal = self.state()[6:8] if away else radius * np.array([np.cos(angle), np.sin(angle)])
            return np.clip(self._toward(goal) + 0.2 * noise, -1, 1)

        return choose

    def _toward(self, goal: np.ndarray) -> np.ndarray:
        """Torques that bring the finger to `goal`: the joint angles of two links of 0.12 m, and a spring to them."""
        distance = min(float(np.hypot(*goal)), 0.239)
        elbow = np.arccos(np.clip(distance**2 / (2 * 0.12**2) - 1, -1, 1)) * (1 if self.data.qpos[1] >= 0 else -1)
        shoulder = np.arctan2(goal[1], goal[0]) - elbow / 2
        error = np.array([shoulder - self.data.qpos[0], elbow - self.data.qpos[1]])
        error[0] = (error[0] + np.pi) % (2 * np.pi) - np.pi
        return 1.2 * error - 0.22 * self.data.qvel

    def captions(self) -> Sequence[str]:
        """See `Simulator.captions`."""
        arm, target, floor = (str(self._attributes[f"{what}_color"]) for what in ("arm", "target", "floor"))
        size = "large" if float(self._attributes["target_radius_m"]) > 0.03 else "small"
        if "goal_reached" in self._happened:
            outcomes = (f"touches the {size} {target} ball", f"brings its finger to the {target} target", f"reaches the {target} disc")
        else:
            outcomes = (f"misses the {size} {target} ball", f"swings without touching the {target} target", f"keeps off the {target} disc")
        subjects = (
            f"{article(arm)} arm with two links",
            f"on {article(floor)} checkered floor, {article(arm)} arm",
            f"seen from above, a planar {arm} robot arm",
            f"the {arm} reacher",
        )
        return [sentence(f"{subject} {outcome}") for subject in subjects for outcome in outcomes]


class BallInCup(SuiteScene):
    """See `Simulator`. Metres; actions are forces on the cup, as shares of the strongest."""

    name = "ball_in_cup"
    scene = ("ball_in_cup", "catch")
    camera = "cam0"
    action_spec = ActionSpec(low=(-1.0, -1.0), high=(1.0, 1.0), names=("force_x", "force_z"))
    state_names = (
        *("cup_x", "cup_z", "ball_x", "ball_z"),
        *("cup_velocity_x", "cup_velocity_z", "ball_velocity_x", "ball_velocity_z", "string_length"),
    )
    event_names = ("caught", "contact", "string_taut")
    policy_names = ("catch", "swing", "random")
    attributes: ClassVar[tuple[Attribute, ...]] = (
        Attribute(name="cup_color", kind="appearance", usual=_COLORS_OF_THINGS, unusual=_ODD_COLORS),
        Attribute(name="ball_color", kind="appearance", usual=("yellow", "white", "green"), unusual=("orange", "magenta")),
        _FLOOR,
        Attribute(name="ball_mass_scale", kind="physics", usual=(0.7, 1.4), unusual=(2.5, 4.0)),
        Attribute(name="gravity_m_s2", kind="physics", usual=(8.5, 11.0), unusual=(2.0, 5.0)),
        Attribute(name="force_scale", kind="physics", usual=(0.8, 1.3), unusual=(1.6, 2.2)),
    )

    def _change_model(self, attributes: Mapping[str, Value]) -> None:
        ball = self.model.body("ball").id
        self.model.body_mass[ball] *= float(attributes["ball_mass_scale"])
        self.model.body_inertia[ball] *= float(attributes["ball_mass_scale"])
        self.model.opt.gravity[2] = -float(attributes["gravity_m_s2"])
        self.model.actuator_gear[:] *= float(attributes["force_scale"])
        self._paint("self", attributes["cup_color"])
        self._paint("effector", attributes["ball_color"])

    def _now(self) -> Mapping[str, bool]:
        ball = self.model.geom("ball").id
        pairs = self.data.contact.geom
        touching = pairs[(pairs == ball).any(1)]
        names = {self.model.geom(int(geom)).name for geom in touching.ravel()}
        return {
            "caught": bool(self._physics.in_target()),
            "contact": any(name.startswith("cup") for name in names),
            "string_taut": bool(self.data.ten_length[0] >= self.model.tendon_range[0, 1]),
        }

    def state(self) -> np.ndarray:
        """See `Simulator.state`."""
        positions = (self.data.body(name).xpos[[0, 2]] for name in ("cup", "ball"))
        return np.concatenate([*positions, self.data.qvel, self.data.ten_length])

    def policy(self, name: str, generator: np.random.Generator) -> Act:
        """`catch` looks ahead in the simulator itself for a throw into the cup; `swing` is smooth noise, `random` is not."""
        if name == "random":
            return lambda: generator.uniform(-1, 1, 2)
        if name == "catch":
            return _Catcher(self, generator)
        noise = np.zeros(2)

        def choose() -> np.ndarray:
            nonlocal noise
            noise = 0.85 * noise + generator.normal(0, 0.4, 2)
            return np.clip(noise, -1, 1)

        return choose

    def captions(self) -> Sequence[str]:
        """See `Simulator.captions`."""
        cup, ball, floor = (str(self._attributes[f"{what}_color"]) for what in ("cup", "ball", "floor"))
        if "caught" in self._happened:
            outcomes = (f"catches the {ball} ball", f"scoops the {ball} ball up", f"swings the {ball} ball on its string up and catches it")
        elif "contact" in self._happened:
            outcomes = (
                f"knocks the {ball} ball away",
                f"hits the {ball} ball from outside",
                f"touches the {ball} ball without catching it",
            )
        else:
            outcomes = (
                f"swings {article(ball)} ball on a string",
                f"drags the {ball} ball about",
                f"moves while the {ball} ball dangles below",
            )
        subjects = (
            f"{article(cup)} cup",
            f"over {article(floor)} floor, {article(cup)} cup",
            f"the {cup} cup",
            f"{article(cup)} open bowl",
        )
        return [sentence(f"{subject} {outcome}") for subject in subjects for outcome in outcomes]


class _Catcher:
    """Random shooting: of many smooth sequences of forces the one after which the ball is best in the cup, chosen anew every few frames."""

    def __init__(
        self, scene: BallInCup, generator: np.random.Generator, *, num_candidates: int = 32, horizon: int = 14, every: int = 4
    ) -> None:
        self._scene = scene
        self._mujoco = load_mujoco()
        self._imagined = self._mujoco.MjData(scene.model)
        self._generator = generator
        self._shape = num_candidates, horizon, 2
        self._every = every
        self._plan = np.zeros((horizon, 2))
        self._forces: list[np.ndarray] = []  # yet to be done
        self._patience = int(generator.integers(6, 20))
        self._caught_frames = 0

    def __call__(self) -> np.ndarray:
        """The next forces."""
        self._caught_frames = self._caught_frames + 1 if self._scene._now()["caught"] else 0
        if self._caught_frames > self._patience:
            # Down and aside, faster than the ball can follow: there is more to film in a second throw.
            self._forces = [np.array([self._generator.choice([-1.0, 1.0]), -1.0])] * 8
            self._caught_frames = 0
        if not self._forces:
            self._plan = self._choose(np.concatenate([self._plan[self._every :], np.zeros((self._every, 2))]))
            self._forces = list(self._plan[: self._every])
        return self._forces.pop(0)

    def _choose(self, previous: np.ndarray) -> np.ndarray:
        num_candidates, horizon, _ = self._shape
        # Held for two frames each: forces that change sign at every frame cancel out.
        candidates = np.clip(self._generator.normal(0, 0.9, (num_candidates, horizon // 2, 2)).repeat(2, 1), -1, 1)
        candidates[0] = previous
        candidates[1 : num_candidates // 3] = np.clip(previous + 0.3 * candidates[1 : num_candidates // 3], -1, 1)
        return candidates[int(np.argmin([self._cost(forces) for forces in candidates]))]

    def _cost(self, forces: np.ndarray) -> float:
        model, data = self._scene.model, self._imagined
        kind = self._mujoco.mjtState.mjSTATE_INTEGRATION
        state = np.empty(self._mujoco.mj_stateSize(model, kind))
        self._mujoco.mj_getState(model, self._scene.data, state, kind)
        self._mujoco.mj_setState(model, data, state, kind)
        cost = 0.0
        for force in forces:
            data.ctrl[:] = force
            self._mujoco.mj_step(model, data, nstep=25)
            across, above = data.qpos[2:4] - data.qpos[:2] + (0, 0.2 - 0.6 + 0.05)
            # In the cup is best; else above it; and below its rim the ball must come around it.
            cost += min(1.0, 10 * float(np.hypot(across, above))) + (0.5 if above < -0.04 else 0.0)
            # Up or aside, the cup leaves the camera's picture.
            cost += 5 * max(0.0, float(data.qpos[1]) - 0.05) + 5 * max(0.0, abs(float(data.qpos[0])) - 0.3)
        return cost
