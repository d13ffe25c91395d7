"""Save a cured encoder: a sentence-transformers folder with a card that says what was done."""

from __future__ import annotations

import shlex
import shutil
import tempfile
from pathlib import Path
from typing import cast

import sentence_transformers
import torch
import transformers
from torch import nn

import anticollapse
from anticollapse.cures.cure import SEPARATOR
from anticollapse.cures.fitting import CuredEncoder, Fit
from anticollapse.encoding import Encoder
from anticollapse.encoding.loading import quiet_transformers, remember_no_pooler
from anticollapse.errors import OptionError
from anticollapse.wording import count

README = "README.md"


def save_cured(encoder: Encoder, folder: Path, *, command: str = "") -> Path:
    """Save a cured encoder so that sentence-transformers alone loads it.

    The folder appears complete or not at all.

    Args:
        encoder: Of :func:`~anticollapse.cures.cure_encoder`.
        folder: Where to; must not exist, or be empty.
        command: The command that made it, for the card; default: the equivalent one.

    Returns:
        The folder.

    Raises:
        OptionError: The encoder has no cure, or the folder is taken or cannot be written.
    """
    if not isinstance(encoder, CuredEncoder):
        raise OptionError(f"{encoder.name} has no cure, so there is nothing to save", remedy="Fit a cure first")
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise OptionError("there is something already", where=str(folder), remedy="Choose a folder that does not exist")
    temporary: Path | None = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        # Beside its goal: only within one file system is a rename atomic. The dot hides it from the list of encoders.
        temporary = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".tmp", dir=folder.parent))
        with quiet_transformers():
            encoder.model.save(str(temporary), create_model_card=False, safe_serialization=True)
        remember_no_pooler(temporary, encoder.model)
        (temporary / README).write_text(model_card(encoder, folder, command=command), encoding="utf-8")
        temporary.chmod(0o755)
        temporary.replace(folder)
    except OSError as error:
        raise OptionError(f"cannot be written ({error.strerror or error})", where=str(folder)) from error
    finally:
        if temporary is not None and temporary.exists():
            shutil.rmtree(temporary, ignore_errors=True)
    return folder


def model_card(encoder: CuredEncoder, folder: Path, *, command: str = "") -> str:
    """The card of a cured encoder, in Markdown.

    Args:
        encoder: The encoder.
        folder: Where it is saved.
        command: The command that made it; default: one that does the same with default options.
    """
    base = encoder.origin
    standard, own = _module_names(encoder)
    loads = (
        "Every module is one of sentence-transformers, so the folder loads without the `anticollapse` package."
        if not own
        else f"These modules come from the `anticollapse` package, which must be installed: {', '.join(own)}."
    )
    lines = [
        "---",
        "library_name: sentence-transformers",
        "pipeline_tag: sentence-similarity",
        "tags: [sentence-transformers, anticollapse, training-free]",
        "---",
        f"# {_inline(encoder.name)}",
        "",
        f"`{_inline(base.name)}` with {count(len(encoder.fits), 'training-free cure')} against the collapse of its "
        "sentence vectors. No weight of the transformer was changed.",
        "",
        *[line for fit in encoder.fits for line in _section(fit)],
        "## The encoder",
        "",
        "| | |",
        "|---|---|",
        f"| base | `{_inline(base.name)}`, SHA-256 `{base.digest}` |",
        f"| sentence vector | {dimensions(encoder)} |",
        f"| longest input | {encoder.max_tokens or 'unlimited'} tokens |",
        f"| modules | {', '.join(standard + own)} |",
        f"| made with | anticollapse {anticollapse.__version__}, sentence-transformers "
        f"{sentence_transformers.__version__}, transformers {transformers.__version__}, torch {torch.__version__} |",
        "| licence | that of the base, whose weights are in this folder |",
        "",
        loads,
        "",
        "```python",
        "from sentence_transformers import SentenceTransformer",
        "",
        f'encoder = SentenceTransformer("{_inline(folder.name)}")',
        "```",
        "",
        "Made with:",
        "",
        "```sh",
        command or cure_command(encoder, folder),
        "```",
    ]
    return "\n".join(lines) + "\n"


def dimensions(encoder: CuredEncoder) -> str:
    """Length of the sentence vectors, and of the base's where cures changed it: ``256 → 128 dimensions``."""
    before, now = encoder.origin.dim, encoder.dim
    return f"{now} dimensions" if now == before else f"{before} → {now} dimensions"


def cure_command(encoder: CuredEncoder, folder: Path) -> str:
    """The command that makes this encoder.

    Args:
        encoder: The encoder.
        folder: Where it is saved.
    """
    chain = SEPARATOR.join(fit.prescription.text for fit in encoder.fits)
    words = ["python", "-m", "anticollapse", "cure", chain, encoder.origin.name]
    text = next((fit for fit in encoder.fits if fit.n_sentences), None)
    if text is not None:
        words += ["--text", text.source or "TEXT"]
    counted = next((fit for fit in encoder.fits if fit.counts_digest), None)
    if counted is not None:
        words += ["--counts", counted.counts.partition(", special tokens in ")[0]]
    return shlex.join([*words, "--output", str(folder)]).replace("\n", " ")


def _section(fit: Fit) -> list[str]:
    cure, values = fit.prescription
    lines = [f"## {cure.name}", "", f"{cure.summary} {cure.paper}, {cure.url}", "", "| | |", "|---|---|"]
    for parameter in cure.parameters:
        value = values.get(parameter.name)
        shown = f"{value:g}" if value is not None else f"automatic ({parameter.automatic})"
        lines.append(f"| {parameter.name} | {shown}: {parameter.summary[0].lower()}{parameter.summary[1:-1]} |")
    if fit.n_sentences:
        source = f"`{_inline(fit.source)}`, " if fit.source else ""
        lines.append(f"| fitted on | {source}{fit.n_sentences:,} different sentences, without labels |")
        lines.append(f"| their SHA-256 | `{fit.text_digest}` (sorted, each ended by a zero byte) |")
    elif fit.counts_digest:
        lines.append("| fitted on | the token counts alone: no text was read |")
    else:
        lines.append("| fitted on | nothing: it needs no text |")
    if fit.counts:
        lines.append(f"| tokens counted in | {_inline(fit.counts)} |")
    if fit.counts_digest:
        lines.append(f"| SHA-256 of the count | `{fit.counts_digest}` |")
    return [*lines, ""]


def _module_names(encoder: Encoder) -> tuple[list[str], list[str]]:
    """Names of the modules of sentence-transformers, and of those that are not."""
    names: tuple[list[str], list[str]] = ([], [])
    for module in cast("list[nn.Module]", list(encoder.model)):
        names[not type(module).__module__.startswith("sentence_transformers.")].append(type(module).__name__)
    return names


def _inline(text: str) -> str:
    """User text inside Markdown: one line, no table or code marks."""
    return " ".join(text.split()).replace("`", "'").replace("|", "/").replace("<", "‹").replace(">", "›")
