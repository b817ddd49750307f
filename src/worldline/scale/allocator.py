"""Keep freed memory inside the process, so that a training step does not page-fault its activations back in.

glibc serves every large tensor with a fresh `mmap` and returns it on free: each step then pays for zeroed pages again. With these
settings a 32 MiB `x + x` takes 3 ms instead of 17 to 23 ms on one core, and a small training step 7 to 16 % less.

May import: the standard library. Refuses to know: torch and everything above.
"""

import ctypes
import platform

_TRIM_THRESHOLD = -1  # names and numbers of glibc's malloc.h
_TOP_PAD = -2
_MMAP_MAX = -4

_TRIM_BYTES = 2**31 - 1  # mallopt takes an int; memory is given back only above this much free space at the top of the heap
_TOP_PAD_BYTES = 64 * 2**20


def tune_allocator() -> bool:
    """Make glibc serve large tensors from the heap and keep what is freed, for the rest of this process.

    The price is memory: what was once allocated stays with the process. Safe to call twice.

    Returns:
        Whether the settings were taken; False, without any effect, where the C library is not glibc.
    """
    if platform.libc_ver()[0] != "glibc":
        return False
    mallopt = ctypes.CDLL(None).mallopt
    taken = True
    for name, value in ((_MMAP_MAX, 0), (_TRIM_THRESHOLD, _TRIM_BYTES), (_TOP_PAD, _TOP_PAD_BYTES)):
        taken &= mallopt(name, value) == 1
    return taken
