"""How fast: matrix peak of this machine, latency of a step, throughput of training, each a share of that peak.

Figures are medians over repetitions on the threads that torch was given; run them on an idle machine (`OMP_NUM_THREADS=1` for one core).
On a GPU every clock waits for it. Floating-point operations are counted by torch, not estimated. Randomly initialised networks cost what
trained ones cost.

May import: eval.bench_gpu, world, dynamics, tokenizer, train, interfaces. Refuses to know: quality.
"""

import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from worldline.dynamics import Dynamics, ShortcutConfig, ShortcutObjective, Size, advance, dynamics_config
from worldline.eval.bench_gpu import captured, compile_in_place, kernel_figures, kernels, laps, synchronise, timings, why
from worldline.interfaces import ActionSpec, Batch, State
from worldline.scale import fast_bfloat16, tune_allocator
from worldline.tokenizer import TokenizerConfig
from worldline.train.optimizers import build_optimizers
from worldline.world import World, WorldConfig

_SPEC = ActionSpec(low=(-1.0, -1.0), high=(1.0, 1.0))
_PROFILED_STEPS = 3


def matrix_peak(
    dtype: torch.dtype, *, sizes: tuple[int, ...] | None = None, repetitions: int = 15, device: torch.device | str = "cpu"
) -> float:
    """Best floating-point operations per second of square matrix products of random numbers, (n, n) @ (n, n).

    Sizes are such that a processor's caches hold them, or that a GPU is full. A GPU first works for half a second, to be at its clock.
    """
    on_gpu = torch.device(device).type == "cuda"
    best = 0.0
    for size in sizes or ((4096, 8192) if on_gpu else (256, 384, 512)):
        left, right = (torch.randn(size, size, dtype=dtype, device=device) for _ in range(2))
        calls = max(1, (2**42 if on_gpu else 2**28) // size**3)

        def product(left: torch.Tensor = left, right: torch.Tensor = right, calls: int = calls) -> None:
            for _ in range(calls):
                left @ right

        began = time.perf_counter()
        while on_gpu and time.perf_counter() - began < 0.5:
            product()
            synchronise(device)
        seconds = min(timings(product, repetitions, device)) / calls
        best = max(best, 2 * size**3 / seconds)
    return best


def bench_step(
    *,
    size: Size = "tiny",
    prompt_frames: int = 15,
    repetitions: int = 30,
    candidates: tuple[int, ...] | None = None,
    device: torch.device | str = "cpu",
) -> dict[str, Any]:
    """Latency of `World.step` with a full context: K = 4 and K = 1, batch 1, and per candidate at large batches.

    Steps are timed in a chain, each from the state that the last one returned, so that everything a frame costs is paid for, its writing
    into the cache included. Decoding to pixels and the heads' readings are listed apart.

    On a GPU also the same step with neither checks nor numbers that come from the processor, as it is and as one CUDA graph.

    Args:
        size: of the network.
        prompt_frames: frames of the past.
        repetitions: of what is timed at batch 1.
        candidates: large batches; 256 if not given, on a GPU 4096 as well.
        device: where the world is.
    """
    on_gpu = torch.device(device).type == "cuda"
    candidates = candidates or ((256, 4096) if on_gpu else (256,))
    figures: dict[str, Any] = {"size": size, **_machine(device), "prompt frames": prompt_frames}
    graphs: list[Callable[[], dict[str, Any]]] = []
    for name, dtype in (("float32", torch.float32), ("bfloat16", torch.bfloat16)):
        world = random_world(size).to(device, dtype)
        figures["tokens per frame"] = world.noise_shape[0]
        with torch.inference_mode():
            latents = torch.randn(1, prompt_frames, *world.noise_shape, dtype=dtype, device=device)
            state = world.prompt_latents(latents, torch.zeros(1, prompt_frames - 1, _SPEC.dim, dtype=dtype, device=device))
            for num_steps in (4, 1):
                stepped = world.with_sampling(num_steps)
                seconds = statistics.median(timings(chain(stepped, state), repetitions, device))
                figures[f"frames per second, K = {num_steps}, {name}"] = 1 / seconds
                for count in candidates:
                    key = f"ms per candidate, K = {num_steps}, batch {count}, {name}"
                    figures[key] = _milliseconds_per_candidate(stepped, world.fork(state, count), device)
            seconds = statistics.median(timings(lambda w=world, s=state: w.decode(s), repetitions, device))
            figures[f"ms to decode a frame, {name}"] = seconds * 1e3
            unread = iter([world.step(state, _still(state), seed=index) for index in range(repetitions + 1)])  # a reading is remembered
            seconds = statistics.median(timings(lambda states=unread: next(states).heads["reward"], repetitions, device))
            figures[f"ms to read the heads, {name}"] = seconds * 1e3
        graphs.append(lambda w=world, s=state, n=name: graph_figures(w, s, n, candidates=candidates, repetitions=repetitions))
    for measure in graphs if on_gpu else ():  # last: a capture that fails may leave torch's allocator in disorder
        figures |= measure()
    return figures


def graph_figures(world: World, state: State, name: str, *, candidates: tuple[int, ...], repetitions: int) -> dict[str, Any]:
    """Milliseconds of one step, K = 1, from a fixed state, action and noise on the world's device: as it is, and as one CUDA graph.

    What cannot be captured is listed with the reason. The graph's frame is compared with the other one.

    Args:
        world: the network.
        state: batch 1.
        name: of the numbers' type, for the names of the figures.
        candidates: batches beside 1.
        repetitions: of each.
    """
    figures: dict[str, Any] = {}
    sampler, like = world.with_sampling(1).sampler, state.latent
    for count in (1, *candidates):
        key = f"K = 1, batch {count}, {name}"
        with torch.inference_mode():
            start = world.fork(state, count)
            noise = torch.randn(count, *world.noise_shape, dtype=like.dtype, device=like.device)
            action = like.new_zeros(count, world.config.dynamics.action_dim)

            def step(start: State = start, noise: torch.Tensor = noise, action: torch.Tensor = action) -> torch.Tensor:
                return advance(world.dynamics, sampler, start, action, noise).latent

            try:
                figures[f"ms of a step without checks, {key}"] = statistics.median(timings(step, repetitions, like.device)) * 1e3
                replay, frame = captured(step)
                figures[f"ms of a step as a CUDA graph, {key}"] = statistics.median(timings(replay, repetitions, like.device)) * 1e3
                difference = (frame.float() - step().float()).abs().max()
                figures[f"largest difference of the graph's frame, {key}"] = float(difference)
            except Exception as error:  # a figure that is missing must not cost the others
                figures[f"ms of a step as a CUDA graph, {key}"] = why(error)
    return figures


def bench_train(
    *,
    size: Size = "tiny",
    batch_size: int | None = None,
    num_frames: int = 16,
    repetitions: int | None = None,
    muon: bool = True,
    device: torch.device | str = "cpu",
    compile_modes: tuple[str, ...] | None = None,
    profiled: bool | None = None,
) -> dict[str, Any]:
    """Throughput of whole training steps of the dynamics (loss, backward, optimiser), as a share of the matrix peak in the same run.

    Args:
        size: of the network.
        batch_size: windows per step; 32 if not given, 256 on a GPU.
        num_frames: per window.
        repetitions: steps that are timed; 8 if not given, 20 on a GPU.
        muon: for the hidden matrices, or AdamW for all.
        device: where to train.
        compile_modes: of `torch.compile`, each timed beside the network as it is; if not given, on a GPU "default", else none.
        profiled: also list what the time goes to, part by part and kernel by kernel; if not given, on a GPU only.

    Raises:
        ValueError: if the batch does not fit into the GPU's memory.
    """
    on_gpu = torch.device(device).type == "cuda"
    tune_allocator()
    batch_size = batch_size or (256 if on_gpu else 32)
    repetitions = repetitions or (20 if on_gpu else 8)
    compile_modes = (("default",) if on_gpu else ()) if compile_modes is None else compile_modes
    profiled = on_gpu if profiled is None else profiled
    training = _Training(size, batch_size, num_frames, muon=muon, device=device)
    try:
        with FlopCounterMode(display=False) as counter:
            training.learn()
        training.step()
        quick = fast_bfloat16(device)
        kind, dtype = ("bf16", torch.bfloat16) if quick else ("float32", torch.float32)
        peak = matrix_peak(dtype, device=device)
        seconds = training.seconds(repetitions)
    except torch.OutOfMemoryError as error:
        raise ValueError(
            f"a step on {batch_size} windows of {num_frames} frames does not fit into the GPU; give a smaller --batch"
        ) from error
    peak = max(peak, matrix_peak(dtype, device=device))
    flops = counter.get_total_flops()
    figures: dict[str, Any] = {
        "size": size,
        "parameters": sum(parameter.numel() for parameter in training.objective.parameters()),
        **_machine(device),
        "batch": f"{batch_size} x {num_frames} frames x {training.num_tokens} tokens",
        "optimizer": "Muon and AdamW" if muon else "AdamW",
        **_speed(seconds, batch_size * num_frames, flops),
        f"{kind} matrix peak, GFLOP/s": peak / 1e9,
        f"share of the {kind} matrix peak": flops / seconds / peak,
    }
    if on_gpu:
        figures["most GPU memory, GB"] = torch.cuda.max_memory_allocated(device) / 1e9
    if profiled:
        figures |= training.breakdown(seconds, repetitions)
    del training
    for mode in compile_modes:
        try:
            compiled = _Training(size, batch_size, num_frames, muon=muon, device=device)
            found = {"seconds of the first step": compiled.compile(mode)}
            seconds = compiled.seconds(repetitions)
            found |= {**_speed(seconds, batch_size * num_frames, flops), f"share of the {kind} matrix peak": flops / seconds / peak}
            found |= compiled.breakdown(seconds, repetitions) if profiled else {}
            figures |= {f"compiled ({mode}): {name}": value for name, value in found.items()}
        except Exception as error:  # compilers fail in many ways, and the figures above are good without
            figures[f"compiled ({mode})"] = why(error)
    return figures


class _Training:
    """Training steps of a dynamics network of random weights on one random batch, in parts."""

    def __init__(self, size: Size, batch_size: int, num_frames: int, *, muon: bool, device: torch.device | str) -> None:
        self.device = torch.device(device)
        torch.manual_seed(0)
        config = random_world(size).config.dynamics
        self.num_tokens = config.num_tokens
        self.objective = ShortcutObjective(Dynamics(config), ShortcutConfig(self_after=10**9), _SPEC).to(self.device).train()
        self.batch = Batch(
            latents=torch.randn(batch_size, num_frames, config.num_tokens, config.latent_dim, device=self.device),
            actions=torch.rand(batch_size, num_frames, _SPEC.dim, device=self.device) * 2 - 1,
        )
        rate = 1e-4
        self.optimizers = build_optimizers(self.objective, learning_rate=rate, muon_learning_rate=rate if muon else None, weight_decay=0.01)
        self.total = torch.zeros((), device=self.device)

    def compile(self, mode: str) -> float:
        """Have the network compiled; returns the seconds of the first step, which does it."""
        compile_in_place(self.objective.dynamics, mode)
        began = time.perf_counter()
        self.step()
        synchronise(self.device)
        return time.perf_counter() - began

    def forward(self) -> None:
        with torch.autocast(self.device.type, torch.bfloat16, enabled=fast_bfloat16(self.device)):
            terms = self.objective.loss(self.batch)
        self.total = torch.stack(list(terms.values())).sum()

    def backward(self) -> None:
        self.total.backward()

    def learn(self) -> None:
        self.forward()
        self.backward()

    def clip(self) -> None:
        torch.nn.utils.clip_grad_norm_(self.objective.parameters(), 1.0)

    def forget(self) -> None:
        for optimizer in self.optimizers:
            optimizer.zero_grad()

    def step(self) -> None:
        self.learn()
        self.clip()
        for optimizer in self.optimizers:
            optimizer.step()
        self.forget()

    def seconds(self, repetitions: int) -> float:
        """Median seconds of a step."""
        return statistics.median(timings(self.step, repetitions, self.device))

    def breakdown(self, seconds_per_step: float, repetitions: int) -> dict[str, Any]:
        """Milliseconds of the parts of a step, and what its kernels do; with the reason if the profiler fails."""
        parts: dict[str, Callable[[], Any]] = {"loss": self.forward, "gradient": self.backward, "clipping": self.clip}
        parts |= {type(optimizer).__name__.removeprefix("Float32"): optimizer.step for optimizer in self.optimizers}
        found = laps(parts | {"forgetting gradients": self.forget}, repetitions, self.device)
        figures: dict[str, Any] = {f"ms of a step: {name}": seconds * 1e3 for name, seconds in found.items()}

        def learn() -> None:
            self.forget()
            self.learn()

        def update() -> None:
            self.clip()
            for optimizer in self.optimizers:
                optimizer.step()

        try:
            learning = kernels(learn, _PROFILED_STEPS, self.device)
            updating = kernels(update, _PROFILED_STEPS, self.device)
        except Exception as error:  # a figure that is missing must not cost the others
            return figures | {"profile": why(error)}
        self.forget()
        return figures | kernel_figures(
            learning, updating, repetitions=_PROFILED_STEPS, seconds_per_step=seconds_per_step, device=self.device
        )


def _speed(seconds: float, num_frames: int, flops: int) -> dict[str, float]:
    """Figures of steps of so many seconds, frames and floating-point operations."""
    return {
        "seconds per step": seconds,
        "frames per second": num_frames / seconds,
        "GFLOP per frame": flops / num_frames / 1e9,
        "GFLOP/s": flops / seconds / 1e9,
    }


def _machine(device: torch.device | str) -> dict[str, Any]:
    on_gpu = torch.device(device).type == "cuda"
    return {"threads": torch.get_num_threads()} | ({"device": torch.cuda.get_device_name(device)} if on_gpu else {})


def _milliseconds_per_candidate(world: World, state: State, device: torch.device | str) -> float | str:
    """Milliseconds of a step per row of a state of many, or why there is no figure: memory that a GPU does not have."""
    on_gpu = torch.device(device).type == "cuda"
    try:
        if on_gpu:
            timings(chain(world, state), 3, device)  # what the caches grow to is allocated now, not while the clock runs
        return statistics.median(timings(chain(world, state), 3, device)) / state.batch_size * 1e3
    except torch.OutOfMemoryError as error:
        return why(error)


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
