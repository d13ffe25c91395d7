"""Start, stop, resume, duplicate and delete runs."""

from __future__ import annotations

import dataclasses
import shutil
import signal
import time
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from anticollapse.data import PairSet
from anticollapse.encoding import checkpoint_root, list_encoders, resolve_encoder
from anticollapse.errors import DataError, OptionError, RunError
from anticollapse.runs import store
from anticollapse.runs.process import is_alive, send
from anticollapse.runs.queue import pump, pump_locked, settle
from anticollapse.runs.settings import RunSettings
from anticollapse.runs.store import Request, Run

if TYPE_CHECKING:
    from anticollapse.training import TrainingOptions, Variant

WAIT_STEP = 0.1


def start(
    variant: str | Variant,
    backbone: str | Path,
    pairs: PairSet,
    *,
    dev: PairSet | None = None,
    options: TrainingOptions | None = None,
    parameters: Mapping[str, Any] | None = None,
    name: str = "",
    device: str | None = None,
    confined: bool = False,
    root: Path | None = None,
    settings: RunSettings | None = None,
) -> Run:
    """Put a training into the queue; it starts at once when nothing else runs.

    Args:
        variant: What to train, by id or as it is in the registry with other parameters.
        backbone: The encoder to start from: a name under the root, a folder, or a Hub name.
        pairs: What to train on; they are stored with the run.
        dev: Graded pairs to choose the best checkpoint by.
        options: How long, how fast.
        parameters: Values of the variant's parameters that differ.
        name: What people will call it; default: variant and backbone.
        device: ``cpu``, ``cuda``, …; default: a GPU where there is one.
        confined: Accept no backbone outside the root (for names that come from the app).
        root: The checkpoint root.
        settings: Limits; default: those of the environment.

    Returns:
        The run, queued or running.

    Raises:
        DataError: If the pairs lack what the variant needs.
        OptionError: If there is no such variant, or a value is out of bounds.
        EncoderError: If there is no such backbone.
        RunError: If the queue or the disk is full, or the folder cannot be written.
    """
    from anticollapse.training import TrainingOptions

    root = root or checkpoint_root()
    chosen = _variant(variant, parameters or {})
    if obstacle := needs(chosen, pairs):
        raise DataError(obstacle[0].lower() + obstacle[1:], where=pairs.name, remedy="Choose other data or a variant")
    source = _backbone_name(resolve_encoder(backbone, root=root, confined=confined), root)
    given = dataclasses.asdict(options or TrainingOptions())
    request = Request(
        variant=chosen.id,
        parameters=dict(chosen.values),
        options={k: v for k, v in given.items() if v != dataclasses.asdict(TrainingOptions())[k]},
        backbone=source,
        data=_facts(pairs),
        dev=None if dev is None else _facts(dev),
        device=device,
    )
    wanted = name or f"{chosen.id} from {_shown(source, root)}"
    return _enqueue(request, wanted, pairs, dev, root, settings or RunSettings.from_environment())


def needs(variant: str | Variant, pairs: PairSet) -> str:
    """What a variant needs and the data lacks, as a sentence without a full stop; empty when it can be trained.

    Args:
        variant: Which one.
        pairs: The data.
    """
    chosen = _variant(variant, {})
    if not chosen.trains:
        return "It trains nothing"
    if chosen.needs in {"labels", "pairs"} and not pairs.has_pairs:
        return "It needs pairs of sentences, and this data has single ones"
    if chosen.needs == "labels" and not pairs.labelled:
        return "It needs pairs with scores, and these have none"
    return ""


def stop(run_id: str, *, wait: bool = False, root: Path | None = None, settings: RunSettings | None = None) -> Run:
    """Ask a run to stop; the best checkpoint so far is kept, and it can be resumed.

    Args:
        run_id: Which one; one that waits leaves the queue, one that has ended stays as it is.
        wait: Wait until it has ended; if it does not answer it gets SIGTERM, then its process group SIGKILL.
        root: The checkpoint root.
        settings: For how long it may take; default: those of the environment.

    Returns:
        The run as it is now.

    Raises:
        RunError: If there is no such run.
    """
    root = root or checkpoint_root()
    settings = settings or RunSettings.from_environment()
    with store.locked(root):
        run = settle(store.read(store.folder_of(run_id, root)))
        if run.state == "queued":
            run = dataclasses.replace(run, state="stopped", reason="Taken out of the queue by you.", ended=time.time())
            store.write(run)
        elif run.state == "running":
            store.write_json(run.folder / store.STOP, {"asked": time.time()})
    if run.state == "running" and wait:
        run = _see_it_end(run, root, settings)
    return run


def resume(run_id: str, *, root: Path | None = None, settings: RunSettings | None = None) -> Run:
    """Put a stopped, failed or lost run back into the queue; it goes on from its last checkpoint.

    Args:
        run_id: Which one.
        root: The checkpoint root.
        settings: Limits.

    Raises:
        RunError: If there is no such run, it has not ended or is done, or the queue is full.
    """
    root = root or checkpoint_root()
    settings = settings or RunSettings.from_environment()
    with store.locked(root):
        run = settle(store.read(store.folder_of(run_id, root)))
        if run.state not in store.RESUMABLE:
            raise RunError(f'the run "{run.name}" is {run.state}, so there is nothing to resume')
        runs = store.all_runs(root)
        _check_room(runs, root, settings)
        again = dataclasses.replace(run, state="queued", reason="", ticket=_next_ticket(runs), worker=None, ended=None)
        store.write(again)
        pump_locked(root, settings)
        return store.read(run.folder)


def duplicate(
    run_id: str,
    *,
    name: str = "",
    parameters: Mapping[str, Any] | None = None,
    options: Mapping[str, Any] | None = None,
    root: Path | None = None,
    settings: RunSettings | None = None,
) -> Run:
    """Start a new run like an old one, on the same stored pairs, with changes.

    Args:
        run_id: The old run.
        name: Of the new one.
        parameters: Values of the variant's parameters that differ from the old run's.
        options: Training options that differ from the old run's; a default value takes the old one back.
        root: The checkpoint root.
        settings: Limits.

    Raises:
        AntiCollapseError: As :func:`start`.
    """
    from anticollapse.training import TrainingOptions

    old = get(run_id, root=root)
    request = old.request
    return start(
        request.variant,
        request.backbone,
        store.read_pairs_of(old.folder / store.TRAIN),
        dev=None if request.dev is None else store.read_pairs_of(old.folder / store.DEV),
        options=TrainingOptions(**{**request.options, **(options or {})}),
        parameters={**request.parameters, **(parameters or {})},
        name=name or old.name,
        device=request.device,
        root=root,
        settings=settings,
    )


def delete(run_id: str, *, root: Path | None = None) -> None:
    """Delete a run with its encoder. There is no way back: ask first.

    Args:
        run_id: Which one.
        root: The checkpoint root.

    Raises:
        RunError: If there is no such run, or it is running.
    """
    root = root or checkpoint_root()
    with store.locked(root):
        run = settle(store.read(store.folder_of(run_id, root)))
        if run.state == "running":
            raise RunError(f'the run "{run.name}" is running', remedy="Stop it first")
        # First out of sight in one step, so that nobody ever sees half a run.
        gone = root / f".deleted-{run.id}"
        shutil.rmtree(gone, ignore_errors=True)
        run.folder.rename(gone)
    shutil.rmtree(gone, ignore_errors=True)


def get(run_id: str, *, root: Path | None = None) -> Run:
    """The run with this id, as it is now.

    Raises:
        RunError: If there is none.
    """
    run = store.read(store.folder_of(run_id, root))
    if run.state == "running" and not (run.worker and is_alive(run.worker, run.heartbeat)):
        pump(root)
        run = store.read(run.folder)
    return run


def list_runs(root: Path | None = None) -> list[Run]:
    """All runs, the newest first; dead ones are marked as lost and waiting ones started first.

    Raises:
        RunError: If the root cannot be written.
    """
    root = root or checkpoint_root()
    if any(not run.has_ended for run in store.all_runs(root)):
        pump(root)
    return store.all_runs(root)


def wait_for(run_id: str, *, timeout: float | None = None, root: Path | None = None) -> Run:
    """Wait until a run has ended.

    Args:
        run_id: Which one.
        timeout: Seconds, or None.
        root: The checkpoint root.

    Raises:
        RunError: If there is no such run.
        TimeoutError: If it has not ended by then.
    """
    began = time.monotonic()
    while not (run := get(run_id, root=root)).has_ended:
        if timeout is not None and time.monotonic() - began > timeout:
            raise TimeoutError(f"run {run_id} is {run.state} after {timeout:g} s")
        time.sleep(WAIT_STEP)
    return run


def write_zip(run: Run, stream: IO[bytes]) -> None:
    """Write a run's encoder as a zip of one folder that ``SentenceTransformer`` loads.

    A scorer of pairs also has its head in it, for :func:`anticollapse.training.load_pair_scorer`.

    Args:
        run: A run with an encoder.
        stream: Where to.

    Raises:
        RunError: If there is no encoder yet.
    """
    if not run.has_model:
        raise RunError(f'the run "{run.name}" has no encoder yet')
    top = f"{run.request.variant}-{run.id[:8]}"
    heads = run.folder / "heads"
    scorer = _variant(run.request.variant, {}).gives == "pair scores"
    parts = [(run.folder / store.MODEL, f"{top}/{store.MODEL}" if scorer else top)]
    if scorer and heads.is_dir():
        parts.append((heads, f"{top}/heads"))
    # Weights do not shrink, so nothing is compressed.
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_STORED) as archive:
        for folder, inside in parts:
            for file in sorted(folder.rglob("*")):
                if file.is_file() and not file.name.startswith("."):
                    archive.write(file, f"{inside}/{file.relative_to(folder).as_posix()}")


def _enqueue(
    request: Request, name: str, pairs: PairSet, dev: PairSet | None, root: Path, settings: RunSettings
) -> Run:
    run_id = store.new_id()
    temporary = root / f".new-{run_id}"
    try:
        with store.locked(root):
            _check_room(store.all_runs(root), root, settings)
        # Writing a million pairs takes seconds; nobody has to wait for that.
        temporary.mkdir(parents=True)
        store.save_pairs(temporary / store.TRAIN, pairs)
        if dev is not None:
            store.save_pairs(temporary / store.DEV, dev)
        with store.locked(root):
            runs = store.all_runs(root)
            _check_room(runs, root, settings)
            run = Run(
                id=run_id,
                name=_free_name(name, runs, root),
                folder=root / run_id,
                state="queued",
                request=request,
                ticket=_next_ticket(runs),
                created=time.time(),
            )
            store.write_json(temporary / store.RUN, run.to_json())
            temporary.rename(run.folder)
            pump_locked(root, settings)
            return store.read(run.folder)
    except OSError as error:
        raise RunError(
            f"the run cannot be written ({error.strerror or error})", where=str(root), remedy="Make room on the disk"
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _check_room(runs: list[Run], root: Path, settings: RunSettings) -> None:
    waiting = sum(run.state == "queued" for run in runs)
    if waiting >= settings.max_queued:
        raise RunError(f"the queue is full: {waiting} runs are waiting", remedy="Wait, or take one out of the queue")
    free = shutil.disk_usage(root).free >> 20
    if free < settings.keep_free_mb:
        raise RunError(
            f"the disk is nearly full: {free:,} MiB are free, and {settings.keep_free_mb:,} are to stay free",
            where=str(root),
            remedy="Delete runs that you do not need",
        )


def _see_it_end(run: Run, root: Path, settings: RunSettings) -> Run:
    """Wait; then SIGTERM; then SIGKILL to the group."""
    for number in (signal.SIGTERM, signal.SIGKILL, None):
        deadline = time.monotonic() + (settings.grace_seconds if number is not None else 5.0)
        while time.monotonic() < deadline:
            now = get(run.id, root=root)
            if now.has_ended or now.attempts != run.attempts:
                return now
            time.sleep(WAIT_STEP)
        if number is not None and run.worker is not None:
            send(run.worker, number)
    return get(run.id, root=root)


def _variant(variant: str | Variant, parameters: Mapping[str, Any]) -> Variant:
    from anticollapse.training import get_variant

    if isinstance(variant, str):
        return get_variant(variant).with_parameters(parameters)
    chosen = variant.with_parameters(parameters)
    if get_variant(chosen.id).with_parameters(chosen.values) != chosen:
        raise OptionError(
            f"the variant {chosen.id} is composed of other parts than the one registered under this name",
            remedy="Register it under a name of its own in a file that the worker can load, or call train() yourself",
        )
    return chosen


def _backbone_name(place: Path | str, root: Path) -> str:
    """Its name under the root (the id, for a run), else its folder or Hub name."""
    if isinstance(place, str) or not place.is_relative_to(root.resolve()):
        return str(place)
    inside = place.relative_to(root.resolve())
    return (inside.parent if inside.name == store.MODEL and len(inside.parts) > 1 else inside).as_posix()


def _shown(source: str, root: Path) -> str:
    """What people call a backbone."""
    if store.ID.fullmatch(source) and (root / source / store.RUN).is_file():
        return store.read(root / source).name
    return Path(source).name if Path(source).is_absolute() else source


def _facts(pairs: PairSet) -> dict[str, Any]:
    return {
        "name": pairs.name, "n": pairs.n, "digest": pairs.digest, "labelled": pairs.labelled, "pairs": pairs.has_pairs,
    }  # fmt: skip


def _next_ticket(runs: list[Run]) -> int:
    return max((run.ticket for run in runs), default=0) + 1


def _free_name(name: str, runs: list[Run], root: Path) -> str:
    """``name`` in one line and of bounded length, with a number where another run or encoder is called the same."""
    plain = "".join(char for char in " ".join(name.split()) if char.isprintable())[: store.MAX_NAME].strip() or "run"
    taken = {run.name for run in runs} | {info.name for info in list_encoders(root)}
    number = 1
    while (free := plain if number == 1 else f"{plain} ({number})") in taken:
        number += 1
    return free
