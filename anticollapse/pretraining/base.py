"""An encoder whose pre-training goes on, on text of another kind than it was pre-trained on.

Masked-language modelling on unlabelled text of the domain, or on the sentences of the task themselves, before a
sentence objective (Gururangan et al. 2020, https://arxiv.org/abs/2004.10964).
"""

from __future__ import annotations

import copy
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from sentence_transformers.sentence_transformer.modules import Dropout, Normalize, Pooling
from torch import Tensor
from transformers import BertForMaskedLM, BertModel

from anticollapse.encoding import Encoder, load_encoder
from anticollapse.encoding.loading import leave_pooler_out, quiet_transformers
from anticollapse.errors import EncoderError, OptionError
from anticollapse.pretraining.export import write_network
from anticollapse.pretraining.options import MAX_TOKENS, REFERENCE_WIDTH, PretrainingOptions
from anticollapse.pretraining.vocabulary import PAD, SPECIAL
from anticollapse.training.export import no_progress_bar

RATE = 3e-4
"""Peak learning rate at width 256, less when wider: 1e-4 at 768, as in the paper."""
BATCH_TOKENS = 1024
"""Tokens a step: texts to go on with are small, and 4,096 would leave 40 steps a pass over ten thousand sentences."""
MOST_ROWS = 65_536
SCRATCH_ONLY = ("size", "initial_std", "sinusoids", "offset_heads", "word_start", "frequency_bias", "position_ratio")
"""Options that say how new weights start."""
HEAD = "cls.predictions."
DROPOUTS = ("hidden_dropout_prob", "attention_probs_dropout_prob")


@dataclass(frozen=True)
class Base:
    """An encoder to go on from; :func:`open_base` makes it.

    Packing and masking want the special tokens at fixed numbers, the first five, so the vocabulary is renumbered for
    the training and put back into the encoder's own order when it is written.

    Attributes:
        encoder: The encoder, on the CPU; it is not changed.
        part: Folder of its transformer.
        tokenizer: Its tokenizer as JSON, renumbered.
        order: The encoder's number of each of our entries, shape (V,).
    """

    encoder: Encoder
    part: Path
    tokenizer: str
    order: Tensor

    @property
    def width(self) -> int:
        """Dimensions of a token vector."""
        return int(self._config.hidden_size)

    @property
    def dropout(self) -> float:
        """What its configuration says."""
        return float(self._config.hidden_dropout_prob)

    def facts(self, *, head: bool) -> dict[str, Any]:
        """What a record says of it.

        Args:
            head: Whether its file holds a head for masked tokens.
        """
        longest = self.encoder.max_tokens
        return {"name": self.encoder.name, "digest": self.encoder.digest, "head": head, "longest": longest}

    @property
    def _config(self) -> Any:  # noqa: ANN401  configurations of transformers are untyped
        return _network_of(self.encoder).config

    def network(self, dropout: float | None, seed: int) -> tuple[BertForMaskedLM, bool]:
        """The network in our order, and whether its file holds a head for masked tokens; else that starts anew.

        Args:
            dropout: In the training; None leaves what the configuration says.
            seed: Of a head that starts anew.

        Raises:
            EncoderError: If the weights cannot be read.
        """
        others: dict[str, Any] = {} if dropout is None else dict.fromkeys(DROPOUTS, dropout)
        try:
            with quiet_transformers(), torch.random.fork_rng(devices=[]):
                torch.manual_seed(seed)
                loaded: Any = BertForMaskedLM.from_pretrained(
                    self.part,
                    dtype=torch.float32,
                    output_loading_info=True,
                    local_files_only=True,
                    **others,
                )
        except (OSError, ValueError, RuntimeError) as error:
            raise EncoderError(f"the weights of {self.encoder.name} cannot be read ({error})") from error
        model: BertForMaskedLM = loaded[0]
        missing = loaded[1]["missing_keys"]
        _renumber(model, self.order)
        model.bert.embeddings.word_embeddings.padding_idx = PAD
        return model, not any(str(key).startswith(HEAD + "transform") for key in missing)

    def write(self, folder: Path, model: BertForMaskedLM) -> None:
        """Write the encoder with other weights: its own modules, tokenizer and order of entries.

        Args:
            folder: An empty one.
            model: As :meth:`network` gives it, trained.
        """
        own = copy.deepcopy(model).cpu()
        _renumber(own, torch.argsort(self.order))
        with no_progress_bar():
            self.encoder.model.save(str(folder), create_model_card=False)
        part = folder / _part_of(folder)
        write_network(part, own, *(float(getattr(self._config, name)) for name in DROPOUTS))
        leave_pooler_out(part)


def open_base(name: str | Path, *, root: Path | None = None) -> Base:
    """Open an encoder to go on from.

    Args:
        name: As for :func:`~anticollapse.encoding.load_encoder`.
        root: As there.

    Raises:
        EncoderError: If it cannot be loaded, or is no BERT with nothing but pooling after it.
    """
    if "+" in str(name) and not Path(name).exists():
        # What would help elsewhere, to save it with its cure, would be refused below.
        bare = str(name).split("+")[0]
        raise EncoderError(
            f'pre-training cannot go on from "{name}", as a cure is fitted to the vectors of an encoder as it is',
            remedy=f"Go on from {bare}, and fit the cure again afterwards",
        )
    encoder = load_encoder(name, root=root, device="cpu")
    for module in list(encoder.model)[1:]:
        if not isinstance(module, Pooling | Normalize | Dropout):
            raise EncoderError(
                f"{encoder.name} has a module that was fitted to its vectors ({type(module).__name__})",
                remedy="Go on from the encoder without it, and fit it again afterwards",
            )
    network = _network_of(encoder)
    if type(network) is not BertModel or network.config.is_decoder or encoder.folder is None:
        raise EncoderError(
            f"{encoder.name} is no BERT ({type(network).__name__})",
            remedy="Pre-training goes on from BERT encoders; fine-tuning (anticollapse train) takes others too",
        )
    if network.config.max_position_embeddings < MAX_TOKENS:
        raise EncoderError(
            f"{encoder.name} has {network.config.max_position_embeddings} positions, fewer than {MAX_TOKENS}",
            remedy="Go on from another encoder",
        )
    tokenizer, order = _vocabulary(encoder, network.config.vocab_size)
    return Base(encoder, encoder.folder / _part_of(encoder.folder), tokenizer, order)


def adapting(base: Base, **given: Any) -> PretrainingOptions:  # noqa: ANN401  the fields of the options
    """Options for going on from an encoder: lower rate and smaller steps than from nothing, its own dropout.

    Args:
        base: What to go on from.
        **given: Fields of :class:`~anticollapse.pretraining.PretrainingOptions`.

    Raises:
        OptionError: If a value is out of bounds, or says how new weights start.
    """
    for name in SCRATCH_ONLY:
        if name in given:
            raise OptionError(
                f"--{name.replace('_', '-')} is for new weights, and these are those of {base.encoder.name}",
                remedy="Leave the option out",
            )
    rate = RATE * min(1.0, REFERENCE_WIDTH / base.width)
    return PretrainingOptions(**{"learning_rate": rate, "dropout": base.dropout, "batch_tokens": BATCH_TOKENS, **given})


def _network_of(encoder: Encoder) -> Any:  # noqa: ANN401  a model of transformers
    return None if encoder.transformer is None else getattr(encoder.transformer, "auto_model", None)


def _part_of(folder: Path) -> str:
    """Where in the folder of an encoder its transformer lies."""
    file = folder / "modules.json"
    return str(json.loads(file.read_text(encoding="utf-8"))[0]["path"]) if file.is_file() else ""


def _vocabulary(encoder: Encoder, rows: int) -> tuple[str, Tensor]:
    """The tokenizer with the special tokens first, and the encoder's number of each entry.

    Args:
        encoder: The encoder.
        rows: Of its word table; some may have no token.

    Raises:
        EncoderError: If it is no WordPiece tokenizer with the five special tokens.
    """
    own: Any = encoder.transformer.tokenizer if encoder.transformer is not None else None
    backend = getattr(own, "backend_tokenizer", None)
    content = {} if backend is None else json.loads(backend.to_str())
    names = [getattr(own, f"{kind}_token", None) for kind in ("pad", "unk", "cls", "sep", "mask")]
    if content.get("model", {}).get("type") != "WordPiece" or None in names or len(set(names)) != len(SPECIAL):
        raise EncoderError(f"the tokenizer of {encoder.name} is not that of a BERT", remedy="Go on from a BERT encoder")
    if rows > MOST_ROWS:
        raise EncoderError(f"{encoder.name} has {rows:,} entries, more than {MOST_ROWS:,}")
    first = [int(own.convert_tokens_to_ids(name)) for name in names]
    vocabulary = content["model"]["vocab"]
    added = content.get("added_tokens", [])
    named = {*vocabulary.values(), *(token["id"] for token in added)}
    # Rows without a token come last: the numbers of tokens are then those below their count.
    order = first + sorted(named - set(first)) + sorted(set(range(rows)) - named - set(first))
    ours = {old: new for new, old in enumerate(order)}
    if any(number >= rows for number in named):
        raise EncoderError(
            f"{encoder.name} has more tokens than rows in its word table", remedy="The encoder is damaged"
        )
    content["model"]["vocab"] = {token: ours[number] for token, number in vocabulary.items()}
    content["added_tokens"] = [{**token, "id": ours[token["id"]]} for token in added]
    content |= {"post_processor": None, "truncation": None, "padding": None}
    return json.dumps(content, ensure_ascii=False), torch.tensor(order)


@torch.no_grad()
def _renumber(model: BertForMaskedLM, order: Tensor) -> None:
    """Take the rows of the word table and the output's bias in this order, in place."""
    words, head = model.bert.embeddings.word_embeddings, model.cls.predictions
    words.weight.copy_(words.weight[order].clone())
    if head.decoder.weight is not words.weight:
        head.decoder.weight.copy_(head.decoder.weight[order].clone())
    head.bias.copy_(head.bias[order].clone())
    if head.decoder.bias is not head.bias:
        head.decoder.bias.copy_(head.decoder.bias[order].clone())
