"""The check that guards bfloat16."""

from __future__ import annotations

import platform
from pathlib import Path

import numpy as np
import torch

from anticollapse.encoding.precision import agrees, device_name


def test_equal_vectors_agree():
    vectors = np.random.default_rng(0).normal(size=(20, 8)).astype(np.float32)
    assert agrees(vectors, vectors)
    assert agrees(vectors[:1], vectors[:1])


def test_a_small_angle_is_too_much():
    exact = np.array([[1.0, 0.0]], np.float32)
    assert agrees(np.array([[1.0, 0.02]], np.float32), exact)  # cosine 0.9998
    assert not agrees(np.array([[1.0, 0.06]], np.float32), exact)  # cosine 0.9982


def test_a_common_direction_does_not_hide_errors():
    rng = np.random.default_rng(0)
    spread = rng.normal(size=(50, 16)).astype(np.float32)
    exact = spread + 200 * np.eye(16, dtype=np.float32)[0]
    wrong = exact + 0.5 * rng.normal(size=exact.shape).astype(np.float32)
    plain = (exact * wrong).sum(1) / np.linalg.norm(exact, axis=1) / np.linalg.norm(wrong, axis=1)
    assert plain.min() > 0.9999  # cosine sees nothing
    assert not agrees(wrong, exact)


def test_not_finite():
    exact = np.ones((2, 2), np.float32)
    assert not agrees(np.array([[1, np.nan], [1, 1]], np.float32), exact)


def test_zero_vectors_are_no_disagreement_among_themselves():
    assert not agrees(np.zeros((1, 3), np.float32), np.ones((1, 3), np.float32))


def test_the_processor_has_a_name():
    cpu = device_name(torch.device("cpu"))
    assert cpu
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.exists() and "model name" in cpuinfo.read_text(errors="replace"):
        assert cpu in cpuinfo.read_text(errors="replace")
    assert device_name(torch.device("meta")) == "meta"


def test_where_the_system_does_not_say_the_architecture_stands(monkeypatch):
    def missing(self, **_):
        raise FileNotFoundError

    monkeypatch.setattr(Path, "read_text", missing)
    monkeypatch.setattr(platform, "processor", lambda: "")
    assert device_name(torch.device("cpu")) == platform.machine()
