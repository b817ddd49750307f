"""Where the time of a GPU goes: clocks that wait for it, its kernels by kind, and calls that are captured as one CUDA graph.

The processor is clocked and profiled by the same code, its operators standing for kernels: so it runs where there is no GPU.

May import: torch. Refuses to know: worlds, training, what is timed.
"""

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd import DeviceType
from torch.profiler import ProfilerActivity, profile

_KINDS = (  # the first that fits
    ("matrix products", ("triton_tem_",)),
    ("fused by the compiler", ("triton_",)),
    ("attention", ("fmha", "flash", "sdpa", "attention", "softmax")),
    (
        "matrix products",
        ("gemm", "gemv", "nvjet", "xmma", "cutlass", "cublas", "splitk", "dot_kernel", "aten::mm", "aten::bmm", "aten::addmm"),
    ),
    ("normalisation", ("layer_norm", "layernorm", "rms_norm", "rmsnorm", "rowwisemoments", "gammabeta")),
    ("copies and casts", ("memcpy", "memset", "copy_kernel", "catarray", "aten::copy_", "aten::cat")),
    ("sums", ("reduce_kernel", "aten::sum", "aten::mean")),
    ("elementwise", ("elementwise", "multi_tensor_apply", "fused_adam", "aten::mul", "aten::add", "aten::sub", "aten::div", "aten::where")),
)


def kernel_kind(name: str) -> str:
    """What a CUDA kernel, or an operator of the processor, is for: matrix products, attention, elementwise ..., or "the rest"."""
    lowered = name.lower()
    return next((kind for kind, parts in _KINDS if any(part in lowered for part in parts)), "the rest")


def synchronise(device: torch.device | str) -> None:
    """Wait until a GPU has done all that it was given; the processor has nothing to wait for."""
    if torch.device(device).type == "cuda":
        torch.cuda.synchronize(device)


def timings(call: Callable[[], Any], repetitions: int, device: torch.device | str = "cpu") -> list[float]:
    """Seconds of each of some calls, after one that is not timed; on a GPU until it has done them."""
    call()
    seconds = []
    for _ in range(repetitions):
        synchronise(device)
        began = time.perf_counter()
        call()
        synchronise(device)
        seconds.append(time.perf_counter() - began)
    return seconds


def laps(parts: Mapping[str, Callable[[], Any]], repetitions: int, device: torch.device | str = "cpu") -> dict[str, float]:
    """Median seconds of each of some calls that follow each other, over repetitions of all of them.

    On a GPU by CUDA events between them: it is not waited for, so it works as it does when nobody looks, idle time included.
    """
    found: dict[str, list[float]] = {name: [] for name in parts}
    for _ in range(repetitions):
        synchronise(device)
        marks = [_mark(device)]
        for call in parts.values():
            call()
            marks.append(_mark(device))
        synchronise(device)
        for name, began, ended in zip(parts, marks[:-1], marks[1:], strict=True):
            found[name].append(_between(began, ended))
    return {name: statistics.median(seconds) for name, seconds in found.items()}


def kernels(call: Callable[[], Any], repetitions: int, device: torch.device | str = "cpu") -> list[tuple[str, float]]:
    """Name and seconds of every kernel that some calls ran on a GPU; on the processor of every operator, without those that it called."""
    on_gpu = torch.device(device).type == "cuda"
    synchronise(device)
    with profile(activities=[ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if on_gpu else [])]) as found:
        for _ in range(repetitions):
            call()
        synchronise(device)
    events: Any = found.events() or []
    if not on_gpu:
        return [(event.name, event.self_cpu_time_total / 1e6) for event in events if not getattr(event, "is_user_annotation", False)]
    # Ranges that a name was given to (optimisers name their steps) are listed beside the kernels inside them.
    return [
        (event.name, event.time_range.elapsed_us() / 1e6)
        for event in events
        if event.device_type == DeviceType.CUDA
        and not getattr(event, "is_user_annotation", False)
        and not event.name.startswith(("Optimizer.", "ProfilerStep"))
    ]


def kernel_figures(
    learning: Sequence[tuple[str, float]],
    updating: Sequence[tuple[str, float]],
    *,
    repetitions: int,
    seconds_per_step: float,
    device: torch.device | str,
    num_named: int = 6,
) -> dict[str, Any]:
    """Shares of the time of all kernels of a training step, by kind, and of the step in which the GPU had nothing to do.

    Args:
        learning: names and seconds of the kernels of the loss and its gradient (`kernels`).
        updating: likewise, of clipping and the optimisers, which count as one kind, whatever they do.
        repetitions: steps that these are of.
        seconds_per_step: of a step that was not profiled.
        device: where it ran; a processor is never idle.
        num_named: kernels that are listed by name, the costliest first.
    """
    total = sum(seconds for _, seconds in (*learning, *updating))
    if not total:
        return {"profile": "failed: no kernel was seen"}
    on_gpu = torch.device(device).type == "cuda"
    figures: dict[str, Any] = {}
    if on_gpu:
        figures["kernels per step"] = (len(learning) + len(updating)) / repetitions
        figures["ms of kernels per step"] = total / repetitions * 1e3
        figures["share of a step in which the GPU is idle"] = max(0.0, 1 - total / repetitions / seconds_per_step)
    whose = "GPU's busy time" if on_gpu else "processor's time"
    by_kind: dict[str, float] = {}
    by_name: dict[str, float] = {}
    for name, seconds in learning:
        by_kind[kernel_kind(name)] = by_kind.get(kernel_kind(name), 0.0) + seconds
    for name, seconds in (*learning, *updating):
        by_name[name] = by_name.get(name, 0.0) + seconds
    for kind, seconds in sorted(by_kind.items(), key=lambda item: -item[1]):
        figures[f"share of the {whose}: {kind}"] = seconds / total
    figures[f"share of the {whose}: clipping and optimisers"] = sum(seconds for _, seconds in updating) / total
    products = sum(seconds for name, seconds in updating if kernel_kind(name) == "matrix products")
    figures[f"share of the {whose}: clipping and optimisers, of it matrix products"] = products / total
    for place, (name, seconds) in enumerate(sorted(by_name.items(), key=lambda item: -item[1])[:num_named], start=1):
        figures[f"costliest {place}"] = f"{seconds / total:.1%} {name[:90]}"
    return figures


def captured(call: Callable[[], Tensor]) -> tuple[Callable[[], None], Tensor]:
    """A call as one CUDA graph: what replays it, and the tensor that each replay fills. The call must not synchronise.

    Raises:
        RuntimeError: if there is no GPU, or the call cannot be captured.
    """
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            call()
    torch.cuda.current_stream().wait_stream(side)
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        result = call()
    return graph.replay, result


def compile_in_place(module: nn.Module, mode: str) -> None:
    """Have a module's next calls compiled by `torch.compile`, for the shapes that come."""
    torch.compiler.reset()
    module.compile(mode=mode, dynamic=False)


def why(error: BaseException) -> str:
    """What went wrong as a figure: one line."""
    lines = str(error).strip().splitlines()
    return f"failed: {type(error).__name__}: {lines[0][:160] if lines else 'no message'}"


def _mark(device: torch.device | str) -> Any:
    """This moment: a CUDA event on the current stream, or the processor's clock in seconds."""
    if torch.device(device).type != "cuda":
        return time.perf_counter()
    event = torch.cuda.Event(enable_timing=True)
    event.record()
    return event


def _between(began: Any, ended: Any) -> float:
    return ended - began if isinstance(began, float) else began.elapsed_time(ended) / 1e3
