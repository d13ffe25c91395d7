"""Load an encoder by name, from a folder or from the Hub, with sentence-transformers as the container."""

from __future__ import annotations

import errno
import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import huggingface_hub
import torch
import transformers
from huggingface_hub.errors import GatedRepoError, HFValidationError, RepositoryNotFoundError
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import Pooling, Transformer

from anticollapse.encoding.checkpoints import HUB_FILES, check_folder, digest_folder, resolve_encoder
from anticollapse.encoding.encoder import Encoder
from anticollapse.encoding.precision import Precision
from anticollapse.errors import EncoderError

logger = logging.getLogger(__name__)


def load_encoder(
    name: str | Path,
    *,
    root: Path | None = None,
    confined: bool = False,
    device: str | None = None,
    precision: Precision = "float32",
) -> Encoder:
    """Load an encoder.

    Args:
        name: An encoder under the checkpoint root (``raw-mini``), a folder in the sentence-transformers or plain
            transformers layout (the latter gets mean pooling), or a Hub name.
        root: The checkpoint root; default: see :func:`~anticollapse.encoding.checkpoint_root`.
        confined: Accept no folder outside the root (for names that come from the app).
        device: ``cpu``, ``cuda``, ``cuda:1``, …; default: a GPU where there is one.
        precision: ``float32`` is exact; ``auto`` computes in bfloat16 where the hardware does and a check on the first
            batch passes; ``bfloat16`` asks for it, with the same check.

    Raises:
        EncoderError: Not found, not safe to load, damaged, or not reachable.
    """
    place = resolve_encoder(name, root=root, confined=confined)
    folder = place if isinstance(place, Path) else _download(place)
    check_folder(folder)
    target = _device(device)
    try:
        with quiet_transformers():
            model = _load_model(folder, target)
    except EncoderError:
        raise
    except Exception as error:
        # Damaged files surface as whatever the library beneath stumbles on; the user needs one sentence.
        logger.debug("loading %s failed", folder, exc_info=True)
        raise EncoderError(
            f"the encoder cannot be loaded ({type(error).__name__}: {' '.join(str(error).split())[:300]})",
            where=str(folder),
            remedy="Check that the folder is complete, or save the encoder again",
        ) from error
    model.eval()
    return Encoder(model, name=str(name), digest=digest_folder(folder), folder=folder, precision=precision)


def _load_model(folder: Path, device: torch.device) -> SentenceTransformer:
    if (folder / "modules.json").exists():
        model = SentenceTransformer(
            str(folder),
            device=str(device),
            local_files_only=True,
            trust_remote_code=False,
            model_kwargs={"use_safetensors": True},
        )
    else:
        safe = {"local_files_only": True, "trust_remote_code": False}
        transformer = Transformer(
            str(folder), model_kwargs={"use_safetensors": True, **safe}, config_kwargs=safe, processor_kwargs=safe
        )
        pooling = Pooling(transformer.get_embedding_dimension(), "mean")
        model = SentenceTransformer(modules=[transformer, pooling], device=str(device))
    # Weights may be stored in half precision; arithmetic in it is slower on CPUs and inexact everywhere.
    return model.float()


def is_downloaded(name: str) -> bool:
    """Whether a Hub name can be loaded without asking the Hub.

    Args:
        name: ``organisation/model``.
    """
    try:
        huggingface_hub.snapshot_download(name, allow_patterns=list(HUB_FILES), local_files_only=True)
    except (OSError, ValueError):
        return False
    return True


def _download(name: str) -> Path:
    try:
        return Path(huggingface_hub.snapshot_download(name, allow_patterns=list(HUB_FILES)))
    except GatedRepoError as error:
        raise EncoderError(
            f'"{name}" is on the Hub, but only for those who accepted its terms',
            remedy="Accept them on its page and log in with the hf command",
        ) from error
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise EncoderError(
            f'neither this machine nor the Hub has an encoder called "{name}"',
            remedy="Check the spelling; private models need a login with the hf command",
        ) from error
    except OSError as error:
        if error.errno == errno.ENOSPC:
            raise EncoderError(f'the disk is full: "{name}" cannot be stored', remedy="Make room") from error
        raise _offline(name) from error
    except Exception as error:
        # The Hub's client lets errors of the HTTP library beneath it through, whichever that is.
        logger.debug("downloading %s failed", name, exc_info=True)
        raise _offline(name) from error


def _offline(name: str) -> EncoderError:
    return EncoderError(
        f'offline: "{name}" is not on this machine, and the Hub cannot be asked for it now',
        remedy="Use an embedded or local encoder",
    )


def _device(device: str | None) -> torch.device:
    try:
        target = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
        torch.empty(1, device=target)
    except (RuntimeError, AssertionError) as error:
        raise EncoderError(f'there is no device "{device}" here', remedy="Use cpu, or cuda where a GPU is") from error
    return target


def remember_no_pooler(folder: Path, model: SentenceTransformer) -> None:
    """Say in a saved encoder's configuration that it has no pooler.

    Else whoever loads it makes one with random weights, and transformers reports those as missing.

    Args:
        folder: Where the encoder was saved.
        model: What was saved there.

    Raises:
        OSError: The configuration cannot be written.
    """
    network = getattr(model[0], "auto_model", None)
    if getattr(network, "pooler", ...) is None:
        leave_pooler_out(folder)


def leave_pooler_out(folder: Path) -> None:
    """Say in the configuration of a saved transformer that its file has no pooler, whatever the network had.

    Args:
        folder: Of the transformer.

    Raises:
        OSError: The configuration cannot be written.
    """
    file = folder / "sentence_bert_config.json"
    if file.exists():
        config = json.loads(file.read_text(encoding="utf-8"))
        config.setdefault("model_args", {})["add_pooling_layer"] = False
        file.write_text(json.dumps(config, indent=2) + "\n", encoding="utf-8")


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Keep transformers' load report and progress bar off the terminal; both are for people who train."""
    log: Any = transformers.utils.logging
    before, bar = log.get_verbosity(), log.is_progress_bar_enabled()
    log.set_verbosity_error()
    log.disable_progress_bar()
    try:
        yield
    finally:
        log.set_verbosity(before)
        if bar:
            log.enable_progress_bar()
