"""Whether a processor or a GPU is quick in bfloat16, which all of them can and not all of them should compute in.

May import: torch. Refuses to know: what is computed.
"""

from functools import cache
from pathlib import Path

import torch

_FLAGS = ("avx512_bf16", "amx_bf16", "bf16")


def fast_bfloat16(device: torch.device | str = "cpu") -> bool:
    """Whether a device has instructions for products in bfloat16; a processor without emulates them, many times as slowly."""
    if torch.device(device).type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return bool(bfloat16_instructions())


@cache
def bfloat16_instructions() -> tuple[str, ...]:
    """The processor's instruction sets for bfloat16, as Linux names them; elsewhere as torch does."""
    path = Path("/proc/cpuinfo")
    if path.is_file():
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
        flags = {flag for line in lines if line.startswith(("flags", "Features")) for flag in line.partition(":")[2].split()}
    else:
        flags = {name for name, there in torch.cpu.get_capabilities().items() if there is True}
    return tuple(name for name in _FLAGS if name in flags)
