from collections import Counter

import numpy as np

from worldline.data.windows import WindowTable


def test_groups_are_equally_likely_and_windows_in_them_too() -> None:
    table = WindowTable([10, 4, 3, 40], 4, ["a", "b", "c", "a"])
    assert table.num_windows == 7 + 1 + 0 + 37
    episodes, offsets = table.draw(np.random.default_rng(0), 8000)
    counts = Counter(zip(episodes.tolist(), offsets.tolist(), strict=True))
    assert len(counts) == table.num_windows, "every window is drawn, none of the episode that is too short"
    assert abs(counts[1, 0] - 4000) < 200
    rest = [count for window, count in counts.items() if window != (1, 0)]
    assert max(abs(count - 4000 / 44) for count in rest) < 6 * (4000 / 44) ** 0.5
