"""Start, stop, resume, duplicate and delete runs."""

from __future__ import annotations

import dataclasses
import logging
import shutil
import time
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from anticollapse.data import PairSet
from anticollapse.encoding import checkpoint_root, list_encoders, resolve_encoder
from anticollapse.errors import DataError, OptionError, RunError
from anticollapse.runs import stopping, store
from anticollapse.runs.queue import judge, needs_pump, no_room, pump, pump_locked, settle
from anticollapse.runs.settings import RunSettings
from anticollapse.runs.store import Listing, Request, Run

if TYPE_CHECKING:
    from anticollapse.training import TrainingOptions, Variant

logger = logging.getLogger(__name__)

WAIT_STEP = 0.1
LOOK_STEP = 1.0
"""Seconds between two looks at the whole queue while one run is waited for."""
LAST_SECONDS = 5.0
"""What a process that got SIGKILL has to vanish."""


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
        settings: Limits; default: those of the environment. What belongs to a run stays with it.

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
        RunError: If there is no such run, or nothing can be written.
    """
    root = root or checkpoint_root()
    settings = settings or RunSettings.from_environment()
    with store.writing(root), store.locked(root):
        run = settle(store.read(store.folder_of(run_id, root)))
        if run.state == "queued":
            run = dataclasses.replace(run, state="stopped", reason="Taken out of the queue by you.", ended=time.time())
            store.write_last(run)
        elif run.state == "running":
            stopping.ask(run, settings.grace_seconds)
    if run.state == "running" and wait:
        run = _see_it_end(run, root, settings)
    return run


def resume(run_id: str, *, root: Path | None = None, settings: RunSettings | None = None) -> Run:
    """Put a stopped, failed or lost run back into the queue; it goes on from its last checkpoint.

    Args:
        run_id: Which one.
        root: The checkpoint root.
        settings: Limits, for this start of it and the queue.

    Raises:
        RunError: If there is no such run, nothing can be written, it has not ended or is done, or the queue is full.
    """
    root = root or checkpoint_root()
    settings = settings or RunSettings.from_environment()
    with store.writing(root), store.locked(root):
        run = settle(store.read(store.folder_of(run_id, root)))
        if run.state not in store.RESUMABLE:
            raise RunError(f'the run "{run.name}" is {run.state}, so there is nothing to resume')
        runs = store.all_runs(root)
        _check_room(runs, root, settings)
        again = dataclasses.replace(
            run, state="queued", reason="", ticket=_next_ticket(runs), worker=None, ended=None, limits=settings.limits
        )
        store.write(again)
        _move_on(root, settings)
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
        RunError: If there is no such run, it is running, or others that have not come to their end start from it.
    """
    root = root or checkpoint_root()
    with store.writing(root), store.locked(root):
        folder = store.folder_of(run_id, root)
        run = next(one for one in store.all_runs(root) if one.id == run_id)
        # Not settled: on a full disk that cannot be written, and to delete is what helps there.
        if judge(run).state == "running":
            raise RunError(f'the run "{run.name}" is running', remedy="Stop it first")
        if others := dependants(run_id, root=root):
            names = ", ".join(f'"{one.name}" ({one.state})' for one in others[:5])
            raise RunError(
                f'other runs start from the encoder of "{run.name}" and still need it: {names}',
                remedy="Delete those first, or let them be done",
            )
        # First out of sight in one step, so that nobody ever sees half a run.
        gone = root / f"{store.DELETED}{run_id}"
        shutil.rmtree(gone, ignore_errors=True)
        folder.rename(gone)
    shutil.rmtree(gone, ignore_errors=True)


def dependants(run_id: str, *, root: Path | None = None) -> list[Run]:
    """The runs that start from a run's encoder and are not done: waiting, running, or to be resumed.

    Args:
        run_id: The run whose encoder it is.
        root: The checkpoint root.
    """
    return [run for run in store.all_runs(root) if run.request.backbone == run_id and run.state != "done"]


def get(run_id: str, *, root: Path | None = None) -> Run:
    """The run with this id, as it is now.

    Raises:
        RunError: If there is none, or the queue has to be moved on and cannot be written.
    """
    root = root or checkpoint_root()
    return _now(store.folder_of(run_id, root), root, Listing(root))


def _now(folder: Path, root: Path, listing: Listing) -> Run:
    run = store.read(folder)
    if run.has_ended:
        return run
    settings = RunSettings.from_environment()
    # What runs is looked at by itself; what waits may wait for one that is dead.
    if needs_pump([run] if run.state == "running" else listing.runs(), settings):
        pump(root, settings)
        return store.read(folder)
    return run


def list_runs(root: Path | None = None) -> list[Run]:
    """All runs, the newest first; dead ones are marked as lost and waiting ones started first.

    Where nothing can be written, the runs are listed as they are all the same.
    """
    root = root or checkpoint_root()
    if any(not run.has_ended for run in store.all_runs(root)):
        try:
            pump(root)
        except RunError as error:
            logger.warning("%s", error)
    return [judge(run) for run in store.all_runs(root)]


def wait_for(run_id: str, *, timeout: float | None = None, root: Path | None = None) -> Run:
    """Wait until a run has ended.

    Args:
        run_id: Which one.
        timeout: Seconds, or None.
        root: The checkpoint root.

    Raises:
        RunError: If there is no such run, or the queue has to be moved on and cannot be written.
        TimeoutError: If it has not ended by then.
    """
    began = time.monotonic()
    root = root or checkpoint_root()
    listing = Listing(root, every=LOOK_STEP)
    while not (run := _now(store.folder_of(run_id, root), root, listing)).has_ended:
        if timeout is not None and time.monotonic() - began > timeout:
            raise TimeoutError(f"run {run_id} is {run.state} after {timeout:g} s")
        time.sleep(WAIT_STEP)
    return run


def _enqueue(
    request: Request, name: str, pairs: PairSet, dev: PairSet | None, root: Path, settings: RunSettings
) -> Run:
    run_id = store.new_id()
    temporary = root / f"{store.NEW}{run_id}"
    try:
        with store.writing(root), ExitStack() as stack:
            with store.locked(root):
                _check_room(store.all_runs(root), root, settings)
                temporary.mkdir(parents=True)
                stack.enter_context(store.held(temporary))
            # Writing a million pairs takes seconds; nobody has to wait for that.
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
                    limits=settings.limits,
                )
                for file in (store.REQUEST, store.RUN):
                    store.write_json(temporary / file, run.to_json())
                temporary.rename(run.folder)
                _move_on(root, settings)
                return store.read(run.folder)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _move_on(root: Path, settings: RunSettings) -> None:
    """Pump; what was asked for stands in the queue, whatever comes of that."""
    try:
        pump_locked(root, settings)
    except OSError as error:
        logger.warning("the queue cannot be moved on: %s", error)


def _check_room(runs: list[Run], root: Path, settings: RunSettings) -> None:
    waiting = sum(run.state == "queued" for run in runs)
    if waiting >= settings.max_queued:
        raise RunError(f"the queue is full: {waiting} runs are waiting", remedy="Wait, or take one out of the queue")
    if obstacle := no_room(root, settings):
        raise RunError(obstacle, where=str(root), remedy="Delete runs that you do not need")


def _see_it_end(run: Run, root: Path, settings: RunSettings) -> Run:
    """Wait; who looks at it sends what is due."""
    request = stopping.asked(run, settings)
    left = LAST_SECONDS + (0.0 if request is None else 2 * request.grace - request.seconds)
    deadline = time.monotonic() + left
    while time.monotonic() < deadline:
        now = get(run.id, root=root)
        if now.has_ended or now.attempts != run.attempts:
            return now
        time.sleep(WAIT_STEP)
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
