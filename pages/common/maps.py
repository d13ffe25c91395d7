"""Work of the Map page, kept between runs and sessions: facts, vectors, maps, groups, tooltips, lists of neighbours."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import numpy as np
import streamlit as st
from numpy.typing import NDArray

from anticollapse.data import PairSet, normalise
from anticollapse.encoding import Encoder
from anticollapse.encoding.cache import default_cache_folder
from anticollapse.figures.map import FULL_TEXT_UP_TO, tooltips
from anticollapse.figures.style import Series
from anticollapse.measures.array_cache import ArrayCache
from anticollapse.measures.clusters import Clusters, clusters
from anticollapse.measures.neighbours import N_NEIGHBOURS, CentredDirections, Neighbours, nearest_neighbours
from anticollapse.measures.projection import MapSettings, Projection
from anticollapse.neighbourhoods import MapReport, Sample, SentenceFacts, first_picture, map_sentences
from pages.common import work

KEEP_VECTORS = 24
"""Arrays of vectors and of directions held in memory: those of two maps of six encoders. All others are read from disk
or computed again."""
KEEP_VECTOR_BYTES = 3 * 1024**3
KEEP_LISTS = 512
"""Lists of neighbours, one for each sentence that was clicked and encoder: few bytes each."""

Array = NDArray[np.floating]


@dataclass(frozen=True)
class Drawn:
    """What a map is made of.

    Attributes:
        series: Name and colour of each encoder.
        encoders: The encoders.
        vectors: ``(N, d)`` sentence vectors of each.
        facts: The N sentences.
        sample: Which are drawn.
        settings: Parameters of the map.
        key: Identifies the sentences, the encoders, the sample, the settings and what tooltips say.
        data: Digest of the pairs.
    """

    series: tuple[Series, ...]
    encoders: tuple[Encoder, ...]
    vectors: tuple[Array, ...]
    facts: SentenceFacts
    sample: Sample
    settings: MapSettings
    key: str
    data: str

    @property
    def names(self) -> list[str]:
        """Names of the encoders."""
        return [series.name for series in self.series]


@st.cache_resource
def _vectors() -> work.Store:
    return work.Store(KEEP_VECTORS, KEEP_VECTOR_BYTES)


@st.cache_resource
def _lists() -> work.Store:
    """On their own, so that clicks do not push a map out."""
    return work.Store(KEEP_LISTS)


@dataclass(frozen=True)
class Texts:
    """What searches and selections need of the sentences.

    Attributes:
        folded: Each sentence as searches compare it.
        digest: Identifies the sentences and their order.
    """

    folded: list[str]
    digest: str


def texts(drawn: Drawn) -> Texts:
    """The sentences, made ready once for a set."""
    key = ("texts", drawn.data)
    found = work.results().get(key)
    if found is None:
        digest = hashlib.sha256("\0".join(drawn.facts.texts).encode("utf-8", "surrogatepass")).hexdigest()
        found = Texts([normalise(text).casefold() for text in drawn.facts.texts], digest)
        work.results().put(key, found)
    return found


def _origins(pairs: PairSet) -> str:
    """Digest of what the digest of pairs leaves out: sources and row numbers."""
    sha = hashlib.sha256(str(pairs.groups is None).encode() + pairs.rows.astype("<i8").tobytes())
    sha.update("\0".join(pairs.groups or ()).encode("utf-8", "surrogatepass"))
    return sha.hexdigest()


def facts(pairs: PairSet) -> SentenceFacts:
    """What is known about each sentence of a set."""
    key = ("facts", pairs.digest, _origins(pairs))
    found = work.results().get(key)
    if found is None:
        found = SentenceFacts.of(pairs)
        work.results().put(key, found)
    return found


def vectors(encoder: Encoder, pairs: PairSet) -> Array:
    """``(N, d)`` vectors of the distinct sentences of a set.

    Raises:
        AntiCollapseError: The encoder cannot be used on these sentences.
    """
    key = (encoder.digest, encoder.precision, pairs.digest)
    found = _vectors().get(key)
    if found is None:
        with work.working(f"Encoding {len(pairs.sentences):,} sentences with {encoder.name}") as progress:
            found = encoder.encode(pairs.sentences, cache=work.vectors(), progress=progress).vectors
        _vectors().put(key, found, found.nbytes)
    return found


def identify(pairs: PairSet, encoders: Sequence[Encoder], sample: Sample, settings: MapSettings) -> str:
    """What identifies a map and all that is said of its sentences."""
    opened = [f"{encoder.digest} {encoder.precision}" for encoder in encoders]
    parts = [pairs.digest, _origins(pairs), *opened, str(sorted(asdict(settings).items()))]
    return hashlib.sha256("/".join(parts).encode() + sample.drawn.tobytes()).hexdigest()


def known(drawn: Drawn) -> MapReport | None:
    """The map, if it was drawn before."""
    return work.results().get(("map", drawn.key))


def picture(drawn: Drawn) -> Projection:
    """The first picture, by PCA."""
    key = ("picture", drawn.key)
    found = work.results().get(key)
    if found is None:
        found = first_picture(drawn.vectors, drawn.sample)
        work.results().put(key, found)
    return found


def report(drawn: Drawn) -> MapReport:
    """The map; at once when it was drawn before, on this server or before it.

    Raises:
        AntiCollapseError: The vectors cannot be used.
    """
    found = known(drawn)
    if found is None:
        what = f"Arranging {len(drawn.sample.drawn):,} sentences by their neighbours, steps"
        with work.working(what) as progress:
            waiting = st.empty()
            waiting.caption(
                "Below is a first picture, by PCA. The first map after an installation takes up to a minute longer."
            )
            found = map_sentences(
                drawn.vectors,
                drawn.facts,
                drawn.sample,
                drawn.settings,
                cache=ArrayCache(default_cache_folder() / "maps"),
                progress=progress,
            )
            waiting.empty()
        work.results().put(("map", drawn.key), found)
    return found


def groups(drawn: Drawn, reference: int) -> Clusters:
    """Dense groups of the drawn sentences under one encoder."""
    key = ("groups", drawn.key, drawn.encoders[reference].digest)
    found = work.results().get(key)
    if found is None:
        with st.spinner(f"Looking for groups under {drawn.names[reference]}"):
            found = clusters(drawn.vectors[reference][drawn.sample.drawn], seed=drawn.settings.seed)
        work.results().put(key, found)
    return found


def hover(drawn: Drawn) -> list[str] | None:
    """Tooltips of the drawn sentences; None where they would be most of what is sent."""
    if len(drawn.sample.drawn) * len(drawn.series) > FULL_TEXT_UP_TO:
        return None
    key = ("tooltips", drawn.key)
    found = work.results().get(key)
    if found is None:
        rows, known_facts = drawn.sample.drawn, drawn.facts
        found = tooltips(
            [known_facts.texts[i] for i in rows],
            known_facts.rows[rows],
            None if known_facts.labels is None else known_facts.labels[rows],
            None if known_facts.sources is None else [known_facts.sources[i] for i in rows],
        )
        work.results().put(key, found)
    return found


def neighbours_of(drawn: Drawn, sentence: int, k: int = N_NEIGHBOURS) -> list[Neighbours]:
    """The nearest neighbours of one sentence among all, under each encoder, by its own vectors.

    Args:
        drawn: The map.
        sentence: Number of the sentence among all N.
        k: How many.
    """
    found = []
    for encoder, one in zip(drawn.encoders, drawn.vectors, strict=True):
        key = (encoder.digest, encoder.precision, drawn.data, sentence, k)
        near = _lists().get(key)
        if near is None:
            near = nearest_neighbours(_directions(encoder, drawn, one), k, queries=np.array([sentence]), exact=True)
            _lists().put(key, near)
        found.append(near)
    return found


def _directions(encoder: Encoder, drawn: Drawn, one: Array) -> CentredDirections:
    key = ("directions", encoder.digest, encoder.precision, drawn.data)
    found = _vectors().get(key)
    if found is None:
        found = CentredDirections.of(one)
        _vectors().put(key, found, found.points.nbytes)
    return found
