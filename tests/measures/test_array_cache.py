"""Arrays on disk: content decides, damage is a miss, the folder stays small."""

from __future__ import annotations

import os

import numpy as np

from anticollapse.measures.array_cache import ArrayCache, content_key


def test_round_trip_and_miss(tmp_path):
    cache = ArrayCache(tmp_path / "maps")
    assert cache.read("a" * 40) is None
    arrays = {"x": np.arange(5, dtype=np.float32), "notes": np.array(["说明", "b"]), "flag": np.array(True)}
    cache.write("a" * 40, arrays)
    found = cache.read("a" * 40)
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)
    assert not list(tmp_path.rglob("*.tmp"))


def test_key_depends_on_content_type_shape_and_parameters():
    base = np.arange(6, dtype=np.float32)
    changed = base.copy()
    changed[5] += 1
    keys = {
        content_key([base], {"seed": 0}),
        content_key([changed], {"seed": 0}),
        content_key([base.reshape(2, 3)], {"seed": 0}),
        content_key([base.astype(np.float64)], {"seed": 0}),
        content_key([base, base], {"seed": 0}),
        content_key([base], {"seed": 1}),
    }
    assert len(keys) == 6
    assert content_key([base[::1].copy()], {"seed": 0}) in keys


def test_damaged_file_and_pickled_array_are_misses(tmp_path):
    cache = ArrayCache(tmp_path)
    (tmp_path / "bad.npz").write_bytes(b"PK\x03\x04 nonsense")
    assert cache.read("bad") is None
    assert not (tmp_path / "bad.npz").exists()
    np.savez(tmp_path / "pickle.npz", x=np.array([{}], dtype=object))
    assert cache.read("pickle") is None


def test_oldest_leaves_first_and_an_unwritable_folder_is_no_error(tmp_path):
    cache = ArrayCache(tmp_path / "maps", max_bytes=2500)
    for i, name in enumerate("abc"):
        cache.write(name, {"x": np.zeros(200)})
        os.utime(tmp_path / "maps" / f"{name}.npz", (i, i))
    cache.write("d", {"x": np.zeros(200)})
    assert cache.read("d") is not None
    assert cache.read("a") is None
    (tmp_path / "file").write_text("")
    ArrayCache(tmp_path / "file").write("a", {"x": np.zeros(2)})


def test_a_file_that_cannot_be_stamped_is_no_damage(tmp_path, monkeypatch):
    cache = ArrayCache(tmp_path)
    cache.write("a", {"x": np.arange(3)})

    def refuse(*_, **__):
        raise PermissionError("read-only")

    monkeypatch.setattr("anticollapse.measures.array_cache.os.utime", refuse)
    np.testing.assert_array_equal(cache.read("a")["x"], np.arange(3))
    assert (tmp_path / "a.npz").exists()


def test_writers_at_the_same_time_do_not_share_a_temporary_file(tmp_path, monkeypatch):
    cache, parts = ArrayCache(tmp_path), []
    save = np.savez

    def watched(stream, **arrays):
        parts.append(stream.name)
        if len(parts) == 1:  # another thread writes the same map in the middle of it
            cache.write("a", {"x": np.arange(3)})
        save(stream, **arrays)

    monkeypatch.setattr("anticollapse.measures.array_cache.np.savez", watched)
    cache.write("a", {"x": np.arange(3)})
    assert len(set(parts)) == 2
    np.testing.assert_array_equal(cache.read("a")["x"], np.arange(3))
    assert not list(tmp_path.glob(".*tmp"))


def test_a_file_that_another_process_took_away_does_not_stop_the_tidying(tmp_path, monkeypatch):
    cache = ArrayCache(tmp_path, max_bytes=10)
    (tmp_path / "gone.npz").symlink_to(tmp_path / "nowhere")  # listed, but there is nothing to look at
    cache.write("a", {"x": np.arange(3)})
    cache.write("b", {"x": np.arange(3)})
    assert cache.read("a") is None
    assert cache.read("b") is not None
