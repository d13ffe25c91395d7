"""Cures that mix the transformer's layers: one ``WeightedLayerPooling`` behind a transformer that gives all of them."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import torch
from sentence_transformers.sentence_transformer.modules import Transformer, WeightedLayerPooling

from anticollapse.cures.cure import Values
from anticollapse.errors import OptionError


def first_last(n_states: int, values: Values) -> list[float]:
    """The mean of the first and the last layer, token by token.

    Used by Su et al. 2021 (whitening), https://arxiv.org/abs/2103.15316, and Li et al. 2020 (BERT-flow),
    https://arxiv.org/abs/2011.05864. Public code differs in what the first layer is: the output of the first
    transformer layer, or the embeddings below it.

    Args:
        n_states: Hidden states: the embeddings, then one for each layer.
        values: ``first`` = 1 for the first transformer layer, 0 for the embeddings.

    Raises:
        OptionError: The encoder has no such layer.
    """
    first = int(values["first"])
    if not first < n_states - 1:
        raise OptionError(f"the encoder has {n_states - 1} layers, so layer {first} is not below its last one")
    weights = [0.0] * n_states
    weights[first] = weights[-1] = 1.0
    return weights


def with_all_layers(transformer: Transformer) -> Transformer:
    """A copy of the transformer that gives all its layers, sharing the weights; the original is not changed.

    Args:
        transformer: Any.
    """
    shared = {id(tensor): tensor for tensor in (*transformer.parameters(), *transformer.buffers())}
    twin = copy.deepcopy(transformer, shared)
    twin.model.config.output_hidden_states = True  # kept in config.json, so a reloaded copy does the same
    return twin


def layer_mix(dim: int, weights: Sequence[float]) -> WeightedLayerPooling:
    """The module.

    Args:
        dim: Length of a token vector.
        weights: One for each hidden state.
    """
    fixed = torch.nn.Parameter(torch.tensor(weights, dtype=torch.float32), requires_grad=False)
    return WeightedLayerPooling(dim, num_hidden_layers=len(weights) - 1, layer_start=0, layer_weights=fixed)
