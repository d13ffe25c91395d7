"""Before a command runs: mistyped options, files that are not there, Ctrl-C while libraries are imported."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from anticollapse import cli
from anticollapse.cli import main
from anticollapse.commands.files import named_files


def usage_error(capsys, *arguments):
    with pytest.raises(SystemExit) as stop:
        raise SystemExit(main(arguments))
    assert stop.value.code == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    return error


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (["doctor", "raw-mini", "--pears", "demo:dev"], "doctor: unknown option --pears, did you mean --pairs?"),
        (["doctor", "raw-mini", "--pears=demo:dev"], "unknown option --pears, did you mean --pairs?"),
        (["compare", "a", "b", "--pairs", "demo:dev", "--refrence", "a"], "did you mean --reference?"),
        (["tokens", "raw-mini", "--pairs", "demo:dev", "--zzz"], "unknown option --zzz;"),
        (
            ["train", "sbert", "--bakbone", "raw-mini"],
            "train sbert: unknown option --bakbone, did you mean --backbone?",
        ),
        (["train", "--backbone", "raw-mini", "sbert"], "--backbone must come after VARIANT"),
        (["runs", "start", "sbert", "--output", "x"], "runs start sbert: unknown option --output"),
        (
            ["--verbsoe", "doctor", "a", "--pairs", "demo"],
            "anticollapse: unknown option --verbsoe, did you mean --verbose?",
        ),
        (["doctor"], "the following arguments are required: ENCODER, --pairs"),
        (["doctor", "a", "b", "--pairs", "demo"], "unrecognized arguments: b"),
    ],
)
def test_a_mistyped_option_is_named_with_the_nearest(capsys, arguments, named):
    assert named in usage_error(capsys, *arguments)


@pytest.mark.parametrize("command", ["pretrain", "study", "train"])
def test_training_needs_neither_figures_nor_workbooks(command):
    """A machine with a GPU may have torch and little else."""
    absent = "plotly streamlit umap numba pynndescent openpyxl"
    script = (
        f"import sys\nfor name in {absent.split()!r}:\n    sys.modules[name] = None\n"
        f"from anticollapse.cli import main\nmain([{command!r}, '--help'])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    assert f"usage: anticollapse {command}" in done.stdout


def test_an_unknown_command_is_told_of_all(capsys):
    message = usage_error(capsys, "doktor", "raw-mini")
    assert "doktor" in message
    assert all(command in message for command in cli.COMMANDS)


def test_the_beginning_of_an_option_is_still_taken(capsys):
    assert "unknown" not in usage_error(capsys, "doctor", "raw-mini", "--pair", "demo:dev", "--scale", "0-7")


@pytest.mark.parametrize(
    "arguments",
    [
        ["doctor", "raw-mini", "--pairs", "none.csv"],
        ["doctor", "raw-mini", "--pairs=no/such"],
        ["tokens", "raw-mini", "--pairs", "demo:dev", "--counts", "none.csv"],
        ["cure", "centring", "raw-mini", "--text", "none.csv", "--output", "out"],
        ["compare", "raw-mini", "--fit-on", "none.csv", "--pairs", "demo:dev"],
        ["train", "sbert", "--backbone", "raw-mini", "--pairs", "demo", "--dev", "none.csv", "--output", "run"],
        ["pretrain", "--output", "run", "--text", "here.txt", "none.csv"],
    ],
)
def test_a_missing_file_is_told_before_anything_is_imported(tmp_path, monkeypatch, capsys, arguments):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here.txt").write_text("a line\n")
    monkeypatch.setattr(cli, "build_parser", lambda *_: pytest.fail("libraries were imported first"))
    assert main(arguments) == 2
    name = "no/such" if "no/such" in arguments[-1] else "none.csv"
    assert capsys.readouterr().err == f"anticollapse: {name}: there is no such file. Check the path.\n"


def test_only_what_is_read_is_looked_for():
    given = [
        "compare",
        "a/b",
        "--pairs",
        "x.csv",
        "c/d",
        "--report",
        "r.html",
        "--fit-on=y.csv",
        "--",
        "--text",
        "z.csv",
    ]
    assert list(named_files(given)) == ["x.csv", "y.csv"]


def test_ctrl_c_while_libraries_are_imported_is_one_line():
    # Each import is reported as it ends, so that the signal comes in the middle of them whatever the machine does.
    command = [sys.executable, "-X", "importtime", "-m", "anticollapse", "doctor", "raw-mini", "--pairs", "demo:dev"]
    # A suite that a script started in the background ignores Ctrl-C, and so would what it starts.
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    assert process.stderr is not None
    for line in process.stderr:
        if "numpy" in line:
            process.send_signal(signal.SIGINT)
            break
    said = [line for line in process.stderr if not line.startswith("import time:")]
    assert process.wait(timeout=120) == 130
    assert said == ["anticollapse: stopped\n"]
    process.stderr.close()
    assert process.stdout is not None
    assert process.stdout.read() == ""
    process.stdout.close()


def test_ctrl_c_in_a_command_is_one_line(monkeypatch, capsys):
    def interrupted(_):
        raise KeyboardInterrupt

    monkeypatch.setattr(cli, "check_files", interrupted)
    assert main(["doctor", "raw-mini", "--pairs", "demo:dev"]) == 130
    assert capsys.readouterr().err == "anticollapse: stopped\n"


def test_the_handler_of_ctrl_c_is_put_back_and_an_ignored_one_stays():
    before = signal.getsignal(signal.SIGINT)
    try:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        with cli.interrupts_end_at_once():
            assert signal.getsignal(signal.SIGINT) is not signal.default_int_handler
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        with cli.interrupts_end_at_once():
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)
