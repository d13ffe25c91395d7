"""Where encoders live, what they are called, and which folders may be loaded at all."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

from anticollapse.errors import EncoderError

logger = logging.getLogger(__name__)

RUN_ID, SHORT_ID = re.compile(r"[0-9a-f]{32}"), re.compile(r"[0-9a-fA-F]{6,32}")
RUN, MODEL = "run.json", "model"
"""What the folder of a training holds (:mod:`anticollapse.runs.store`): its description, and the encoder."""

HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,95}(/[A-Za-z0-9][\w.-]{0,95})?")
ALLOWED_MODULES = frozenset(
    {"Transformer", "Pooling", "Dense", "Normalize", "LayerNorm", "Dropout", "WordWeights", "WeightedLayerPooling"}
    | {"StaticEmbedding", "WordEmbeddings", "BoW", "CNN", "LSTM"}
)
"""Classes of sentence-transformers. Not Router: its parts are loaded from folders that it names itself."""

MODULE_PLACES = re.compile(r"sentence_transformers(\.(models|base|sentence_transformer|modules|[a-z_]+))*")
HUB_FILES = ("*.json", "*.safetensors", "*.txt", "*.model", "*.tiktoken", "README.md")
TOKENIZERS = ("tokenizer.json", "vocab.txt", "vocab.json", "*.model", "*.tiktoken", "whitespacetokenizer_config.json")
CODE_CARRIERS = ("config.json", "tokenizer_config.json", "processor_config.json", "preprocessor_config.json")
PICKLES = ("*.bin", "*.pt", "*.pth", "*.pkl", "*.ckpt")

T = TypeVar("T")
Kind = Literal["embedded", "trained", "local", "hub"]


@dataclass(frozen=True)
class EncoderInfo:
    """An encoder that can be chosen.

    Attributes:
        name: What the user writes to choose it.
        folder: Where it lies.
        kind: Shipped with the project, trained here, a folder of the user's, or from the Hub.
        dim: Length of its vectors before any added module, or None when its configuration does not say.
        layers: Transformer layers, or None.
    """

    name: str
    folder: Path
    kind: Kind
    dim: int | None
    layers: int | None


def checkpoint_root() -> Path:
    """``ANTICOLLAPSE_CHECKPOINTS``, else ``checkpoints`` in this folder, else the one beside the package."""
    chosen = os.environ.get("ANTICOLLAPSE_CHECKPOINTS")
    if chosen:
        return Path(chosen).resolve()
    here = Path.cwd() / "checkpoints"
    return (here if here.is_dir() else Path(__file__).resolve().parents[2] / "checkpoints").resolve()


def list_encoders(root: Path | None = None) -> list[EncoderInfo]:
    """The encoders under the checkpoint root, embedded ones first, then by name.

    Args:
        root: The checkpoint root; default :func:`checkpoint_root`.
    """
    root = root or checkpoint_root()
    found = [info for folder in _folders(root) if (info := _describe(folder, root)) is not None]
    return sorted(found, key=lambda info: (info.kind != "embedded", info.name))


def resolve_encoder(name: str | Path, *, root: Path | None = None, confined: bool = False) -> Path | str:
    """Turn a name into a folder, or into a Hub name.

    Args:
        name: A checkpoint under the root, a folder (of an encoder, or of a training with one), the name of a run or the
            first six or more digits of its id, or a Hub name (``organisation/model``).
        root: The checkpoint root; default :func:`checkpoint_root`.
        confined: Only folders under the root are allowed (names that come from the app).

    Raises:
        EncoderError: The name is none of these, or leaves the root; or it may be one of several runs.
    """
    root = (root or checkpoint_root()).resolve()
    text = str(name)
    if not text or "\0" in text:
        raise EncoderError("the name of the encoder is empty", remedy=_known(root))
    try:
        return _resolve(text, root, confined=confined)
    except (OSError, RuntimeError, ValueError) as error:
        # Too long for the file system, a home folder of nobody, a loop of links: no such encoder either.
        raise EncoderError(f'there is no encoder called "{text[:200]}"', remedy=_known(root)) from error


def _resolve(text: str, root: Path, *, confined: bool) -> Path | str:
    inside = _encoder_in(root / text)
    if inside is not None and inside.is_relative_to(root) and inside != root:
        return inside
    if not confined:
        local = Path(text).expanduser()
        if local.is_dir():
            found = _encoder_in(local)
            if found is None:
                raise EncoderError(
                    "this folder has no config.json or modules.json, so it is no encoder",
                    where=text,
                    remedy="Give a folder in the sentence-transformers or transformers layout, or that of a training",
                )
            return found
        run = _encoder_of_run(text, root)
        if run is not None:
            return run
    if HUB_NAME.fullmatch(text) and "/" in text:
        return text
    base, plus, cure = text.partition("+")
    if plus and _encoder_in(root / base) is not None:
        # Training starts from weights; a cure behind a name is fitted when vectors are judged.
        raise EncoderError(
            f'here "{text[:200]}" cannot be used, as its cure would have to be fitted first',
            remedy=f"Save it (anticollapse cure {cure[:80]} {base} --text … --output DIR) and name DIR",
        )
    raise EncoderError(f'there is no encoder called "{text[:200]}"', remedy=_known(root))


def _encoder_in(folder: Path) -> Path | None:
    """The folder itself or, where it is one of a training, the encoder in it, with links followed; None for neither."""
    return next((place.resolve() for place in (folder, folder / MODEL) if _is_encoder(place)), None)


def _encoder_of_run(text: str, root: Path) -> Path | None:
    """The encoder of the one run whose id begins with a text, or that is called so; None where there is no such run.

    Raises:
        EncoderError: Several runs are meant, or the run has no encoder.
    """
    runs = {folder: _run_name(folder) for folder in _run_folders(root)}
    begins = SHORT_ID.fullmatch(text) is not None
    found = [f for f, name in runs.items() if name == text or (begins and f.name.startswith(text.lower()))]
    if not found:
        return None
    listed = ", ".join(f'{folder.name[:12]} ("{runs[folder]}")' for folder in found[:8])
    if len(found) > 1:
        raise EncoderError(
            f'"{text}" may be any of {len(found)} runs: {listed}',
            remedy="Give more digits of the id of the one you mean",
        )
    encoder = _encoder_in(found[0])
    if encoder is None:
        raise EncoderError(
            f"the run {listed} has no encoder yet", remedy="Wait until its first evaluation, or choose another"
        )
    return encoder


def _run_folders(root: Path) -> list[Path]:
    if not root.is_dir():
        return []
    return [folder for folder in sorted(root.iterdir()) if RUN_ID.fullmatch(folder.name) and (folder / RUN).is_file()]


def _run_name(folder: Path) -> str:
    """What people call a run; empty where its description cannot be read."""
    try:
        return str(read_json(folder / RUN, dict).get("name", ""))
    except EncoderError:
        return ""


def check_folder(folder: Path) -> None:
    """Refuse what could run code or hold a pickle.

    Args:
        folder: An encoder in the sentence-transformers or transformers layout.

    Raises:
        EncoderError: No safetensors weights, a module from outside the allowed packages, or an unreadable file.
    """
    for part in [folder, *_module_folders(folder)]:
        weights = part / "model.safetensors"
        pickles = [file.name for pattern in PICKLES for file in part.glob(pattern)]
        if pickles and not (weights.is_file() or any(part.glob("model-*-of-*.safetensors"))):
            raise EncoderError(
                f"the weights are stored as a pickle ({pickles[0]}), which can run code when it is opened",
                where=str(part),
                remedy="Convert them to safetensors: load the encoder where you trust it and save it again",
            )
    if not any(folder.rglob("*.safetensors")):
        raise EncoderError("there are no safetensors weights", where=str(folder), remedy="Save the encoder again")
    for config in (file for name in CODE_CARRIERS for file in folder.rglob(name)):
        if "auto_map" in read_json(config, dict):
            raise EncoderError(
                "this encoder brings code of its own (auto_map), which is never run",
                where=str(config),
                remedy="Use an encoder of an architecture that transformers knows",
            )
    # transformers makes up an empty tokenizer where there is none, and every sentence becomes unknown tokens.
    if not any(found for pattern in TOKENIZERS for found in folder.rglob(pattern)):
        raise EncoderError("there is no tokenizer", where=str(folder), remedy="Save the encoder with its tokenizer")


def digest_folder(folder: Path) -> str:
    """SHA-256 over everything that decides the vectors: weights, configuration, tokenizer.

    Args:
        folder: An encoder's folder.

    Returns:
        64 hexadecimal digits; the same for a copy of the folder elsewhere.
    """
    digest = hashlib.sha256()
    for file in sorted(folder.rglob("*")):
        relative = file.relative_to(folder)
        if not file.is_file() or file.suffix in {".md", ".jsonl", ".tmp"} or relative.parts[0].startswith("."):
            continue
        digest.update(f"{relative.as_posix()}\0{file.stat().st_size}\0".encode())
        with file.open("rb") as stream:
            while block := stream.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def _module_folders(folder: Path) -> Iterator[Path]:
    file = folder / "modules.json"
    if not file.exists():
        return
    for module in read_json(file, list):
        if not isinstance(module, dict) or not isinstance(module.get("type"), str):
            raise EncoderError("an entry has no type", where=str(file), remedy="Save the encoder again")
        place, _, name = module["type"].rpartition(".")
        if name not in ALLOWED_MODULES or not MODULE_PLACES.fullmatch(place):
            raise EncoderError(
                f'the module type "{module["type"][:100]}" is not one of those that are loaded here',
                where=str(file),
                remedy=f"These are loaded: {', '.join(sorted(ALLOWED_MODULES))}",
            )
        part = (folder / str(module.get("path", ""))).resolve()
        if not part.is_relative_to(folder.resolve()):
            raise EncoderError("a module's path leaves the encoder's folder", where=str(file))
        yield part


def read_json(file: Path, kind: type[T]) -> T:
    """Read a JSON file of a given top-level type.

    Raises:
        EncoderError: It cannot be read, or is of another type.
    """
    try:
        value = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise EncoderError(f"cannot be read ({error})", where=str(file), remedy="Save the encoder again") from error
    if not isinstance(value, kind):
        raise EncoderError(f"holds no {kind.__name__}", where=str(file), remedy="Save the encoder again")
    return value


def _is_encoder(folder: Path) -> bool:
    return (folder / "modules.json").is_file() or (folder / "config.json").is_file()


def _folders(root: Path) -> Iterator[Path]:
    if not root.is_dir():
        return
    for entry in sorted(root.iterdir()):
        if entry.name.startswith((".", "_")) or not entry.is_dir():
            continue
        if _is_encoder(entry):
            yield entry
        elif _is_encoder(entry / MODEL):
            yield entry / MODEL


def _describe(folder: Path, root: Path) -> EncoderInfo | None:
    try:
        config = read_json(folder / "config.json", dict) if (folder / "config.json").exists() else {}
    except EncoderError as error:
        logger.warning("%s", error)
        return None
    trained = folder.name == MODEL and folder.parent != root
    owner = folder.parent if trained else folder
    shipped = (Path(__file__).resolve().parents[2] / "checkpoints" / owner.name).resolve() == owner.resolve()
    kind: Kind = "trained" if trained else "embedded" if shipped and owner.name.endswith(EMBEDDED) else "local"
    size, layers = config.get("hidden_size"), config.get("num_hidden_layers")
    return EncoderInfo(
        name=owner.relative_to(root).as_posix(),
        folder=folder,
        kind=kind,
        dim=size if isinstance(size, int) else None,
        layers=layers if isinstance(layers, int) else None,
    )


EMBEDDED = ("-mini", "-mini-zh")
"""How the names of the shipped encoders end."""


def _known(root: Path) -> str:
    found = [_shown(info) for info in list_encoders(root)[:8]]
    return f"Here are: {', '.join(found) or 'none'}; a folder or a Hub name (organisation/model) works too"


def _shown(info: EncoderInfo) -> str:
    """An encoder as a person would write it: a run by the start of its id, with its name."""
    name = _run_name(info.folder.parent) if RUN_ID.fullmatch(info.name) else ""
    return f'{info.name[:8]} ("{name}")' if name else info.name
