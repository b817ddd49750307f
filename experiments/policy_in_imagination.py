"""Is a policy that was trained in imagination only worth as much in the real simulator as one that was trained there?

    python experiments/policy_in_imagination.py --task reacher --world runs/reacher --see readings --clone shown --out runs/reach
    python experiments/policy_in_imagination.py --task push --see readings --clone shown --out runs/policies     # the bundled Push-T world

A reacher world is one of the zoo's domain (`worldline train zoo --only reacher`); needs `pip install "worldline[sim-mujoco]"`, and push
`pip install "worldline[pusht]"`. Recordings are filmed first, and kept in OUT/films or --films.

Rewards are dense (`policy_tasks.py`), since the tasks' own are zero nearly everywhere at this number of steps. In the simulator they are
computed from the true state, in imagination by a probe of latents, fitted on the same training recordings. Everything else is the same on
both sides: learner, network, observations (the world's latents; the simulator's pictures are encoded), real contexts from recorded training
episodes (simulators are set to their states), steps, seeds. Learners start from the same clone of the recorded behaviour (--clone shown: of
the episodes that show the task; --scratch: from nothing).

One frame's latents hold no speed, and a thousand numbers are much to learn from: with --see readings the policy sees what the probe reads
off the last two frames (points in the picture), on both sides; with --see frames their latents.

Every policy is then run in the real simulator from the same starts out of held-out episodes: --frames frames, its mean acting. The last
weights are run; nothing is selected, by imagined return least of all. `share` is the return over that of the learner in the simulator,
`share of gain` the same after subtracting what standing still earns from the same starts, and `of what is learned` after subtracting what
the clone earns, which is the hardest figure. Intervals are 95 % bootstraps over starts and seeds.

Writes OUT/results.jsonl policy by policy: the same command goes on where it was broken off, `--table` only prints. What was trained is in
OUT/actors, one file each (`worldline.control.actor.load_actor`).
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
from policy_readings import PROMPT, clone_behaviour, fit_probe, imagine_recorded, new_actor, views
from policy_tasks import PushTask, ReacherTask, Recordings, Task
from torch import Tensor

from worldline.control.actor import Actor, CriticConfig, PreferenceConfig, RecentFrames, Trained, WindowConfig, save_actor
from worldline.control.actor import train_by_gradients as by_gradients
from worldline.control.actor import train_by_preference as by_preference
from worldline.envs.seen_world import SeenWorld, Start
from worldline.interfaces import ActionSpec, Policy, Rollout, State
from worldline.world import World


def draw(known: Recordings, count: int, generator: torch.Generator, *, siblings: int = 1) -> list[tuple[int, int]]:
    """Episode and frame, each alike probable, with a prompt before it; each as often as there are siblings, one after another."""
    episodes = torch.randint(len(known.latents), (count // siblings,), generator=generator)
    frames = torch.randint(PROMPT - 1, known.latents.shape[1], (count // siblings,), generator=generator)
    return [place for place in zip(episodes.tolist(), frames.tolist(), strict=True) for _ in range(siblings)]


def prompt(known: Recordings, world: World, chosen: list[tuple[int, int]]) -> State:
    latents = torch.stack([known.latents[e, t - PROMPT + 1 : t + 1] for e, t in chosen])
    return world.prompt_latents(latents, torch.stack([known.actions[e, t - PROMPT + 1 : t] for e, t in chosen]))


def starts(known: Recordings, chosen: list[tuple[int, int]], window: int) -> list[Start]:
    return [Start(place=known.places[e][t], frames=known.frames[e, t - window + 1 : t + 1].float() / 255) for e, t in chosen]


class Bench:
    """Everything that all policies share: the learned world, the simulators, the recordings, the probe."""

    def __init__(self, options: argparse.Namespace) -> None:
        self.options = options
        folder = Path(options.world) / "world"
        world = World.load(folder if folder.is_dir() else options.world).requires_grad_(False)
        if world.config.action_spaces and world.config.action_spec is None:
            world = world.with_action_space(options.task)
        self.learned, self.reads, self.frames = world, options.see == "readings", 1 if options.see == "frame" else 2
        films = options.films or options.out / "films"
        task: Task = PushTask(films, world) if options.task == "push" else ReacherTask(films, world, elbow=self.reads)
        self.task = task
        self.known = task.recordings(world, options.episodes, held_out=False)
        first = options.episodes if options.dev else 0
        self.held_out = task.recordings(world, options.held_out, held_out=not options.dev, first=first)
        self._fit_probe()
        read = self._read if self.reads else None
        self.window = world.config.tokenizer.window
        simulators = SeenWorld(task.scenes(options.batch), world.tokenizer.encode, action_spec=task.action_spec, window=self.window)
        self.simulators = simulators
        self.world, self.real = (RecentFrames(one, frames=self.frames, read=read) for one in (world, simulators))
        self.views = views(self.known.latents, read, self.frames)
        self._clones: dict[int, Actor] = {}
        self.chosen = draw(self.held_out, options.starts, torch.Generator().manual_seed(2**20))

    def _fit_probe(self) -> None:
        """And how far it is off, in recordings and frame by frame in what the world imagines under recorded actions."""
        frames = min(8, self.known.latents.shape[1] - PROMPT)
        dreams = imagine_recorded(self.known, self.learned, frames) if self.options.probe_dreams else None
        extra = (dreams[0].flatten(0, 1), dreams[1].flatten(0, 1)) if dreams else None
        self.probe = fit_probe(
            self.known, self.task.scale, updates=self.options.fits, points=self.task.up if self.reads else 0, extra=extra
        )

        def error(latents: Tensor, truth: Tensor) -> Tensor:
            return (self.probe(latents) - truth).unflatten(-1, (-1, 2)).norm(dim=-1).mean(0)  # (T, K / 2)

        self.probe_error = error(self.held_out.latents, self.held_out.known).mean(0).tolist()
        self.dreamed_error = error(*imagine_recorded(self.held_out, self.learned, frames)).tolist()

    def _read(self, latents: Tensor) -> Tensor:
        """One token of what the probe reads, (..., 1, K)."""
        return self.probe(latents).unsqueeze(-2)

    def places(self, latents: Tensor) -> Tensor:
        """What the reward is computed from, (..., K), by latents of `world`."""
        newest = self.world.newest(latents)
        return newest.squeeze(-2) if self.reads else self.probe(newest)

    def imagined_reward(self, rollout: Rollout) -> Tensor:
        return self.task.reward(self.places(rollout.latents)).mean((0, 2))

    def true_reward(self, rollout: Rollout) -> Tensor:
        return self.task.reward(self.task.known(rollout.heads["truth"])).mean((0, 2))

    def context(self, known: Recordings, chosen: list[tuple[int, int]], *, real: bool) -> State:
        before = torch.stack([known.latents[e, t - self.frames + 1 : t] for e, t in chosen])
        if real:
            return self.real.begin(self.simulators.begin(starts(known, chosen, self.window)), before)
        return self.world.begin(prompt(known, self.learned, chosen), before)

    def contexts(self, count: int, generator: torch.Generator, *, siblings: int, real: bool) -> State:
        return self.context(self.known, draw(self.known, count, generator, siblings=siblings), real=real)

    def begin(self, seed: int) -> Actor:
        if seed not in self._clones:
            actor = new_actor(self.views, self.task.action_spec, seed, self.options.std)
            shown = self.known.shown if self.options.clone == "shown" else torch.ones_like(self.known.shown)
            if not self.options.scratch:
                seen, done = self.views[shown, :-1], self.known.actions[shown, self.frames - 1 : -1]
                clone_behaviour(seen, done, actor, seed, updates=self.options.fits, relative=self.reads)
            self._clones[seed] = actor
        return copy.deepcopy(self._clones[seed])

    @torch.no_grad()
    def run(self, policy: Policy, *, imagined: bool = False) -> dict[str, list[float]]:
        """Per held-out start: mean reward over the frames, and the last distance to the goal."""
        found: dict[str, list[float]] = {"returns": [], "away": []}
        for first in range(0, len(self.chosen), self.options.batch):
            some = self.chosen[first : first + self.options.batch]
            world, state = self.world if imagined else self.real, self.context(self.held_out, some, real=not imagined)
            rewards, where = [], torch.zeros(0)
            for _ in range(self.options.frames):
                state = world.step(state, policy(state), seed=first)
                where = self.places(state.latent) if imagined else self.task.known(state.heads["truth"])
                rewards.append(self.task.reward(where))
            found["returns"] += torch.stack(rewards).mean(0).tolist()
            found["away"] += self.task.away(where).tolist()
        return found

    def preference(self, seed: int, steps: int, *, real: bool) -> Trained:
        o = self.options
        count, critic = max(1, steps // (o.batch * o.horizon)), CriticConfig(discount=o.discount)
        config = PreferenceConfig(critic=critic, num_rollouts=count, batch_size=o.batch, horizon=o.horizon, rate=o.rate)
        config = replace(config, prior_weight=o.prior_weight, prior_share=o.prior_share, actor_updates=o.updates, siblings=o.siblings)
        world, objective = (self.real, self.true_reward) if real else (self.world, self.imagined_reward)
        contexts = partial(self.contexts, siblings=o.siblings, real=real)
        return by_preference(world, contexts, objective, config, seed=seed, initial=self.begin(seed))

    def gradients(self, seed: int, steps: int) -> Trained:
        o = self.options
        count, critic = max(1, steps // (o.batch * (o.horizon + o.horizon // 4))), CriticConfig(discount=o.discount)
        config = WindowConfig(critic=critic, num_updates=count, batch_size=o.batch, window=o.horizon, lead=o.horizon // 2)
        config = replace(config, rate=o.gradient_rate)
        contexts = partial(self.contexts, siblings=1, real=False)
        return by_gradients(self.world, contexts, self.imagined_reward, config, seed=seed, initial=self.begin(seed))


STILL, SCRIPTED, BEGIN, REFERENCE = "standing still", "scripted, knows the truth", "where learners begin", "preference, in the simulator"
FLOORS: dict[str, Callable[[Bench, int], Policy]] = {
    STILL: lambda bench, seed: bench.task.still,
    "random actions": lambda bench, seed: _random(bench.task.action_spec, seed),
    BEGIN: lambda bench, seed: bench.begin(seed).eval(),
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
    record: dict[str, Any] = {"name": name, "seed": seed, "probe_error": bench.probe_error, "dreamed_error": bench.dreamed_error}
    began = time.process_time()
    if name in FLOORS:
        return record | bench.run(FLOORS[name](bench, seed))
    trained = LEARNERS[name](bench, seed, bench.options.steps)
    save_actor(trained.actor, bench.options.out / "actors" / f"{name.replace(', ', '_').replace(' ', '_')}_{seed}.safetensors")
    record |= {"steps": trained.num_frames, "seconds": time.process_time() - began, "curve": trained.imagined}
    record["dreamed"] = float(np.mean(bench.run(trained.actor, imagined=True)["returns"]))
    return record | bench.run(trained.actor)


def table(records: list[dict[str, Any]]) -> str:
    """Means with 95 % bootstrap intervals; see the top of the file."""
    names = [name for name in (*FLOORS, *LEARNERS) if any(record["name"] == name for record in records)]
    found = {name: np.array([record["returns"] for record in records if record["name"] == name]) for name in names}
    # A share is taken of the reference's return over a floor: over zero, over standing still, over what learners begin with.
    floors = [np.zeros((1, len(records[0]["returns"]))) if records else None, found.get(STILL), found.get(BEGIN)]
    best, generator = found.get(REFERENCE), np.random.default_rng(0)
    lines = [
        "| policy | seeds | steps | s | return | share | share of gain | of what is learned | last distance | dreamed |",
        "|" + "---|" * 10,
    ]

    def interval(values: list[float]) -> str:
        low, high = np.quantile(values, [0.025, 0.975])
        return f"{low:.2f} to {high:.2f}"

    for name in names:
        mine = [record for record in records if record["name"] == name]
        returns = found[name]
        draws: list[list[float]] = [[], [], [], []]
        for _ in range(2000):
            rows = generator.integers(returns.shape[1], size=returns.shape[1])

            def mean(values: np.ndarray, rows: np.ndarray = rows) -> float:
                return float(values[generator.integers(len(values), size=len(values))][:, rows].mean())

            draws[-1].append(mean(returns))
            for floor, shares in zip(floors, draws, strict=False):
                if floor is not None and best is not None:
                    least = mean(floor)
                    shares.append((draws[-1][-1] - least) / (mean(best) - least))
        cells = [name, str(len(mine)), f"{mine[0].get('steps', 0):,}", f"{np.mean([r.get('seconds', 0) for r in mine]):.0f}"]
        cells.append(f"{returns.mean():.3f} ({interval(draws[-1])})")
        for floor, shares in zip(floors, draws, strict=False):
            if floor is None or best is None:
                cells.append("")
            elif best.mean() <= floor.mean():  # then there is nothing to have a share of
                cells.append("no gain")
            else:
                cells.append(f"{(returns.mean() - floor.mean()) / (best.mean() - floor.mean()):.2f} ({interval(shares)})")
        cells.append(f"{np.mean([record['away'] for record in mine]):.3g}")
        cells.append(f"{np.mean([record['dreamed'] for record in mine]):.3f}" if "dreamed" in mine[0] else "")
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--task", default="push", choices=("push", "reacher"))
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
    parser.add_argument(
        "--see", default="frame", choices=("frame", "frames", "readings"), help="latents of one frame, of two, or what is read off two"
    )
    parser.add_argument("--clone", default="all", choices=("all", "shown"), help="of all recordings, or those that show the task")
    parser.add_argument("--probe-dreams", action="store_true", help="fit the probe on imagined latents whose truth is known, too")
    parser.add_argument("--fits", type=int, default=4000, help="updates of the probe, and of the clone")
    parser.add_argument("--films", type=Path, help="folder that keeps what was filmed, for the next time")
    parser.add_argument("--scratch", action="store_true", help="begin from nothing rather than from the clone")
    parser.add_argument("--dev", action="store_true", help="run from other training episodes, for choosing settings")
    parser.add_argument("--only", nargs="+", help="names of policies to make; all of them by default")
    parser.add_argument("--table", action="store_true", help="print the table of what is there, and make nothing")
    return parser.parse_args()


def same_settings(options: argparse.Namespace) -> None:
    """Results of other settings do not go on from these: ValueError."""
    path, free = options.out / "settings.json", ("out", "only", "table", "seeds", "films")
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
        for frame, row in enumerate(bench.dreamed_error, 1):
            print(f"  imagined frame {frame}:", ", ".join(f"{error:.3g}" for error in row), flush=True)
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
