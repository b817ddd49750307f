"""What a processor is asked for."""

from pathlib import Path

import pytest
import torch

from worldline.scale import precision


@pytest.mark.parametrize(
    ("flags", "found"),
    [
        ("fpu avx512_bf16 avx2", ("avx512_bf16",)),
        ("fpu avx2 bf16x", ()),
        ("asimd bf16 i8mm", ("bf16",)),
        ("amx_bf16 fma", ("amx_bf16",)),
    ],
)
def test_instructions_are_read_off_linux(flags: str, found: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    precision.bfloat16_instructions.cache_clear()
    with monkeypatch.context() as patched:
        patched.setattr(Path, "is_file", lambda path: True)
        patched.setattr(Path, "read_text", lambda path, **options: f"processor : 0\nflags\t\t: {flags}\nbugs : bf16\n")
        assert precision.bfloat16_instructions() == found
        assert precision.fast_bfloat16("cpu") == bool(found)
    precision.bfloat16_instructions.cache_clear()


def test_elsewhere_torch_is_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    precision.bfloat16_instructions.cache_clear()
    with monkeypatch.context() as patched:
        patched.setattr(Path, "is_file", lambda path: False)
        patched.setattr(torch.cpu, "get_capabilities", lambda: {"bf16": True, "avx512_bf16": False, "cpu_name": "one"})
        assert precision.bfloat16_instructions() == ("bf16",)
    precision.bfloat16_instructions.cache_clear()
