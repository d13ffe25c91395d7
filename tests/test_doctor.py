"""The whole diagnosis against plain sentence-transformers, scipy and a double loop."""

from __future__ import annotations

import json

import numpy as np
import pytest
from scipy.stats import pearsonr, spearmanr
from sentence_transformers import SentenceTransformer

from anticollapse.cli import main
from anticollapse.commands.doctor import advice
from anticollapse.data import load_pairs
from anticollapse.doctor import Report, examine, judge
from anticollapse.encoding import load_encoder
from anticollapse.measures import diagnose

KEYS = (
    "n_pairs spearman spearman_ci pearson mean_unrelated_cosine alignment uniformity effective_rank "
    "first_component_share isoscore std_sqrt_d label_profile truncated"
).split()


def naive(folder, pairs):
    """Spearman, Pearson and the mean cosine of unrelated sentences the slow and plain way."""
    model = SentenceTransformer(str(folder), device="cpu")
    distinct = list(dict.fromkeys([s for pair in zip(pairs.sentences1, pairs.sentences2, strict=True) for s in pair]))
    vectors = dict(zip(distinct, model.encode(distinct, show_progress_bar=False), strict=True))

    def cosine(a, b):
        a, b = vectors[a].astype(np.float64), vectors[b].astype(np.float64)
        return float(a @ b / np.sqrt((a @ a) * (b @ b)))

    cosines = [cosine(a, b) for a, b in zip(pairs.sentences1, pairs.sentences2, strict=True)]
    unit = np.stack([vectors[s] / np.linalg.norm(vectors[s]) for s in distinct]).astype(np.float64)
    total = 0.0
    for i in range(len(unit)):  # a double loop, its inner one in numpy
        total += float((unit @ unit[i]).sum()) - float(unit[i] @ unit[i])
    n = len(unit)
    return spearmanr(pairs.scores, cosines)[0], pearsonr(pairs.scores, cosines)[0], total / (n * (n - 1))


def check(report, expected):
    assert report["spearman"] / 100 == pytest.approx(expected[0], abs=1e-4)
    assert report["pearson"] / 100 == pytest.approx(expected[1], abs=1e-4)
    assert report["mean_unrelated_cosine"] == pytest.approx(expected[2], abs=1e-4)


def test_demo_equals_the_plain_way(raw_mini, capsys):
    assert main(["doctor", str(raw_mini), "--pairs", "demo:dev", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert set(KEYS) <= set(report)
    assert report["spearman_ci"][0] < report["spearman"] < report["spearman_ci"][1]
    assert [row["n"] for row in report["label_profile"]] == [33] * 6
    check(report, naive(raw_mini, load_pairs("demo:dev")))


@pytest.mark.shared
@pytest.mark.parametrize(("name", "encoder"), [("stsb:dev", "raw-mini"), ("stsb-zh:dev", "raw-mini-zh")])
def test_stsb_equals_the_plain_way(name, encoder, raw_mini, shared_data, monkeypatch, capsys):
    monkeypatch.setenv("ANTICOLLAPSE_DATA", str(shared_data))
    folder = raw_mini.parent / encoder
    assert main(["doctor", str(folder), "--pairs", name, "--json"]) == 0
    check(json.loads(capsys.readouterr().out), naive(folder, load_pairs(name)))


def test_raw_collapses_and_centring_cures_the_mean(raw_mini):
    from anticollapse.cures import cure_encoder

    pairs = load_pairs("demo:dev")
    raw = load_encoder(raw_mini)
    cured = cure_encoder(raw, "centring", load_pairs("demo:train").sentences)
    before, after = examine(raw, pairs).diagnosis, examine(cured, pairs).diagnosis
    assert before["mean_unrelated_cosine"].value > 0.6
    assert abs(after["mean_unrelated_cosine"].value) < 0.05
    assert after["spread"].value > 2 * before["spread"].value


def test_single_sentences_say_what_they_do_not_allow(tmp_path, tiny_encoder):
    file = tmp_path / "one.txt"
    file.write_text("a dog\nthe cat is sleeping\na man rides a horse\n")
    report = examine(load_encoder(tiny_encoder), load_pairs(file))
    assert report.diagnosis["mean_unrelated_cosine"].defined
    assert "single sentences" in report.diagnosis["spearman"].undefined
    json.dumps(report.to_json(), allow_nan=False)


def test_one_pair_all_equal_and_unlabelled(tmp_path, tiny_encoder):
    encoder = load_encoder(tiny_encoder)
    for name, text in {
        "one": "sentence1,sentence2,score\na dog,a cat,3\n",
        "equal": "sentence1,sentence2,score\na dog,a cat,3\na man,the food,3\na ball,the bank,3\n",
        "unlabelled": "sentence1,sentence2\na dog,a cat\na man,the food\n",
    }.items():
        file = tmp_path / f"{name}.csv"
        file.write_text(text)
        report = examine(encoder, load_pairs(file))
        assert report.diagnosis["spearman"].undefined.startswith("undefined because")
        json.dumps(report.to_json(), allow_nan=False)


def test_truncated_rows_are_counted(tmp_path, tiny_encoder):
    file = tmp_path / "long.csv"
    file.write_text(f"sentence1,sentence2,score\n{'dog ' * 40},a cat,1\na man,the food,3\n{'a ' * 14},{'b ' * 99},2\n")
    report = examine(load_encoder(tiny_encoder), load_pairs(file))
    assert report.truncated.tolist() == [True, False, True]


def test_text_that_the_vocabulary_does_not_know_is_said(tmp_path, tiny_encoder, capsys):
    file = tmp_path / "zh.csv"
    file.write_text("sentence1,sentence2,score\n一个男人,一个女人,2\na dog,a cat,1\n", encoding="utf-8")
    report = examine(load_encoder(tiny_encoder), load_pairs(file))
    assert report.unknown_share == pytest.approx(8 / 12)  # eight characters against four words
    assert main(["doctor", str(tiny_encoder), "--pairs", str(file)]) == 0
    assert "67% of the tokens of this text are unknown" in " ".join(capsys.readouterr().out.split())


CHINESE = "sentence1,sentence2,score\n" + "".join(f"一个男人{i},一个女人在吃,{i % 6}\n" for i in range(9))


def test_every_command_says_that_an_encoder_cannot_read_the_text(tmp_path, raw_mini, capsys):
    file = tmp_path / "zh.csv"
    file.write_text(CHINESE, encoding="utf-8")
    for command in (
        ["doctor", "raw-mini", "--pairs", str(file)],
        ["compare", "raw-mini", "raw-mini-zh", "--pairs", str(file)],
        ["explain", "raw-mini", "猫在沙发上睡觉。", "股市今天大幅下跌。"],
    ):
        assert main(command) == 0
        said = " ".join(capsys.readouterr().out.split())
        assert "of the tokens of this text are unknown to raw-mini. Sentences of" in said
        assert "Choose an encoder of this language, such as raw-mini-zh." in said
        assert "unknown to raw-mini-zh" not in said
    assert main(["explain", "raw-mini-zh", "猫在沙发上睡觉。", "股市今天大幅下跌。"]) == 0
    assert "unknown" not in capsys.readouterr().out


def test_a_cure_for_a_chinese_file_is_fitted_on_chinese(tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("ANTICOLLAPSE_DATA", raising=False)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    file = tmp_path / "zh.csv"
    file.write_text(CHINESE, encoding="utf-8")
    assert main(["doctor", "raw-mini-zh+centring", "--pairs", str(file)]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert f"was fitted on the 10 different sentences of {file}" in said.replace("zh.csv.", "zh.csv")
    assert "fitted on 10 of the 10 different sentences it is judged on here, so it looks better than it is" in said
    assert "demo" not in said


def test_a_cure_for_a_chinese_file_takes_the_named_set_where_it_is_at_hand(tmp_path, monkeypatch, capsys):
    (tmp_path / "stsb_zh").mkdir()
    lines = "".join(f"{i}||一只狗{i}||一只猫在睡{i}||{i % 6}\n" for i in range(8))
    (tmp_path / "stsb_zh" / "cnsd-sts-train.txt").write_text(lines, encoding="utf-8")
    monkeypatch.setenv("ANTICOLLAPSE_DATA", str(tmp_path))
    file = tmp_path / "zh.csv"
    file.write_text(CHINESE, encoding="utf-8")
    assert main(["doctor", "raw-mini-zh+centring", "--pairs", str(file)]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "was fitted on the 16 different sentences of stsb-zh:train" in said
    assert "it is judged on here" not in said


def report_with(vectors, *, unknown=None):
    return Report(
        encoder="enc", digest="d", pairs="p", diagnosis=diagnose(vectors), unrelated=np.zeros(0),
        truncated=np.zeros(len(vectors), bool), max_tokens=None, unknown_share=unknown, seed=0,
    )  # fmt: skip


def spread(common, n=200, d=64):
    """Vectors whose mean cosine is about common² / (1 + common²)."""
    noise = np.random.default_rng(0).normal(size=(n, d)) / np.sqrt(d)
    return noise + common * np.eye(d)[0]


@pytest.mark.parametrize(
    ("common", "state"), [(0.0, "not collapsed"), (0.7, "partly collapsed"), (1.5, "collapsed"), (9.0, "collapsed")]
)
def test_the_verdict_follows_the_mean_cosine(common, state):
    verdict = judge(report_with(spread(common)))
    assert verdict.state == state
    assert verdict.text.startswith(f"{state.capitalize()}: unrelated sentences get a mean cosine of ")
    assert verdict.to_json() == {"state": state, "text": verdict.text}


def test_one_line_in_both_directions_is_a_collapse_too():
    line = np.random.default_rng(0).choice([-1.0, 1.0], 200)[:, None] * np.eye(64)[0] + 0.1 * spread(0)
    verdict = judge(report_with(line))
    assert (verdict.state, verdict.text.partition(":")[0]) == ("collapsed", "Collapsed to one line")


def test_what_cannot_be_told_is_not_told():
    assert judge(report_with(np.ones((1, 4)))).state == "unknown"
    assert "67% of the tokens are unknown" in judge(report_with(spread(9.0), unknown=2 / 3)).text
    assert judge(report_with(np.eye(2))).state == "not collapsed"  # two sentences always lie in two directions at most


def test_the_verdict_comes_first_and_lines_are_short(tiny_encoder, monkeypatch, capsys):
    monkeypatch.chdir(tiny_encoder.parent)
    assert main(["doctor", "tiny", "--pairs", "demo:dev", "--no-cache"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert "ollapsed: unrelated sentences get a mean cosine of" in lines[0]
    assert max(map(len, lines)) <= 100
    assert "d is the number of dimensions of a sentence vector, here 32." in lines
    assert main(["doctor", "tiny", "--pairs", "demo:dev", "--no-cache", "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["verdict"]["text"] in " ".join(lines)
    assert report["dim"] == 32


@pytest.mark.parametrize(("state", "advised"), [(1.5, True), (0.7, True), (0.0, False)])
def test_what_to_do_is_a_command(state, advised):
    text = advice(report_with(spread(state)), "my enc", "p.csv")
    command = "anticollapse compare 'my enc' 'my enc+whitening' --pairs p.csv"
    assert text == (f"Try a cure without training: {command}" if advised else "")


def test_a_cured_encoder_is_not_cured_again():
    text = advice(report_with(spread(1.5)), "raw-mini+whitening", "p.csv")
    assert "--fit-on" in text
    assert "whitening+whitening" not in text
