"""How fast: matrix peak of this machine, latency of a step, throughput of training, each a share of that peak.

Figures are medians over repetitions on the threads that torch was given; run them on an idle machine (`OMP_NUM_THREADS=1` for one core).
Floating-point operations are counted by torch, not estimated. Randomly initialised networks cost what trained ones cost.

May import: world, dynamics, tokenizer, train, interfaces. Refuses to know: quality.
"""

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from worldline.dynamics import Dynamics, ShortcutConfig, ShortcutObjective, Size, dynamics_config
from worldline.interfaces import ActionSpec, Batch, State
from worldline.scale import tune_allocator
from worldline.tokenizer import TokenizerConfig
from worldline.train.optimizers import build_optimizers
from worldline.world import World, WorldConfig

_SPEC = ActionSpec(low=(-1.0, -1.0), high=(1.0, 1.0))


def matrix_peak(dtype: torch.dtype, *, sizes: tuple[int, ...] = (256, 384, 512), repetitions: int = 15) -> float:
    """Best floating-point operations per second of square matrix products, (n, n) @ (n, n)."""
    best = 0.0
    for size in sizes:
        left, right = torch.randn(size, size, dtype=dtype), torch.randn(size, size, dtype=dtype)
        calls = max(1, 2**28 // size**3)

        def product(left: torch.Tensor = left, right: torch.Tensor = right, calls: int = calls) -> None:
            for _ in range(calls):
                left @ right

        seconds = min(timings(product, repetitions)) / calls
        best = max(best, 2 * size**3 / seconds)
    return best


def bench_step(*, size: Size = "tiny", prompt_frames: int = 15, repetitions: int = 30, candidates: int = 256) -> dict[str, Any]:
    """Latency of `World.step` with a full context: K = 4 and K = 1, batch 1, and per candidate at a large batch.

    Steps are timed in a chain, each from the state that the last one returned, so that everything a frame costs is paid for, its writing
    into the cache included. Decoding to pixels and the heads' readings are listed apart.
    """
    figures: dict[str, Any] = {"size": size, "threads": torch.get_num_threads(), "prompt frames": prompt_frames}
    for name, dtype in (("float32", torch.float32), ("bfloat16", torch.bfloat16)):
        world = random_world(size).to(dtype)
        figures["tokens per frame"] = world.noise_shape[0]
        with torch.inference_mode():
            latents = torch.randn(1, prompt_frames, *world.noise_shape, dtype=dtype)
            state = world.prompt_latents(latents, torch.zeros(1, prompt_frames - 1, _SPEC.dim, dtype=dtype))
            many = world.fork(state, candidates)
            for num_steps in (4, 1):
                stepped = world.with_sampling(num_steps)
                seconds = statistics.median(timings(chain(stepped, state), repetitions))
                figures[f"frames per second, K = {num_steps}, {name}"] = 1 / seconds
                seconds = statistics.median(timings(chain(stepped, many), 3))
                figures[f"ms per candidate, K = {num_steps}, batch {candidates}, {name}"] = seconds / candidates * 1e3
            seconds = statistics.median(timings(lambda w=world, s=state: w.decode(s), repetitions))
            figures[f"ms to decode a frame, {name}"] = seconds * 1e3
            unread = iter([world.step(state, _still(state), seed=index) for index in range(repetitions + 1)])  # a reading is remembered
            seconds = statistics.median(timings(lambda states=unread: next(states).heads["reward"], repetitions))
            figures[f"ms to read the heads, {name}"] = seconds * 1e3
    return figures


def bench_train(
    *, size: Size = "tiny", batch_size: int = 32, num_frames: int = 16, repetitions: int = 8, muon: bool = True
) -> dict[str, Any]:
    """Throughput of whole training steps of the dynamics (loss, backward, optimiser), as a share of the matrix peak in the same run."""
    tune_allocator()
    torch.manual_seed(0)
    world = random_world(size)
    objective = ShortcutObjective(Dynamics(world.config.dynamics), ShortcutConfig(self_after=10**9), _SPEC).train()
    batch = Batch(latents=torch.randn(batch_size, num_frames, *world.noise_shape), actions=torch.rand(batch_size, num_frames, 2) * 2 - 1)
    optimizers = build_optimizers(objective, learning_rate=1e-4, muon_learning_rate=1e-4 if muon else None, weight_decay=0.01)

    def backward() -> None:
        with torch.autocast("cpu", torch.bfloat16):
            terms = objective.loss(batch)
        torch.stack(list(terms.values())).sum().backward()

    def step() -> None:
        backward()
        torch.nn.utils.clip_grad_norm_(objective.parameters(), 1.0)
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()

    with FlopCounterMode(display=False) as counter:
        backward()
    step()
    peak = matrix_peak(torch.bfloat16)
    seconds = statistics.median(timings(step, repetitions))
    peak = max(peak, matrix_peak(torch.bfloat16))
    flops = counter.get_total_flops()
    return {
        "size": size,
        "parameters": sum(parameter.numel() for parameter in objective.parameters()),
        "threads": torch.get_num_threads(),
        "batch": f"{batch_size} x {num_frames} frames x {world.noise_shape[0]} tokens",
        "optimizer": "Muon and AdamW" if muon else "AdamW",
        "seconds per step": seconds,
        "frames per second": batch_size * num_frames / seconds,
        "GFLOP per frame": flops / batch_size / num_frames / 1e9,
        "GFLOP/s": flops / seconds / 1e9,
        "bf16 matrix peak, GFLOP/s": peak / 1e9,
        "share of the bf16 matrix peak": flops / seconds / peak,
    }


def random_world(size: Size) -> World:
    """A world of random weights for 64-pixel frames: 16 tokens per frame, two actions in [-1, 1]."""
    torch.manual_seed(0)
    tokenizer = TokenizerConfig(image_size=64, grid=4, latent_dim=32, width=128)
    dynamics = dynamics_config(size, num_tokens=tokenizer.num_tokens, latent_dim=tokenizer.latent_dim, action_dim=_SPEC.dim)
    return World(WorldConfig(tokenizer=tokenizer, dynamics=dynamics, action_spec=_SPEC))


def chain(world: World, state: State) -> Callable[[], None]:
    """A call that goes on by one frame from where it left off."""
    newest = state

    def step() -> None:
        nonlocal newest
        newest = world.step(newest, _still(newest), seed=0)

    return step


def _still(state: State) -> torch.Tensor:
    return state.latent.new_zeros(state.batch_size, _SPEC.dim)


def timings(call: Callable[[], Any], repetitions: int) -> list[float]:
    """Seconds of each of some calls, after one that is not timed."""
    call()
    seconds = []
    for _ in range(repetitions):
        began = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - began)
    return seconds
