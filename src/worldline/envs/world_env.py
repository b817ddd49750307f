"""Any world as a gymnasium environment, so that learners which know nothing of worlds train inside it.

The real thing is `envs.gym.SimulatorEnv`; this is the imagined one. A learner that was trained here has to be run there before its return
means anything: imagined return is what a learner exploits first.

May import: interfaces, gymnasium, numpy, torch. Refuses to know: which world it is, how it was learned, what an objective means.

Shapes: N episodes side by side, S tokens per frame, C latent channels, A action components, H height, W width.
"""

import copy
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, Protocol

import gymnasium
import numpy as np
import torch
from gymnasium.utils.seeding import np_random
from gymnasium.vector import AutoresetMode
from gymnasium.vector.utils import batch_space
from torch import Tensor

from worldline.interfaces import Objective, Rollout, State, World

Observation = Literal["latents", "pixels"]


class Contexts(Protocol):
    """Where episodes begin: a state with one row per generator, each row drawn from its own generator and nothing else."""

    def __call__(self, generators: Sequence[np.random.Generator]) -> State:
        """A state of as many rows as there are generators."""
        ...


class Prompts:
    """Contexts cut from real video: `prompt` is shown `num_frames` frames of it, with the actions between them where they are known.

    Args:
        prompt: frames (N, P, 3, H, W) in [0, 1] and actions (N, P - 1, A) or None -> state of N rows, such as a learned world's `prompt`.
        films: real episodes (T, 3, H, W) in [0, 1], of one picture size.
        actions: for each of them (T or T - 1, A), environment units; None if unknown.
        num_frames: P, frames of a prompt.

    Raises:
        ValueError: if there are no films, one is shorter than a prompt, or the actions do not fit.
    """

    def __init__(self, prompt: Any, films: Sequence[Tensor], actions: Sequence[Tensor] | None = None, *, num_frames: int = 4) -> None:
        if not films or num_frames < 1 or min(len(film) for film in films) < num_frames:
            raise ValueError(f"{len(films)} films for prompts of {num_frames} frames; give at least one, none shorter than a prompt")
        if actions is not None and [len(film) - len(known) in (0, 1) for film, known in zip(films, actions, strict=True)].count(False):
            raise ValueError("actions do not fit their films; give one per frame, or one per frame but the last")
        self._prompt, self._films, self._actions, self._num_frames = prompt, list(films), actions, num_frames

    def __call__(self, generators: Sequence[np.random.Generator]) -> State:
        """One prompt per generator: an episode, and a place in it, each alike probable."""
        videos, known = [], []
        for generator in generators:
            index = int(generator.integers(len(self._films)))
            start = int(generator.integers(len(self._films[index]) - self._num_frames + 1))
            videos.append(self._films[index][start : start + self._num_frames])
            if self._actions is not None:
                known.append(self._actions[index][start : start + self._num_frames - 1])
        actions = torch.stack(known) if known and self._num_frames > 1 else None
        return self._prompt(torch.stack(videos), actions)


class Imagined:
    """What `WorldEnv` and `WorldVectorEnv` have in common: N imagined episodes that go in step, each with random numbers of its own.

    Raises:
        ValueError: if the world has no actions, `horizon` is not positive, or the contexts have another number of rows than asked for.
        FloatingPointError: if the world imagines a frame, or the objective gives a score, that is not finite.
    """

    def __init__(self, world: World, contexts: Contexts, objective: Objective, *, horizon: int, observation: Observation) -> None:
        if world.action_spec is None:
            raise ValueError("this world was trained without actions, so nothing can act in it; use a world with an action_spec")
        if horizon < 1 or observation not in ("latents", "pixels"):
            raise ValueError(f'horizon is {horizon} and observation {observation!r}; give at least 1 frame, and "latents" or "pixels"')
        self.world, self.contexts, self.objective = world, contexts, objective
        self.horizon, self.observation = horizon, observation
        self.action_spec = world.action_spec
        self.action_space = gymnasium.spaces.Box(
            np.array(self.action_spec.low, np.float32), np.array(self.action_spec.high, np.float32), dtype=np.float32
        )
        self.generators: list[np.random.Generator] = []
        self.state: State | None = None
        self.num_steps = 0

    def observation_space(self) -> gymnasium.spaces.Box:
        """Of one episode; asks the contexts for a state to see its shape."""
        state = self._begin([np.random.default_rng(0)])
        if self.observation == "pixels":
            return gymnasium.spaces.Box(0, 255, self._pictures(state).shape[1:], np.uint8)
        return gymnasium.spaces.Box(-np.inf, np.inf, tuple(state.latent.shape[1:]), np.float32)

    def reset(self) -> np.ndarray:
        """New contexts for all; returns observations (N, ...)."""
        self.state = self._begin(self.generators)
        self.num_steps = 0
        return self.observe(self.state)

    @torch.no_grad()
    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, bool]:
        """One frame under actions (N, A), clipped to the bounds; returns observations, rewards (N,) float64, and whether time is up."""
        if self.state is None:
            raise RuntimeError("call reset before step")
        values = np.asarray(actions, np.float32)
        if values.shape != (self.state.batch_size, self.action_spec.dim) or not np.isfinite(values).all():
            raise ValueError(f"actions must be finite, {(self.state.batch_size, self.action_spec.dim)}, got {actions}")
        wide = torch.promote_types(self.state.latent.dtype, torch.float32)  # a world in half precision rounds actions itself
        given = self.action_spec.clamp(torch.from_numpy(values).to(self.state.latent.device, wide))
        shape = self.world.noise_shape
        noise = torch.from_numpy(np.stack([generator.standard_normal(shape) for generator in self.generators])).to(self.state.latent)
        following = self.world.step(self.state, given, noise=noise)
        rewards = self.objective(one_frame(following, given)).double().cpu().numpy()
        if not (bool(following.latent.isfinite().all()) and np.isfinite(rewards).all()):
            raise FloatingPointError(
                f"the world imagined a frame, or the objective gave a score, that is not finite at frame {self.num_steps + 1}; "
                "shorten the horizon"
            )
        self.state, self.num_steps = following, self.num_steps + 1
        return self.observe(following), rewards, self.num_steps >= self.horizon

    @torch.no_grad()
    def observe(self, state: State) -> np.ndarray:
        """What is seen of a state: latents (N, S, C) float32, or pictures (N, H, W, 3) uint8."""
        return self._pictures(state) if self.observation == "pixels" else state.latent.float().cpu().numpy()

    @torch.no_grad()
    def _pictures(self, state: State) -> np.ndarray:
        frames = self.world.decode(state).float().clamp(0, 1) * 255
        return frames.round().to(torch.uint8).permute(0, 2, 3, 1).contiguous().cpu().numpy()

    @torch.no_grad()
    def _begin(self, generators: Sequence[np.random.Generator]) -> State:
        state = self.contexts(generators)
        if state.batch_size != len(generators):
            raise ValueError(f"the contexts gave {state.batch_size} rows for {len(generators)} generators; they must give one row each")
        return state


def one_frame(state: State, action: Tensor) -> Rollout:
    """A step (state after it, action (B, A)) as a rollout of one sample and one frame, which any objective can score.

    Latents are float32 at least, as planners show them to objectives.
    """
    latent = state.latent.to(torch.promote_types(state.latent.dtype, torch.float32))
    return Rollout(latents=latent[None, :, None], actions=action[:, None], state=state, heads=_OneFrame(state.heads))


class _OneFrame(Mapping[str, Tensor]):
    """Heads of a state (B, ...) as those of a rollout (1, B, 1, ...), read only on demand: a learned world's may cost a pass."""

    def __init__(self, heads: Mapping[str, Tensor]) -> None:
        self._heads = heads

    def __getitem__(self, name: str) -> Tensor:
        return self._heads[name][None, :, None]

    def __iter__(self) -> Iterator[str]:
        return iter(self._heads)

    def __len__(self) -> int:
        return len(self._heads)


class WorldEnv(gymnasium.Env[np.ndarray, np.ndarray]):
    """A world as `gymnasium.Env`: real contexts, imagined from there on.

    Observation: latents (S, C) float32, or the decoded picture (H, W, 3) uint8. Action: (A,) float32 in the bounds of the world; what is
    outside is clipped. Reward: the objective's score of the step, as a rollout of one frame (so `reward.RewardHead()` reads the world's own
    head and `reward.GoalLatent(...)` the distance to a goal). Never terminates; truncates after `horizon` frames.

    An episode is a function of the seed and the actions: contexts and the world's noise are drawn from `np_random` alone.

    Args:
        world: any `interfaces.World` with actions.
        contexts: where episodes begin, such as `Prompts(world.prompt, films)`.
        objective: the reward.
        horizon: frames until truncation.
        observation: "latents" or "pixels".
        render_mode: "rgb_array" or None.

    Raises:
        ValueError: if an argument makes no sense, or an action is not finite.
        FloatingPointError: if the world diverges.
    """

    metadata: dict[str, Any] = {"render_modes": ["rgb_array"], "render_fps": 10}  # noqa: RUF012  (gymnasium's own declaration)

    def __init__(
        self,
        world: World,
        contexts: Contexts,
        objective: Objective,
        *,
        horizon: int = 50,
        observation: Observation = "latents",
        render_mode: str | None = "rgb_array",
    ) -> None:
        if render_mode not in (None, "rgb_array"):
            raise ValueError(f'render_mode is {render_mode!r}; choose "rgb_array" or None')
        self._imagined = Imagined(world, contexts, objective, horizon=horizon, observation=observation)
        self.render_mode = render_mode
        self.action_space = self._imagined.action_space
        self.observation_space = self._imagined.observation_space()

    @property
    def state(self) -> State:
        """Where the episode is; a value, which no later step changes.

        Raises:
            RuntimeError: before the first reset.
        """
        if self._imagined.state is None:
            raise RuntimeError("call reset before asking for the state")
        return self._imagined.state

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[np.ndarray, dict[str, Any]]:
        """A new context; returns the first observation and an empty `info`. `options={"state": state}` begins at a state of batch 1."""
        super().reset(seed=seed)
        self._imagined.generators = [self.np_random]
        observation = self._imagined.reset()
        if options is not None and "state" in options:
            if options["state"].batch_size != 1:
                raise ValueError(f"the state has {options['state'].batch_size} rows; begin at a state of batch 1")
            self._imagined.state = options["state"]
            observation = self._imagined.observe(options["state"])
        return observation[0], {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """One frame under `action` (A,); returns observation, reward, False, whether time is up, and an empty `info`."""
        observations, rewards, over = self._imagined.step(np.asarray(action)[None])
        return observations[0], float(rewards[0]), False, over, {}

    def render(self) -> np.ndarray | None:
        """The imagined picture, (H, W, 3) uint8; None without a render mode."""
        return None if self.render_mode is None else self._imagined._pictures(self.state)[0]

    def fork(self) -> "WorldEnv":
        """An environment at the same place of the same episode, with a copy of its random numbers; both go on apart from each other."""
        twin = copy.copy(self)
        twin._imagined = copy.copy(self._imagined)
        twin._np_random = copy.deepcopy(self.np_random)
        twin._imagined.generators = [twin._np_random]
        return twin


class WorldVectorEnv(gymnasium.vector.VectorEnv):
    """N imagined episodes as `gymnasium.vector.VectorEnv`, one call of the world per step for all.

    Row n, seeded with s, is `WorldEnv` seeded with s + n, up to rounding. Rows go in step: all are truncated after `horizon` frames, and
    begin anew together. See `WorldEnv` for observations, actions, rewards and errors.

    Args:
        world: any `interfaces.World` with actions.
        contexts: where episodes begin.
        objective: the reward.
        num_envs: N.
        horizon: frames until truncation.
        observation: "latents" or "pixels".
        autoreset_mode: "SameStep": the step that ends an episode returns the first observation of the next one, and the old one's last one
            as `infos["final_obs"]`; "NextStep": the step after it does, its action is ignored, its reward 0; "Disabled": call `reset`
    """

    def __init__(
        self,
        world: World,
        contexts: Contexts,
        objective: Objective,
        *,
        num_envs: int = 8,
        horizon: int = 50,
        observation: Observation = "latents",
        autoreset_mode: AutoresetMode | str = AutoresetMode.SAME_STEP,
    ) -> None:
        if num_envs < 1:
            raise ValueError(f"num_envs is {num_envs}; give at least 1")
        self._imagined = Imagined(world, contexts, objective, horizon=horizon, observation=observation)
        self.num_envs = num_envs
        self.autoreset_mode = AutoresetMode(autoreset_mode)
        self.metadata = {"render_modes": ["rgb_array"], "autoreset_mode": self.autoreset_mode}
        self.render_mode = "rgb_array"
        self.single_action_space = self._imagined.action_space
        self.single_observation_space = self._imagined.observation_space()
        self.action_space = batch_space(self.single_action_space, num_envs)
        self.observation_space = batch_space(self.single_observation_space, num_envs)
        self._over = False

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """New contexts for all rows; `seed` is one number, to which the row's is added, or one per row. Options are not used."""
        super().reset(seed=seed if isinstance(seed, int) else None)
        if seed is not None or not self._imagined.generators:
            seeds = [None if seed is None else seed + row for row in range(self.num_envs)] if not isinstance(seed, Sequence) else seed
            if len(seeds) != self.num_envs:
                raise ValueError(f"{len(seeds)} seeds for {self.num_envs} rows; give one per row, or one number")
            self._imagined.generators = [np_random(one)[0] for one in seeds]
        self._over = False
        return self._imagined.reset(), {}

    def step(self, actions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """One frame for all rows under actions (N, A); returns observations, rewards, terminated, truncated (N,) and infos."""
        never, infos = np.zeros(self.num_envs, bool), dict[str, Any]()
        if self._over and self.autoreset_mode is AutoresetMode.NEXT_STEP:
            self._over = False
            return self._imagined.reset(), np.zeros(self.num_envs), never, never.copy(), infos
        if self._over:
            raise RuntimeError("the episodes are over; call reset")
        observations, rewards, over = self._imagined.step(actions)
        self._over = over
        if over and self.autoreset_mode is AutoresetMode.SAME_STEP:
            everyone = np.ones(self.num_envs, bool)
            final = np.empty(self.num_envs, object)
            final[:] = list(observations)
            infos = {"final_obs": final, "_final_obs": everyone, "final_info": {}, "_final_info": everyone}
            observations, self._over = self._imagined.reset(), False
        return observations, rewards, never, np.full(self.num_envs, over), infos

    def render(self) -> tuple[np.ndarray, ...]:
        """The imagined pictures, each (H, W, 3) uint8."""
        if self._imagined.state is None:
            raise RuntimeError("call reset before render")
        return tuple(self._imagined._pictures(self._imagined.state))
