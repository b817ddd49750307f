import platform
import resource

import pytest
import torch

from worldline.scale import tune_allocator


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the settings are those of glibc")
def test_large_tensors_are_not_paged_in_again_and_again() -> None:
    assert tune_allocator()
    values = torch.ones(8 * 2**20)
    for _ in range(20):  # until the heap has a place for each of them
        values + values
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        values + values
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before
    assert faults < 1000  # 80 000 when each of the ten 32 MiB results comes from fresh pages


def test_elsewhere_it_does_nothing_and_says_so(monkeypatch) -> None:
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    assert not tune_allocator()
