"""The cache is a value: appending leaves it alone, forks share it, and it forgets exactly what the window forgets."""

import torch

from worldline.nn import Cache, Segment

WINDOW = 5


def segment(num_frames: int, *, batch_size: int = 1, first: int = 0) -> Segment:
    """Keys that count frames, so that what was kept can be read off."""
    keys = torch.arange(first, first + num_frames).float().expand(batch_size, 2, 3, num_frames).unsqueeze(-1).repeat(1, 1, 1, 1, 4)
    return Segment(keys, -keys)


def frames(cache: Cache) -> list[int]:
    return [int(frame) for part in cache.layers[0] for frame in part.keys[0, 0, 0, :, 0]]


def test_append_returns_a_new_cache_cut_to_the_window():
    empty = Cache.empty(1)
    three = empty.append((segment(3),), WINDOW)
    seven = three.append((segment(4, first=3),), WINDOW)
    assert (frames(empty), frames(three), frames(seven)) == ([], [0, 1, 2], [2, 3, 4, 5, 6])
    assert (empty.num_frames, three.num_frames, seven.num_frames) == (0, 3, 5)
    assert frames(seven.append((segment(9, first=7),), WINDOW)) == [11, 12, 13, 14, 15]


def test_a_window_of_one_frame_keeps_no_past():
    assert frames(Cache.empty(1).append((segment(3),), 0)) == []


def test_every_layer_keeps_its_own():
    cache = Cache.empty(2).append((segment(2), segment(2, first=10)), WINDOW)
    assert [int(layer[0].keys[0, 0, 0, 0, 0]) for layer in cache.layers] == [0, 10]


def test_cutting_is_a_view():
    prompt = segment(4)
    cache = Cache.empty(1).append((prompt,), 3)
    assert cache.layers[0][0].keys.untyped_storage().data_ptr() == prompt.keys.untyped_storage().data_ptr()


def test_gathering_joins_what_has_one_batch():
    cache = Cache.empty(1)
    for index in range(2):
        cache = cache.append((segment(1, first=index),), WINDOW)
    for index in range(2, 5):
        cache = cache.append((segment(1, batch_size=3, first=index),), WINDOW)
    gathered = cache.gathered()
    assert [(part.batch_size, part.num_frames) for part in gathered.layers[0]] == [(1, 2), (3, 3)]
    assert frames(gathered) == frames(cache) == [0, 1, 2, 3, 4]


def test_selecting_rows_follows_shared_segments():
    shared = Segment(torch.arange(2).view(2, 1, 1, 1, 1).float(), torch.zeros(2, 1, 1, 1, 1))
    own = Segment(torch.arange(6).view(6, 1, 1, 1, 1).float(), torch.zeros(6, 1, 1, 1, 1))
    picked = Cache(((shared, own),)).select(torch.tensor([5, 0, 3]), batch_size=6)
    assert [part.keys.flatten().tolist() for part in picked.layers[0]] == [[1, 0, 1], [5, 0, 3]]


def test_shared_storage_is_counted_once():
    part = segment(4)
    one = Cache(((part,),))
    assert one.num_bytes() == 2 * part.keys.numel() * 4
    assert Cache(((part, part.last(2)), (part,))).num_bytes() == one.num_bytes()
