"""The cache on disk: hits, misses, damage, limits, and two processes at once."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from anticollapse.encoding import EmbeddingCache

TEXTS = ["a", "b", "", "𝄞", "\ud800", "long " * 1000]


def rows(n, dim=4, seed=0):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, dim)).astype(np.float32), np.arange(n, dtype=np.int32), np.arange(n) % 2 == 0


def test_round_trip_and_miss(tmp_path):
    cache = EmbeddingCache(tmp_path)
    vectors, counts, cut = rows(len(TEXTS))
    cache.write("d1", TEXTS, vectors, counts, cut)
    found, back, n, truncated = cache.read("d1", 4, ["unknown", *TEXTS])
    assert found.tolist() == [False] + [True] * len(TEXTS)
    np.testing.assert_array_equal(back[1:], vectors)
    np.testing.assert_array_equal(n[1:], counts)
    np.testing.assert_array_equal(truncated[1:], cut)
    assert not cache.read("d2", 4, TEXTS)[0].any()
    assert not cache.read("d1", 5, TEXTS)[0].any()  # another width is another encoder


def test_damaged_file_is_a_miss_and_is_replaced(tmp_path):
    cache = EmbeddingCache(tmp_path)
    cache.write("d1", TEXTS, *rows(len(TEXTS)))
    (tmp_path / "d1.sqlite").write_bytes(b"not a database, but long enough to look at" * 100)
    assert not cache.read("d1", 4, TEXTS)[0].any()
    cache.write("d1", TEXTS, *rows(len(TEXTS)))
    assert cache.read("d1", 4, TEXTS)[0].all()


def test_folder_that_cannot_be_written_costs_no_result(tmp_path):
    blocked = tmp_path / "file"
    blocked.write_text("")
    cache = EmbeddingCache(blocked / "below")
    cache.write("d1", TEXTS, *rows(len(TEXTS)))
    assert not cache.read("d1", 4, TEXTS)[0].any()


def test_the_encoder_used_longest_ago_leaves(tmp_path):
    cache = EmbeddingCache(tmp_path)
    many = [str(i) for i in range(500)]
    for age, digest in ((300, "old"), (200, "middle")):
        cache.write(digest, many, *rows(500, 64))
        file = tmp_path / f"{digest}.sqlite"
        os.utime(file, (0, file.stat().st_mtime - age))
    size = (tmp_path / "old.sqlite").stat().st_size
    EmbeddingCache(tmp_path, max_bytes=int(2.5 * size)).write("new", many, *rows(500, 64))
    assert sorted(file.stem for file in tmp_path.glob("*.sqlite")) == ["middle", "new"]


def test_clear(tmp_path):
    cache = EmbeddingCache(tmp_path)
    cache.write("d1", TEXTS, *rows(len(TEXTS)))
    cache.clear()
    assert not list(tmp_path.iterdir())


def test_writers_at_once(tmp_path):
    cache = EmbeddingCache(tmp_path)
    with ThreadPoolExecutor(4) as pool:
        parts = [[f"{k}-{i}" for i in range(200)] for k in range(8)]
        list(pool.map(lambda part: cache.write("d1", part, *rows(200)), parts))
    assert all(cache.read("d1", 4, part)[0].all() for part in parts)
