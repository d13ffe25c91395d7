from __future__ import annotations

import hashlib
import importlib.resources
import threading
from collections.abc import Callable, Iterator
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import huggingface_hub
import pytest
from huggingface_hub import constants
from huggingface_hub.errors import LocalEntryNotFoundError, OfflineModeIsEnabled

from anticollapse.data import DATA_VARIABLE, SOURCES, ColumnMap, at_hand, load_pairs
from anticollapse.errors import DataError, OptionError

ENGLISH = [
    ("A cat sleeps.", "A cat naps.", 0.9),
    ("A dog runs.", "It rains.", 0.0),
    ("Two men sing.", "Men sing.", 0.76),
]
CHINESE = [("一架飞机要起飞了。", "一架飞机正在起飞。", 5), ("三个人在下棋。", "飞机起飞了。", 1)]


@pytest.fixture(autouse=True)
def no_data_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(DATA_VARIABLE, raising=False)


@pytest.fixture
def remote(write: Callable[..., bytes]) -> dict[tuple[str, str], bytes]:
    """What the stand-in Hub holds: (repository, file) -> content."""
    held = {}
    for name, rows in (("stsb", ENGLISH), ("stsb-zh", CHINESE)):
        source = SOURCES[name]
        for i, file in enumerate(source.remote.values()):
            held[source.repo, file] = write(
                "parquet", ["sentence1", "sentence2", "score"], rows[: max(1, len(rows) - i)]
            )
    return held


class Hub(ThreadingHTTPServer):
    """As much of the Hub's protocol as a download of one file takes."""

    held: dict[tuple[str, str], bytes]
    requests: list[str]


class Handler(BaseHTTPRequestHandler):
    server: Hub

    def answer(self, *, body: bool) -> None:
        self.server.requests.append(f"{self.command} {self.path}")
        parts = self.path.split("?")[0].strip("/").split("/")
        # /datasets/OWNER/NAME/resolve/REVISION/FILE
        content = self.server.held.get(("/".join(parts[1:3]), "/".join(parts[5:]))) if len(parts) > 5 else None
        known = any(repo == "/".join(parts[1:3]) for repo, _ in self.server.held)
        if content is None:
            self.send_response(404)
            self.send_header("X-Error-Code", "EntryNotFound" if known else "RepoNotFound")
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(200)
        self.send_header("X-Repo-Commit", parts[4])
        self.send_header("ETag", f'"{hashlib.sha1(content).hexdigest()}"')
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if body:
            self.wfile.write(content)

    def do_HEAD(self) -> None:
        self.answer(body=False)

    def do_GET(self) -> None:
        self.answer(body=True)

    def log_message(self, *args: object) -> None:
        pass


@pytest.fixture
def hub(remote: dict[tuple[str, str], bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A Hub on this machine; the library's real download function is pointed at it."""
    server = Hub(("127.0.0.1", 0), Handler)
    server.held, server.requests = remote, []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    # The suite runs in offline mode; this server is on this machine.
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    here = f"http://127.0.0.1:{server.server_port}"
    real = partial(huggingface_hub.hf_hub_download, endpoint=here, cache_dir=tmp_path / "cache", token=False)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", real)
    monkeypatch.setattr(huggingface_hub, "hf_hub_url", partial(huggingface_hub.hf_hub_url, endpoint=here))
    yield server
    server.shutdown()
    server.server_close()


def test_a_download_with_progress_and_then_from_the_cache(hub: Hub) -> None:
    seen: list[tuple[str, int, int]] = []
    pairs = load_pairs("stsb", split="train", progress=lambda *step: seen.append(step))
    assert pairs.name == "stsb:train"
    assert list(zip(pairs.sentences1, pairs.sentences2 or (), strict=True)) == [(a, b) for a, b, _ in ENGLISH]
    assert pairs.require_scores().tolist() == [4.5, 0, 3.8]
    assert pairs.scale == "0-1"
    assert "from the Hugging Face Hub" in pairs.notes[0]
    size = len(hub.held[SOURCES["stsb"].repo, SOURCES["stsb"].remote["train"]])
    assert seen, "progress is told"
    assert seen[-1] == (SOURCES["stsb"].remote["train"], size, size)
    assert all(f"/resolve/{SOURCES['stsb'].revision}/" in request for request in hub.requests)
    before = len(hub.requests)
    assert load_pairs("stsb:train").digest == pairs.digest
    assert len(hub.requests) == before, "a pinned revision in the cache needs no network"


def test_at_hand_is_what_needs_no_download(hub: Hub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    kept = partial(huggingface_hub.try_to_load_from_cache, cache_dir=tmp_path / "cache")
    monkeypatch.setattr(huggingface_hub, "try_to_load_from_cache", kept)
    assert not at_hand("stsb-zh", "train")
    assert not hub.requests, "looking fetches nothing"
    load_pairs("stsb-zh:train")
    assert at_hand("stsb-zh", "train")
    assert not at_hand("stsb-zh", "dev")
    folder = tmp_path / "data" / "stsb_zh"
    folder.mkdir(parents=True)
    (folder / "cnsd-sts-dev.txt").write_text("1||下棋。||起飞。||0\n", encoding="utf-8")
    monkeypatch.setenv(DATA_VARIABLE, str(tmp_path / "data"))
    assert at_hand("stsb-zh", "dev")


def test_all_splits_and_the_chinese_set(hub: Hub) -> None:
    pairs = load_pairs("stsb-zh")
    assert (pairs.name, pairs.n, pairs.scale) == ("stsb-zh", 2 + 1 + 1, "0-5")
    assert pairs.sentences1 == tuple(CHINESE[i][0] for i in (0, 1, 0, 0))
    assert pairs.require_scores().tolist() == [5, 1, 5, 5]


def test_a_file_that_is_gone(hub: Hub) -> None:
    del hub.held[SOURCES["stsb"].repo, SOURCES["stsb"].remote["dev"]]
    with pytest.raises(DataError, match="no longer has the file") as caught:
        load_pairs("stsb:dev")
    assert DATA_VARIABLE in caught.value.remedy
    hub.held.clear()
    with pytest.raises(DataError, match="no longer has the file"):
        load_pairs("stsb:test")


def test_a_hub_that_does_not_answer(hub: Hub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    load_pairs("stsb:train")
    hub.shutdown()
    hub.server_close()
    assert load_pairs("stsb:train").n == 3  # cached
    with pytest.raises(DataError, match="cannot be downloaded") as caught:
        load_pairs("stsb:dev")
    assert f"{DATA_VARIABLE} is not set" in caught.value.what
    assert "demo" in caught.value.remedy


@pytest.mark.parametrize(
    "error",
    [
        LocalEntryNotFoundError("offline"),
        OfflineModeIsEnabled("offline"),
        ConnectionError("no route"),
        TimeoutError("slow"),
        PermissionError("cache not writable"),
        RuntimeError("the HTTP client's own"),
    ],
)
def test_offline_without_the_folder_is_one_clear_message(
    error: Exception, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def refuse(*args: object, **kwargs: object) -> str:
        raise error

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", refuse)
    monkeypatch.setenv(DATA_VARIABLE, str(tmp_path))
    with pytest.raises(DataError) as caught:
        load_pairs("stsb:dev")
    assert f"{DATA_VARIABLE} names {tmp_path}, which does not hold it" in caught.value.what
    assert "stsb_en/sts-train.csv" in caught.value.remedy


def test_a_library_without_a_progress_class_still_downloads(
    remote: dict[tuple[str, str], bytes], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def download(repo_id: str, filename: str, *, repo_type: str, revision: str, local_files_only: bool = False) -> str:
        assert (repo_type, revision) == ("dataset", SOURCES["stsb"].revision)
        path = tmp_path / Path(filename).name
        path.write_bytes(remote[repo_id, filename])
        return str(path)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    assert load_pairs("stsb:dev", progress=lambda *step: None).n == 2


def test_the_folder_serves_offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    def refuse(*args: object, **kwargs: object) -> str:
        pytest.fail("nothing is downloaded when the folder holds it")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", refuse)
    (tmp_path / "stsb_en").mkdir()
    (tmp_path / "stsb_zh").mkdir()
    for i, split in enumerate(("train", "dev", "test"), start=1):
        line = "news\tMSR\t2012\t0001\t4.0\tA cat sleeps.\tA cat naps.\n"
        (tmp_path / "stsb_en" / f"sts-{split}.csv").write_text(line * i, encoding="utf-8")
        (tmp_path / "stsb_zh" / f"cnsd-sts-{split}.txt").write_text("1||下棋。||起飞。||0\n" * i, encoding="utf-8")
    monkeypatch.setenv(DATA_VARIABLE, str(tmp_path))
    assert [load_pairs("stsb", split=split).n for split in ("train", "dev", "test")] == [1, 2, 3]
    assert load_pairs("stsb").rows.tolist() == [1, 1, 2, 1, 2, 3]
    chinese = load_pairs("stsb-zh:dev")
    assert (chinese.name, chinese.sentences1, chinese.require_scores().tolist()) == (
        "stsb-zh:dev",
        ("下棋。",) * 2,
        [0, 0],
    )
    assert DATA_VARIABLE in chinese.notes[0]


@pytest.mark.shared
def test_the_real_folder(shared_data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(DATA_VARIABLE, str(shared_data))
    for name in ("stsb", "stsb-zh"):
        assert {split: load_pairs(name, split=split).n for split in SOURCES[name].rows} == SOURCES[name].rows
        assert load_pairs(name).n == sum(SOURCES[name].rows.values())


def test_names_and_paths(tmp_path: Path) -> None:
    file = tmp_path / "pairs.csv"
    file.write_text("sentence1,sentence2,score,split\na b,c,3,train\nd,e f,1,dev\n", encoding="utf-8")
    assert load_pairs(file).n == load_pairs(str(file)).n == 2
    assert load_pairs(file, split="dev").sentences1 == ("d",)
    with pytest.raises(DataError, match="neither a set nor a file") as caught:
        load_pairs("stbs")
    assert "demo, stsb, stsb-zh" in caught.value.remedy
    with pytest.raises(DataError, match="no such file"):
        load_pairs("missing.csv")
    with pytest.raises(DataError, match="names no split"):
        load_pairs("stsb:validation")
    with pytest.raises(DataError, match="contradict"):
        load_pairs("stsb:dev", split="test")


@pytest.mark.parametrize("name", ["x" * 300, f"{'x' * 300}/y.csv", "~nosuch/x", "~nosuch", "a\0b", "loop/x.csv", ""])
def test_names_no_file_can_have(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("loop").symlink_to("loop")
    for given in (name, Path(name)):
        with pytest.raises(DataError):
            load_pairs(given)


def test_a_folder_below_nobodys_home(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: object, **kwargs: object) -> str:
        raise LocalEntryNotFoundError("offline")

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", refuse)
    monkeypatch.setenv(DATA_VARIABLE, "~nosuch/folder")
    with pytest.raises(DataError, match="names ~nosuch/folder, which does not hold it"):
        load_pairs("stsb:dev")


def test_columns_and_scale_of_a_file(tmp_path: Path) -> None:
    file = tmp_path / "pairs.csv"
    file.write_text("one,two,three,points\na b,c d,e f,1\ng h,i j,k l,0\n", encoding="utf-8")
    pairs = load_pairs(file, columns=ColumnMap(sentence1="three", sentence2=1, score="points"), scale="0-5")
    assert (pairs.sentences1, pairs.sentences2) == (("e f", "k l"), ("a b", "g h"))
    assert pairs.require_scores().tolist() == [1, 0]
    for options in ({"columns": ColumnMap(score="")}, {"scale": "0-5"}):
        with pytest.raises(OptionError, match="are known"):
            load_pairs("demo:dev", **options)


def test_the_demo_pairs_need_nothing() -> None:
    parts = {split: load_pairs("demo", split=split) for split in SOURCES["demo"].rows}
    assert {split: pairs.n for split, pairs in parts.items()} == SOURCES["demo"].rows
    pairs = load_pairs("demo")
    assert pairs.n == sum(SOURCES["demo"].rows.values())
    assert set(pairs.require_scores()) == {0, 1, 2, 3, 4, 5}
    assert pairs.groups is not None
    assert not pairs.skipped
    # Read once more without this package's reader: the texts are exactly those of the file.
    text = importlib.resources.files("anticollapse.data").joinpath("demo/pairs.tsv").read_text(encoding="utf-8")
    rows = [line.split("\t") for line in text.removesuffix("\n").split("\n")]
    assert rows[0] == ["base_id", "domain", "split", "score", "sentence1", "sentence2"]
    assert [(r[4], r[5], float(r[3]), r[1]) for r in rows[1:]] == list(
        zip(pairs.sentences1, pairs.sentences2 or (), pairs.require_scores().tolist(), pairs.groups, strict=True)
    )
    shared = set(parts["train"].sentences1) & (set(parts["dev"].sentences1) | set(parts["test"].sentences1))
    assert not shared, "a base sentence is in one split only"


def test_demo_pairs_with_quotation_marks_and_a_broken_installation(monkeypatch: pytest.MonkeyPatch) -> None:
    from anticollapse.data import sources

    header = "base_id\tdomain\tsplit\tscore\tsentence1\tsentence2\n"
    file = header + 'b1\tnews\ttrain\t5\t"Stop."\t"Halt."\nb1\tnews\tdev\t0\ta\tb\n'
    monkeypatch.setattr(sources, "demo_bytes", file.encode)
    pairs = load_pairs("demo:train")
    assert (pairs.name, pairs.sentences1, pairs.groups, pairs.scale) == ("demo:train", ('"Stop."',), ("news",), "0-5")
    monkeypatch.undo()
    monkeypatch.setattr(importlib.resources, "files", lambda package: Path("nowhere"))
    with pytest.raises(DataError, match="missing from this installation"):
        load_pairs("demo")
