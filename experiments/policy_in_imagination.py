"""Is a policy that was trained in imagination only worth as much in the real simulator as one that was trained there?

    python experiments/policy_in_imagination.py --task reacher --world runs/reacher --steps 60000 --out runs/reach
    python experiments/policy_in_imagination.py --task push --data runs/push --out runs/policies      # the bundled Push-T world

A reacher world is one of the zoo's domain (`worldline train zoo --only reacher`); needs `pip install "worldline[sim-mujoco]"`. For push,
--data is a folder with the stores `train` and `val`, as `collect_push` films them; needs `pip install "worldline[pusht]"`.

Rewards are dense (`policy_tasks.py`), since the tasks' own are zero nearly everywhere at this number of steps. In the simulator they are
computed from the true state, in imagination by a probe of latents, fitted on the same training recordings. Everything else is the same on
both sides: learner, network, observations (the world's latents; the simulator's pictures are encoded), real contexts from recorded training
episodes (simulators are set to their states), steps, seeds. Learners start from the same clone of the recorded behaviour (--scratch: from
nothing).

Every policy is then run in the real simulator from the same starts out of held-out episodes: --frames frames, its mean acting. The last
weights are run; nothing is selected, by imagined return least of all. `share` is the return over that of the learner in the simulator,
`share of gain` the same after subtracting what standing still earns from the same starts, which is the harder figure. Intervals are 95 %
bootstraps over starts and seeds.

Writes OUT/results.jsonl policy by policy: the same command goes on where it was broken off, `--table` only prints.
"""

import argparse
import copy
import json
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from policy_tasks import PushTask, ReacherTask, Recordings, Task
from torch import Tensor, nn

from worldline.control.actor import Actor, ActorConfig, CriticConfig, PreferenceConfig, Trained, WindowConfig
from worldline.control.actor import train_by_gradients as by_gradients
from worldline.control.actor import train_by_preference as by_preference
from worldline.envs.seen_world import SeenWorld, Start
from worldline.interfaces import ActionSpec, Policy, Rollout, State
from worldline.world import World

PROMPT = 4


def draw(known: Recordings, count: int, generator: torch.Generator, *, siblings: int = 1) -> list[tuple[int, int]]:
    """Episode and frame, each alike probable, with a prompt before it; each as often as there are siblings, one after another."""
    episodes = torch.randint(len(known.latents), (count // siblings,), generator=generator)
    frames = torch.randint(PROMPT - 1, known.latents.shape[1], (count // siblings,), generator=generator)
    return [place for place in zip(episodes.tolist(), frames.tolist(), strict=True) for _ in range(siblings)]


def prompt(known: Recordings, world: World, chosen: list[tuple[int, int]]) -> State:
    latents = torch.stack([known.latents[e, t - PROMPT + 1 : t + 1] for e, t in chosen])
    return world.prompt_latents(latents, torch.stack([known.actions[e, t - PROMPT + 1 : t] for e, t in chosen]))


def starts(known: Recordings, chosen: list[tuple[int, int]], window: int) -> list[Start]:
    return [Start(place=known.place(e, t), frames=known.frames[e, t - window + 1 : t + 1].float() / 255) for e, t in chosen]


class Probe(nn.Module):
    """What the reward needs (..., K), from latents (..., S, C)."""

    mean: Tensor
    std: Tensor

    middle: Tensor

    def __init__(self, known: Recordings, scale: float) -> None:
        super().__init__()
        self.register_buffer("mean", known.latents.mean((0, 1)))
        self.register_buffer("std", known.latents.std((0, 1)).clamp_min(1e-3))
        self.register_buffer("middle", known.known.mean((0, 1)))
        self.scale = scale
        size, outputs = known.latents[0, 0].numel(), known.known.shape[-1]
        self.network = nn.Sequential(nn.Linear(size, 256), nn.SiLU(), nn.Linear(256, 256), nn.SiLU(), nn.Linear(256, outputs))

    def forward(self, latents: Tensor) -> Tensor:
        return self.middle + self.scale * self.network(((latents - self.mean) / self.std).flatten(-2))


def fit(parameters: Any, loss: Callable[[Tensor, torch.Generator], Tensor], count: int, *, updates: int, seed: int) -> None:
    """Adam on batches of 256 of `count` rows, its rate falling to zero."""
    optimizer = torch.optim.AdamW(parameters, lr=2e-3, weight_decay=1e-2)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, updates)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(updates):
        value = loss(torch.randint(count, (256,), generator=generator), generator)
        optimizer.zero_grad()
        value.backward()
        optimizer.step()
        schedule.step()


def fit_probe(known: Recordings, scale: float, *, updates: int, seed: int = 0) -> Probe:
    torch.manual_seed(seed)
    probe = Probe(known, scale)
    latents, wanted = known.latents.flatten(0, 1), known.known.flatten(0, 1)

    def loss(rows: Tensor, generator: torch.Generator) -> Tensor:
        # A little noise, since imagined latents are a little off.
        seen = latents[rows] + 0.05 * torch.randn(len(rows), *latents.shape[1:], generator=generator)
        return ((probe(seen) - wanted[rows]) / scale).square().sum(-1).mean()

    fit(probe.parameters(), loss, len(latents), updates=updates, seed=seed)
    return probe.eval().requires_grad_(False)


def new_actor(known: Recordings, spec: ActionSpec, seed: int, std: float) -> Actor:
    torch.manual_seed(seed)
    flat = known.latents.flatten(0, 1)
    return Actor(tuple(flat.shape[1:]), spec, ActorConfig(width=256, initial_std=std), mean=flat.mean(0), std=flat.std(0))


def clone_behaviour(known: Recordings, spec: ActionSpec, seed: int, *, updates: int, std: float) -> Actor:
    """An actor whose mean is what was done in the recordings; how far it strays is set, not learned."""
    actor = new_actor(known, spec, seed, std)
    latents, done = known.latents[:, :-1].flatten(0, 1), spec.normalize(known.actions[:, :-1].flatten(0, 1))

    def loss(rows: Tensor, generator: torch.Generator) -> Tensor:
        seen = latents[rows] + 0.1 * torch.randn(len(rows), *latents.shape[1:], generator=generator)
        return (actor.means(seen) - done[rows]).square().sum(-1).mean()

    fit(actor.network.parameters(), loss, len(latents), updates=updates, seed=seed)
    return actor


class Bench:
    """Everything that all policies share: the learned world, the simulators, the recordings, the probe."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        folder = Path(options.world) / "world"
        self.world = World.load(folder if folder.is_dir() else options.world).requires_grad_(False)
        if self.world.config.action_spaces and self.world.config.action_spec is None:
            self.world = self.world.with_action_space(options.task)
        task: Task = PushTask(options.data, self.world) if options.task == "push" else ReacherTask(self.world)
        self.task = task
        self.known = task.recordings(self.world, options.episodes, held_out=False)
        first = options.episodes if options.dev else 0
        self.held_out = task.recordings(self.world, options.held_out, held_out=not options.dev, first=first)
        self.window = self.world.config.tokenizer.window
        scenes = [task.scene() for _ in range(options.batch)]
        self.real = SeenWorld(scenes, self.world.tokenizer.encode, action_spec=task.action_spec, window=self.window)
        self._clones: dict[int, Actor] = {}
        self.probe = fit_probe(self.known, task.scale, updates=4000)
        error = self.probe(self.held_out.latents) - self.held_out.known
        self.probe_error = error.unflatten(-1, (-1, 2)).norm(dim=-1).mean((0, 1)).tolist()
        generator = torch.Generator().manual_seed(2**20)
        self.chosen = draw(self.held_out, options.starts, generator)

    def imagined_reward(self, rollout: Rollout) -> Tensor:
        return self.task.reward(self.probe(rollout.latents)).mean((0, 2))

    def true_reward(self, rollout: Rollout) -> Tensor:
        return self.task.reward(self.task.known(rollout.heads["truth"])).mean((0, 2))

    def imagined_contexts(self, count: int, generator: torch.Generator, siblings: int = 1) -> State:
        return prompt(self.known, self.world, draw(self.known, count, generator, siblings=siblings))

    def real_contexts(self, count: int, generator: torch.Generator, siblings: int = 1) -> State:
        return self.real.begin(starts(self.known, draw(self.known, count, generator, siblings=siblings), self.window))

    def begin(self, seed: int) -> Actor:
        if self.options.scratch:
            return new_actor(self.known, self.task.action_spec, seed, self.options.std)
        if seed not in self._clones:
            self._clones[seed] = clone_behaviour(self.known, self.task.action_spec, seed, updates=4000, std=self.options.std)
        return copy.deepcopy(self._clones[seed])

    @torch.no_grad()
    def run(self, policy: Policy, *, imagined: bool = False) -> dict[str, list[float]]:
        """Per held-out start: mean reward over the frames, and the last distance to the goal."""
        found: dict[str, list[float]] = {"returns": [], "away": []}
        for first in range(0, len(self.chosen), self.options.batch):
            some = self.chosen[first : first + self.options.batch]
            world = self.world if imagined else self.real
            state = prompt(self.held_out, self.world, some) if imagined else self.real.begin(starts(self.held_out, some, self.window))
            rewards, where = [], torch.zeros(0)
            for _ in range(self.options.frames):
                state = world.step(state, policy(state), seed=first)
                where = self.probe(state.latent) if imagined else self.task.known(state.heads["truth"])
                rewards.append(self.task.reward(where))
            found["returns"] += torch.stack(rewards).mean(0).tolist()
            found["away"] += self.task.away(where).tolist()
        return found

    def preference(self, seed: int, steps: int, *, real: bool) -> Trained:
        o = self.options
        count, critic = max(1, steps // (o.batch * o.horizon)), CriticConfig(discount=o.discount)
        config = PreferenceConfig(critic=critic, num_rollouts=count, batch_size=o.batch, horizon=o.horizon, rate=o.rate)
        config = replace(config, prior_weight=o.prior_weight, prior_share=o.prior_share, actor_updates=o.updates, siblings=o.siblings)
        world, contexts = (self.real, self.real_contexts) if real else (self.world, self.imagined_contexts)
        objective = self.true_reward if real else self.imagined_reward
        return by_preference(world, partial(contexts, siblings=o.siblings), objective, config, seed=seed, initial=self.begin(seed))

    def gradients(self, seed: int, steps: int) -> Trained:
        o = self.options
        count, critic = max(1, steps // (o.batch * (o.horizon + o.horizon // 4))), CriticConfig(discount=o.discount)
        config = WindowConfig(critic=critic, num_updates=count, batch_size=o.batch, window=o.horizon, lead=o.horizon // 2)
        config = replace(config, rate=o.gradient_rate)
        return by_gradients(self.world, self.imagined_contexts, self.imagined_reward, config, seed=seed, initial=self.begin(seed))


STILL, SCRIPTED, REFERENCE = "standing still", "scripted, knows the truth", "preference, in the simulator"
FLOORS: dict[str, Callable[[Bench, int], Policy]] = {
    STILL: lambda bench, seed: bench.task.still,
    "random actions": lambda bench, seed: _random(bench.task.action_spec, seed),
    "where learners begin": lambda bench, seed: bench.begin(seed).eval(),
    SCRIPTED: lambda bench, seed: bench.task.scripted(),
}
LEARNERS: dict[str, Callable[[Bench, int, int], Trained]] = {
    "preference, in imagination": lambda bench, seed, steps: bench.preference(seed, steps, real=False),
    "gradients, in imagination": lambda bench, seed, steps: bench.gradients(seed, steps),
    REFERENCE: lambda bench, seed, steps: bench.preference(seed, steps, real=True),
    "preference, in imagination, 5 times the steps": lambda bench, seed, steps: bench.preference(seed, 5 * steps, real=False),
}
ONCE = (STILL, SCRIPTED)  # what no seed changes


def _random(spec: ActionSpec, seed: int) -> Policy:
    generator = torch.Generator().manual_seed(seed)
    return lambda state: spec.denormalize(2 * torch.rand(state.batch_size, spec.dim, generator=generator) - 1)


def measure(bench: Bench, name: str, seed: int) -> dict[str, Any]:
    """One line of the results: a policy is made and run."""
    began, record = time.process_time(), {"name": name, "seed": seed, "probe_error": bench.probe_error}
    if name in FLOORS:
        return record | bench.run(FLOORS[name](bench, seed))
    trained = LEARNERS[name](bench, seed, bench.options.steps)
    record |= {"steps": trained.num_frames, "seconds": time.process_time() - began, "curve": trained.imagined}
    record["dreamed"] = float(np.mean(bench.run(trained.actor, imagined=True)["returns"]))
    return record | bench.run(trained.actor)


def table(records: list[dict[str, Any]]) -> str:
    """Means with 95 % bootstrap intervals; see the top of the file."""
    names = [name for name in (*FLOORS, *LEARNERS) if any(record["name"] == name for record in records)]
    found = {name: np.array([record["returns"] for record in records if record["name"] == name]) for name in names}
    still, best = found.get(STILL), found.get(REFERENCE)
    generator = np.random.default_rng(0)
    lines = ["| policy | seeds | steps | s | return | share | share of gain | last distance | dreamed |", "|" + "---|" * 9]

    def interval(values: list[float]) -> str:
        low, high = np.quantile(values, [0.025, 0.975])
        return f"{low:.2f} to {high:.2f}"

    for name in names:
        mine = [record for record in records if record["name"] == name]
        returns = found[name]
        draws: dict[str, list[float]] = {"return": [], "share": [], "gain": []}
        for _ in range(2000):
            rows = generator.integers(returns.shape[1], size=returns.shape[1])

            def mean(values: np.ndarray, rows: np.ndarray = rows) -> float:
                return float(values[generator.integers(len(values), size=len(values))][:, rows].mean())

            draws["return"].append(mean(returns))
            if still is not None and best is not None:
                floor, reference = still[:, rows].mean(), mean(best)
                draws["share"].append(draws["return"][-1] / reference)
                draws["gain"].append((draws["return"][-1] - floor) / (reference - floor))
        cells = [name, str(len(mine)), f"{mine[0].get('steps', 0):,}", f"{np.mean([r.get('seconds', 0) for r in mine]):.0f}"]
        cells.append(f"{returns.mean():.3f} ({interval(draws['return'])})")
        if still is None or best is None:
            cells += ["", ""]
        else:
            gain = (returns.mean() - still.mean()) / (best.mean() - still.mean())
            learned = best.mean() > still.mean()  # else there is no gain to have a share of
            cells.append(f"{returns.mean() / best.mean():.2f} ({interval(draws['share'])})")
            cells.append(f"{gain:.2f} ({interval(draws['gain'])})" if learned else "no gain")
        cells.append(f"{np.mean([record['away'] for record in mine]):.3g}")
        cells.append(f"{np.mean([record['dreamed'] for record in mine]):.3f}" if "dreamed" in mine[0] else "")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", default="push", choices=("push", "reacher"))
    parser.add_argument("--data", type=Path, help="of push: folder with the stores `train` and `val`")
    parser.add_argument("--out", type=Path, required=True, help="folder for the results")
    parser.add_argument(
        "--world", default="push", help="a learned world: a folder of it or of its run, or the name of one that comes with the package"
    )
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1])
    parser.add_argument("--steps", type=int, default=20000, help="imagined or real frames per learner")
    parser.add_argument("--episodes", type=int, default=600, help="training episodes that contexts, probe and clone are made of")
    parser.add_argument("--held-out", type=int, default=40, help="episodes that policies are run from")
    parser.add_argument("--starts", type=int, default=64, help="held-out starts that every policy is run from")
    parser.add_argument("--frames", type=int, default=16, help="frames per run")
    parser.add_argument("--batch", type=int, default=32, help="rollouts side by side")
    parser.add_argument("--horizon", type=int, default=10, help="frames of a rollout, and of a window")
    parser.add_argument("--std", type=float, default=0.15, help="of actions at the start, in units of half their bounds")
    parser.add_argument("--rate", type=float, default=1e-3, help="learning rate by preference")
    parser.add_argument("--gradient-rate", type=float, default=1e-3, help="learning rate by gradients")
    parser.add_argument("--prior-weight", type=float, default=0.3)
    parser.add_argument("--prior-share", type=float, default=0.1)
    parser.add_argument("--siblings", type=int, default=8, help="rollouts by preference that begin alike")
    parser.add_argument("--updates", type=int, default=8, help="of the actor per batch of rollouts")
    parser.add_argument("--discount", type=float, default=0.9)
    parser.add_argument("--scratch", action="store_true", help="begin from nothing rather than from the clone")
    parser.add_argument("--dev", action="store_true", help="run from other training episodes, for choosing settings")
    parser.add_argument("--only", nargs="+", help="names of policies to make; all of them by default")
    parser.add_argument("--table", action="store_true", help="print the table of what is there, and make nothing")
    options = parser.parse_args()
    if options.task == "push" and options.data is None:
        parser.error("the task push needs --data")
    return options


def same_settings(options: argparse.Namespace) -> None:
    """Results of other settings do not go on from these: ValueError."""
    path, free = options.out / "settings.json", ("out", "only", "table", "seeds")
    settings = {name: str(value) for name, value in vars(options).items() if name not in free}
    if path.exists() and json.loads(path.read_text()) != settings:
        raise ValueError(f"{options.out} holds results of other settings ({path}); give another --out, or those settings")
    path.write_text(json.dumps(settings, indent=1) + "\n")


def main() -> None:
    options = parse()
    torch.set_num_threads(1)
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / "results.jsonl"
    records = [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
    if not options.table:
        same_settings(options)
        bench = Bench(options)
        errors = zip(bench.task.names, bench.probe_error, strict=True)
        print("probe:", ", ".join(f"{name} {error:.3g} off" for name, error in errors), flush=True)
        for seed in options.seeds:
            for name in options.only or (*FLOORS, *LEARNERS):
                made = any((record["name"], record["seed"]) == (name, seed) for record in records)
                if made or (name in ONCE and seed != options.seeds[0]):
                    continue
                records.append(measure(bench, name, seed))
                with path.open("a") as file:
                    file.write(json.dumps(records[-1]) + "\n")
                print(f"{name}, seed {seed}: {np.mean(records[-1]['returns']):.3f}", flush=True)
    print(table(records))


if __name__ == "__main__":
    main()
