"""``train`` and ``variants`` on the command line, with options from the variants' definitions."""

from __future__ import annotations

import argparse
import json
import shlex

import numpy as np
import pytest

from anticollapse.commands import train, variants
from anticollapse.commands.common import reading_from
from anticollapse.errors import OptionError
from anticollapse.training import TrainingResult, get_variant
from anticollapse.training import variants as registry
from anticollapse.training.evaluation import Evaluation


def parse(*arguments):
    parser = argparse.ArgumentParser()
    subparsers = parser.add_subparsers()
    train.add_parser(subparsers)
    variants.add_parser(subparsers)
    return parser.parse_args(arguments)


NOTHING = Evaluation(
    dev_spearman=None,
    mean_unrelated_cosine=0.5,
    std_sqrt_d=None,
    effective_rank=None,
    n_pairs=0,
    n_sentences=4,
    undefined={"dev_spearman": "undefined because there are no graded dev pairs"},
)


@pytest.fixture
def asked(monkeypatch, tmp_path):
    """What ``train`` is asked for, without training."""
    seen = {}

    def pretend(variant, backbone, pairs, **options):
        seen.update(options, variant=variant, backbone=backbone, pairs=pairs)
        return TrainingResult(
            output=options["output"],
            model=options["output"] / "model",
            status=seen.get("end", "done"),
            step=3,
            best_step=2,
            before=NOTHING,
            after=NOTHING,
            seconds=1.0,
            notes=("A note.",),
        )

    monkeypatch.setattr("anticollapse.training.train", pretend)
    return seen


def run(*arguments):
    args = parse(*arguments)
    return args.run(args)


def test_every_parameter_of_every_variant_is_an_option():
    for variant in registry().values():
        parser = train.option_parser(variant)
        values = {p.option: p.default for p in variant.parameters}
        arguments = ["--backbone", "b", "--pairs", "p", "--output", "o"]
        for option, value in values.items():
            switch = f"--no-{option[2:]}" if value is False else option
            arguments += [switch] if isinstance(value, bool) else [option, str(value)]
        parsed = vars(parser.parse_args(arguments))
        assert {k: parsed[k] for k in variant.values} == variant.values
        parser.format_help()


def test_options_reach_the_training(asked, tmp_path):
    code = run(
        *"train sbert-queue --backbone tiny --pairs demo --steps 7 --lr 0.001 --batch-size 4 --seed 3".split(),
        *"--device cpu".split(),
        *"--queue-size-ratio 1.5 --contrast-temperature 0.1 --patience 0".split(),
        "--output",
        str(tmp_path / "run"),
    )
    assert code == 0
    assert asked["variant"] == get_variant("sbert-queue").with_parameters(
        {"queue_size_ratio": 1.5, "contrast_temperature": 0.1}
    )
    options = asked["options"]
    assert (options.steps, options.learning_rate, options.batch_size, options.seed) == (7, 0.001, 4, 3)
    assert options.patience == 0
    assert options.warmup == 0.1
    assert asked["backbone"] == "tiny"
    assert asked["device"] == "cpu"
    assert asked["pairs"].name == "demo:train"
    assert asked["dev"].name == "demo:dev"
    assert not asked["resume"]


@pytest.mark.parametrize(
    ("pairs", "dev", "expected"),
    [
        ("demo", None, ("demo:train", "demo:dev")),
        ("demo:train", None, ("demo:train", "demo:dev")),
        ("demo:test", None, ("demo:test", None)),
        ("demo", "demo:test", ("demo:train", "demo:test")),
        ("demo:test", "demo", ("demo:test", "demo:dev")),
    ],
)
def test_splits_of_named_sets(pairs, dev, expected):
    loaded = train.load_training_pairs(pairs, dev)
    assert tuple(None if p is None else p.name for p in loaded) == expected


def test_a_file_has_no_dev(tmp_path):
    file = tmp_path / "p.csv"
    file.write_text("sentence1,sentence2,score\na b,a c,3\nd e,f g,0\n")
    pairs, dev = train.load_training_pairs(str(file), None)
    assert pairs.n == 2
    assert dev is None
    assert np.array_equal(pairs.scores, [3, 0])


def test_how_files_are_read_is_stated_for_training_and_dev_files(tmp_path):
    file = tmp_path / "p.csv"
    file.write_text("id,x,y,z\n1,a b,a c,30\n2,d e,f g,0\n3,,h,10\n")
    options = ["--columns", "sentence1=x,sentence2=y,score=z", "--scale", "0-100", "--on-bad-row", "skip"]
    given = train.option_parser(get_variant("sbert")).parse_args(
        ["--backbone", "b", "--output", "o", "--pairs", str(file), *options]
    )
    for name, dev in ((str(file), None), (str(file), str(file)), ("demo", str(file)), (str(file), "demo")):
        pairs, held = train.load_training_pairs(name, dev, **reading_from(given))
        for found in (one for one in (pairs, held) if one is not None and not one.name.startswith("demo")):
            assert np.array_equal(found.scores, [1.5, 0])
            assert len(found.skipped) == 1
    with pytest.raises(OptionError, match="demo"):
        train.load_training_pairs("demo", None, **reading_from(given))


def test_json_result(asked, capsys, tmp_path):
    run("train", "sbert", "--backbone", "tiny", "--pairs", "demo", "--output", str(tmp_path / "run"), "--json")
    result = json.loads(capsys.readouterr().out)
    assert result["variant"] == "sbert"
    assert result["status"] == "done"
    assert result["best_step"] == 2
    assert result["after"]["mean_unrelated_cosine"] == 0.5
    assert result["notes"] == ["A note."]


def test_a_stopped_run_says_so(asked, capsys, tmp_path):
    asked["end"] = "stopped"
    code = run("train", "sbert", "--backbone", "tiny", "--pairs", "demo", "--output", str(tmp_path / "run"))
    assert code == 130
    out = capsys.readouterr().out
    assert "stopped after 3 steps" in out
    assert "step 2" in out
    folder = shlex.quote(str(tmp_path / "run"))
    command = f"anticollapse train sbert --backbone tiny --pairs demo --output {folder} --resume"
    assert f"Go on with: {command}\n" in out
    given = ["train", "sbert", "--backbone", "tiny", "--pairs", "demo", "--output", str(tmp_path / "run"), "--resume"]
    run(*given, "--json")
    assert json.loads(capsys.readouterr().out)["resume_command"] == f"{command} --json"


def test_a_run_that_ended_early_says_why(asked, capsys, tmp_path):
    asked["end"] = "early-stopped"
    given = ["--backbone", "tiny", "--pairs", "demo", "--output", str(tmp_path / "run"), "--patience", "4"]
    assert run("train", "sbert", *given) == 0
    out = capsys.readouterr().out
    assert "ended early after 3 steps" in out
    assert "the dev Spearman of step 2 was not exceeded in the 1 step since (--patience 4; 0 trains to the end)" in out
    assert "Go on with" not in out


def test_bad_values_and_names(asked, tmp_path):
    common = ["--backbone", "b", "--pairs", "demo", "--output", str(tmp_path / "run")]
    with pytest.raises(OptionError, match=r"--contrast-temperature 0\.0 is below 0.001"):
        run("train", "simcse", *common, "--contrast-temperature", "0")
    with pytest.raises(OptionError, match='no variant called "sbrt"'):
        run("train", "sbrt", *common)
    with pytest.raises(SystemExit) as stop:
        run("train", "sbert", *common, "--queue-size-ratio", "2")  # not a parameter of sbert
    assert stop.value.code == 2
    with pytest.raises(SystemExit):
        run("train", "sbert", "--pairs", "demo")


OWN = """
from anticollapse.training import CosineMSE, Variant, register
register(Variant(id="own-command-line", title="Own", summary="Mine.", supervised=CosineMSE(weight=2.0)), replace=True)
"""


@pytest.mark.parametrize("place", ["before", "after"])
def test_a_variant_file(asked, tmp_path, place, capsys, monkeypatch):
    monkeypatch.setattr("anticollapse.training.registry._REGISTRY", dict(registry()))
    file = tmp_path / "own.py"
    file.write_text(OWN)
    option = ["--variant-file", str(file)]
    common = ["own-command-line", "--backbone", "b", "--pairs", "demo", "--output", str(tmp_path / "run")]
    run("train", *([*option, *common] if place == "before" else [*common, *option]))
    assert asked["variant"].supervised.weight == 2.0
    capsys.readouterr()
    run("variants", "--json", *option)
    assert "own-command-line" in [v["id"] for v in json.loads(capsys.readouterr().out)]


def test_variants_lists_all(capsys):
    run("variants", "--json")
    listed = json.loads(capsys.readouterr().out)
    assert [v["id"] for v in listed] == list(registry())
    queue = next(v for v in listed if v["id"] == "sbert-queue")
    parameter = next(p for p in queue["parameters"] if p["name"] == "queue_size_ratio")
    assert parameter["default"] == 2.5
    assert parameter["unit"] == "× batch"
    assert parameter["kind"] == "float"
    run("variants")
    text = capsys.readouterr().out
    assert all(name in text for name in registry())
