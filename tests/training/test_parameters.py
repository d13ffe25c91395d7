"""Parameters, variants and the registry: what command line and app form are derived from."""

from __future__ import annotations

import dataclasses
import itertools
import json

import pytest

from anticollapse.errors import OptionError
from anticollapse.training import (
    BYOL,
    ClusterFilter,
    CosineMSE,
    CrossAttention,
    Dropout,
    InfoNCE,
    Momentum,
    Queue,
    TrainingOptions,
    Variant,
    get_variant,
    load_variant_file,
    register,
    variants,
)
from anticollapse.training.options import learning_rate, rate_at
from anticollapse.training.parameters import Parameter, parameters_of
from anticollapse.training.registry import _REGISTRY

LADDER = (
    "raw sbert cross-attention-scored cross-attention projector sbert-simcse sbert-queue sbert-swav consert simcse "
    "esimcse triplet pairwise cosent angle byol barlow-twins vicreg"
).split()


@pytest.fixture
def registry():
    """Leave the registry as it was."""
    before = dict(_REGISTRY)
    yield
    _REGISTRY.clear()
    _REGISTRY.update(before)


def test_every_row_of_the_ladder_is_there_in_order():
    assert list(variants())[: len(LADDER)] == LADDER


@pytest.mark.parametrize("name", LADDER)
def test_every_parameter_describes_itself(name):
    variant = get_variant(name)
    names = [p.name for p in variant.parameters]
    assert len(set(names)) == len(names)
    general = {p.name for _, p in parameters_of(TrainingOptions())}
    assert not general & set(names)
    for parameter in variant.parameters:
        assert parameter.help
        assert not parameter.help.endswith(".")
        assert parameter.kind in {int, float, str, bool}
        assert parameter.kind is bool or parameter.choices or parameter.minimum is not None
        assert parameter.check(parameter.default) == parameter.default
        assert variant.with_parameters({parameter.name: parameter.default}) == variant
    json.dumps(variant.to_json(), allow_nan=False)


def test_numbers_of_the_method():
    queue = get_variant("sbert-queue").values
    assert queue["queue_size_ratio"] == 2.5
    assert queue["momentum_decay"] == 0.995
    assert queue["contrast_temperature"] == 0.05
    assert get_variant("esimcse").values["word_repetition_rate"] == 0.32
    assert get_variant("consert").values["feature_cutoff_rate"] == 0.2
    assert get_variant("cross-attention-scored").gives == "pair scores"
    same = dataclasses.replace(get_variant("cross-attention-scored"), gives="vectors")
    assert same.head == get_variant("cross-attention").head


def test_with_parameters_changes_one_part_only():
    variant = get_variant("sbert-queue").with_parameters({"queue_size_ratio": "4", "contrast_temperature": 0.1})
    assert variant.queue == Queue(size_ratio=4.0)
    assert variant.contrast.temperature == 0.1
    assert variant.supervised == CosineMSE()


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("contrast_temperature", 0, "is below 0.001"),
        ("contrast_temperature", "warm", "is no number"),
        ("contrast_temperature", float("nan"), "is no number"),
        ("momentum_decay", 1.5, "is above 1"),
        ("colour", 1, 'has no parameter "colour"'),
    ],
)
def test_bad_values_say_what_is_allowed(name, value, message):
    with pytest.raises(OptionError, match=message):
        get_variant("sbert-queue").with_parameters({name: value})


def test_kinds():
    whole = Parameter(name="n", default=3, help="a number", minimum=1)
    assert whole.check("4") == 4
    with pytest.raises(OptionError, match="is no whole number"):
        whole.check(2.5)
    switch = Parameter(name="s", default=False, help="a switch")
    with pytest.raises(OptionError, match="neither true nor false"):
        switch.check("yes")
    choice = Parameter(name="c", default="relu", help="which", choices=("relu", "tanh"))
    with pytest.raises(OptionError, match="is not one of relu, tanh"):
        choice.check("gelu")
    assert choice.bounds == "One of relu, tanh"
    assert whole.bounds == "At least 1"
    assert whole.option == "--n"


@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        ({"queue": Queue()}, "a queue needs a contrast"),
        ({"queue": Queue(), "contrast": InfoNCE()}, "a queue needs a momentum encoder"),
        ({"contrast": BYOL(), "momentum": Momentum(), "queue": Queue()}, "a queue needs a contrast with negatives"),
        ({"contrast": BYOL()}, "its contrast needs a momentum encoder"),
        ({"contrast": BYOL(), "momentum": Momentum(), "swav": ClusterFilter()}, "a filter for false negatives"),
        ({"augmentations": (Dropout(),)}, "augmentations need a contrast"),
        ({"gives": "pair scores"}, "needs a head on the tokens"),
        ({"head": CrossAttention(), "contrast": InfoNCE()}, "needs a supervised term"),
        ({"contrast": InfoNCE(), "augmentations": (Dropout(), Dropout())}, "two parts with the same parameters"),
        ({"supervised": CosineMSE(weight=-1)}, "--supervised-weight -1 is below 0"),
    ],
)
def test_parts_that_do_not_fit_are_refused(parts, reason):
    with pytest.raises(OptionError, match=reason):
        Variant(id="mine", title="Mine", summary="A test.", **parts)


def test_a_name_is_plain():
    with pytest.raises(OptionError, match="no name for a variant"):
        Variant(id="../mine", title="Mine", summary="A test.")


OWN = """
from anticollapse.training import CoSENT, Dropout, NTXent, Variant, register

register(
    Variant(
        id="cosent-simcse", title="CoSENT + SimCSE", summary="Order, and every sentence close to itself only.",
        supervised=CoSENT(scale=20.0), contrast=NTXent(temperature=0.05, weight=0.1), augmentations=(Dropout(),),
    )
)
"""


@pytest.mark.usefixtures("registry")
def test_a_variant_of_ones_own_in_ten_lines(tmp_path):
    assert len(OWN.strip().splitlines()) <= 10
    file = tmp_path / "mine.py"
    file.write_text(OWN)
    (variant,) = load_variant_file(file)
    assert get_variant("cosent-simcse") is variant
    assert variant.values["contrast_weight"] == 0.1
    load_variant_file(file)  # the same once more is no conflict


OWN_LOSS = """
from dataclasses import dataclass
import torch
from anticollapse.training import SupervisedTerm, Variant, parameter, register

@dataclass(frozen=True, kw_only=True)
class L1(SupervisedTerm):
    shift: float = parameter(0.0, "added to the grade", minimum=-1, maximum=1)
    def loss(self, first, second, labels):
        return (torch.cosine_similarity(first, second) - labels / 5 - self.shift).abs().mean()

register(Variant(id="l1", title="L1", summary="Absolute distance.", supervised=L1()))
"""


@pytest.mark.usefixtures("registry")
def test_a_loss_of_ones_own(tmp_path):
    file = tmp_path / "own_loss.py"
    file.write_text(OWN_LOSS)
    (variant,) = load_variant_file(file)
    assert variant.values == {"supervised_weight": 1.0, "supervised_shift": 0.0}
    with pytest.raises(OptionError, match="--supervised-shift 2 is above 1"):
        variant.with_parameters({"supervised_shift": 2})


@pytest.mark.usefixtures("registry")
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1", "registers no variant"),
        ("1 / 0", "does not run .ZeroDivisionError"),
        ("def", "does not run .SyntaxError"),
    ],
)
def test_files_that_cannot_be_used(tmp_path, text, message):
    file = tmp_path / "bad.py"
    file.write_text(text)
    with pytest.raises(OptionError, match=message):
        load_variant_file(file)
    with pytest.raises(OptionError, match="no such Python file"):
        load_variant_file(tmp_path / "none.py")


@pytest.mark.usefixtures("registry")
def test_a_taken_name_is_refused():
    other = dataclasses.replace(get_variant("sbert"), title="Other")
    with pytest.raises(OptionError, match='called "sbert" already'):
        register(other)
    register(other, replace=True)
    assert get_variant("sbert").title == "Other"
    with pytest.raises(OptionError, match='no variant called "sbrt"'):
        get_variant("sbrt")


def test_options():
    with pytest.raises(OptionError, match="both steps and epochs"):
        TrainingOptions(steps=3, epochs=1.0)
    with pytest.raises(OptionError, match="--accumulation 0 is below 1"):
        TrainingOptions(accumulation=0)
    sbert = get_variant("sbert")
    assert learning_rate(TrainingOptions(), sbert, 768) == sbert.defaults.learning_rate
    assert learning_rate(TrainingOptions(), sbert, 256) == pytest.approx(3 * sbert.defaults.learning_rate)
    assert learning_rate(TrainingOptions(learning_rate=1e-3), sbert, 256) == 1e-3


def test_schedule_rises_and_falls_to_zero():
    rates = [rate_at(step, 100, 1.0, 0.1) for step in range(101)]
    assert rates[0] == pytest.approx(0.1)
    assert rates[9] == rates[10] == 1.0
    assert rates[55] == pytest.approx(0.5)
    assert rates[100] == 0
    assert all(a >= b for a, b in itertools.pairwise(rates[10:]))
    assert rate_at(0, 10, 1.0, 0.0) == 1.0
    assert rate_at(9, 10, 1.0, 1.0) == 1.0
