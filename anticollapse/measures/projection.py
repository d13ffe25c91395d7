"""Maps of the same sentences under several encoders: PCA at once, UMAP aligned over them, and how true they are.

A map shows who is near whom. It hardly shows collapse: UMAP evens out local distances, and PCA takes the common
direction off.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from anticollapse.errors import CancelledError, OptionError
from anticollapse.measures.neighbours import (
    Cancelled,
    CentredDirections,
    Neighbours,
    Progress,
    alone,
    mean_interval,
    nearest_neighbours,
)
from anticollapse.measures.principal import PrincipalCoordinates, principal_coordinates, procrustes
from anticollapse.measures.result import Definition, Measure

Array = NDArray[np.float32]
FloatArray = NDArray[np.float64]
IntArray = NDArray[np.int64]

FEWEST = 8
"""Sentences under which UMAP has no neighbourhoods to keep, and the map stays PCA."""

MOST_ENCODERS = 6
KEEP_VARIANCE = 0.9
STEPS_PER_GRAPH = 100
TRUST_SAMPLE = 1000
TRUST_NEIGHBOURS = 15

ALL_EQUAL = "all its sentence vectors are equal, so no sentence is nearer than another"

TRUSTWORTHINESS = Definition(
    key="trustworthiness",
    name="Trustworthiness of the map",
    unit="0 to 1",
    meaning="Whether sentences that lie close together on the map are close in the encoder's own space too.",
    reads_as="1: all neighbours on the map are true ones; 0.5: as good as chance",
    counts="sentences",
    better="higher",
)


@dataclass(frozen=True)
class MapSettings:
    """Everything besides the vectors that decides a map.

    Attributes:
        n_neighbors: Size of the neighbourhoods that UMAP keeps.
        min_dist: How close points may lie (UMAP).
        n_epochs: Passes over the edges; None = 500 for up to 10,000 points of all encoders, fewer (at least 200) for
            more.
        pca_dim: Dimensions that vectors are reduced to before UMAP looks for neighbours; more are taken until they
            keep 90 % of the variance.
        alignment: Pull between the encoders, 0 = independent maps.
        seed: Seed of everything random.

    Raises:
        OptionError: A value is out of its range.
    """

    n_neighbors: int = 15
    min_dist: float = 0.1
    n_epochs: int | None = None
    pca_dim: int = 50
    alignment: float = 0.3
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the ranges."""
        ranges = {"n_neighbors": (2, 200), "min_dist": (0, 0.99), "pca_dim": (2, 4096), "alignment": (0, 1)}
        ranges |= {"n_epochs": (1, 5000), "seed": (0, 2**32 - 1)}
        for name, (low, high) in ranges.items():
            value = getattr(self, name)
            if value is not None and not low <= value <= high:
                raise OptionError(f"{name} is {value}", remedy=f"Give a number from {low:g} to {high:g}")

    def epochs(self, points: int) -> int:
        """Passes over the edges for that many points of all encoders together."""
        return self.n_epochs or int(np.clip(5_000_000 // max(points, 1), 200, 500))


DEFAULTS = MapSettings()


@dataclass(frozen=True)
class Projection:
    """Positions of n sentences under M encoders.

    Attributes:
        method: How they were found.
        coordinates: ``(M, n, 2)`` float32; NaN for a vector of zeros, which has no direction.
        notes: What the reader has to know, in full sentences.
    """

    method: Literal["pca", "umap"]
    coordinates: Array
    notes: tuple[str, ...] = ()

    @property
    def std(self) -> float:
        """Spread of the map: root of the mean variance over encoders and axes."""
        if not self.coordinates.size or np.isnan(self.coordinates).all():
            return 0.0
        return float(np.sqrt(np.nanmean(np.nanvar(self.coordinates.astype(np.float64), axis=1))))

    def movement(self, one: int, other: int) -> FloatArray:
        """How far each sentence lies from its place under another encoder.

        Args:
            one: An encoder.
            other: Another one.

        Returns:
            ``(n,)`` Euclidean distances in units of :attr:`std`; NaN where a position is missing.
        """
        gaps = self.coordinates[one].astype(np.float64) - self.coordinates[other]
        distances: FloatArray = np.linalg.norm(gaps, axis=1) / (self.std or 1.0)
        return distances


def project_pca(vectors: Sequence[NDArray[np.floating]]) -> Projection:
    """The first picture: two principal components of the unit vectors, turned to lie on the first encoder's.

    Args:
        vectors: For each of M encoders ``(n, d_m)`` vectors of the same sentences.

    Raises:
        EncoderError: A vector contains NaN or infinity.
        OptionError: The encoders have different sentences, or there are none or more than six.
    """
    spaces = _spaces(vectors)
    return _pca(spaces, [principal_coordinates(space.points, 2) for space in spaces])


def project_umap(
    vectors: Sequence[NDArray[np.floating] | CentredDirections],
    settings: MapSettings = DEFAULTS,
    *,
    progress: Progress | None = None,
    cancelled: Cancelled | None = None,
) -> Projection:
    """UMAP of the same sentences under one or more encoders, aligned so that the maps can be compared.

    Args:
        vectors: For each of M encoders ``(n, d_m)`` vectors of the same sentences, or their directions.
        settings: Parameters.
        progress: Called with (steps done, steps), also while another map of this process is at work.
        cancelled: Asked as often; True stops the work.

    Returns:
        The same coordinates for the same arguments on the same machine. Fewer than :data:`FEWEST` sentences stay PCA.

    Raises:
        CancelledError: ``cancelled`` said so.
        EncoderError: A vector contains NaN or infinity.
        OptionError: The encoders have different sentences, or there are none or more than six.
    """
    spaces = _spaces(vectors)
    components = [principal_coordinates(space.points, settings.pca_dim, keep=KEEP_VARIANCE) for space in spaces]
    first = _pca(spaces, components)
    usable = _usable(spaces)
    n = int(usable.sum())
    if n < FEWEST:
        return Projection("pca", first.coordinates, (*first.notes, f"{n} sentences are too few for UMAP: this is PCA."))
    from anticollapse.measures import layout  # numba and umap-learn take seconds to import

    epochs = settings.epochs(n * len(spaces))
    steps = STEPS_PER_GRAPH * len(spaces) + epochs

    def report(done: int) -> None:
        if cancelled is not None and cancelled():
            raise CancelledError("drawing the map was stopped")
        if progress is not None and done:  # the first step may compile: no estimate can be made before it
            progress(done, steps)

    graphs = []
    for i, (space, found) in enumerate(zip(spaces, components, strict=True)):

        def searched(done: int, total: int, before: int = STEPS_PER_GRAPH * i) -> None:
            report(before + (STEPS_PER_GRAPH - 10) * done // total)

        report(STEPS_PER_GRAPH * i)
        near = _near(space, found, usable, settings, searched)
        with alone(partial(report, STEPS_PER_GRAPH * (i + 1) - 10)):
            graphs.append(layout.fuzzy_graph(near))
    before = STEPS_PER_GRAPH * len(spaces)
    places = layout.optimise(
        graphs,
        _start(first.coordinates[:, usable], settings.seed),
        n_epochs=epochs,
        min_dist=settings.min_dist,
        alignment=settings.alignment,
        seed=settings.seed,
        report=lambda epoch, _: report(before + epoch),
    )
    if progress is not None:
        progress(steps, steps)
    coordinates = np.full((len(spaces), len(usable), 2), np.nan, np.float32)
    coordinates[:, usable] = places - places.mean(axis=(0, 1))
    return Projection("umap", coordinates, first.notes)


def trustworthiness(
    vectors: NDArray[np.floating] | CentredDirections,
    coordinates: NDArray[np.floating],
    *,
    k: int = TRUST_NEIGHBOURS,
    sample: int = TRUST_SAMPLE,
    seed: int = 0,
    groups: IntArray | None = None,
) -> Measure:
    """Trustworthiness (Venna and Kaski 2001) of a map, by cosine, on a sample of the sentences.

    For each sampled sentence, its k neighbours on the map are looked up in its ranking of *all* sentences by cosine;
    each that is not among the k nearest there costs its rank beyond k.

    Args:
        vectors: ``(n, d)`` sentence vectors, or their directions.
        coordinates: ``(n, 2)`` the map.
        k: Neighbours; at most half the sentences.
        sample: Sentences looked at; all of them when there are no more.
        seed: Seed of the sample.
        groups: ``(n,)`` group of each sentence, for the interval: only groups count as independent.
    """
    space = _space(vectors)
    rows = space.rows[np.isfinite(coordinates[space.rows]).all(axis=1)]
    n = len(rows)
    k = min(k, (n - 1) // 2)
    if k < 1:
        return TRUSTWORTHINESS.undefined("there are fewer than 3 sentences with a direction", n)
    if space.constant:
        return TRUSTWORTHINESS.undefined(ALL_EQUAL, n)
    chosen = np.arange(n)
    if n > sample:
        chosen = np.sort(np.random.default_rng(seed).choice(n, sample, replace=False))
    points = space.points[space.positions[rows]].astype(np.float64)
    places = coordinates[rows].astype(np.float64)
    squares, place_squares = np.square(points).sum(axis=1), np.square(places).sum(axis=1)
    penalty = np.empty(len(chosen))
    for start in range(0, len(chosen), 64):
        part = chosen[start : start + 64]
        here = np.arange(len(part))
        on_map = place_squares - 2 * places[part] @ places.T
        on_map[here, part] = np.inf
        near = np.argpartition(on_map, k - 1, axis=1)[:, :k]
        far = squares - 2 * points[part] @ points.T
        far[here, part] = np.inf
        ranks = _ranks(far, near)
        penalty[start : start + 64] = np.maximum(ranks - k, 0).sum(axis=1)
    values = 1 - 2 / (k * (2 * n - 3 * k - 1)) * penalty
    interval = mean_interval(values, None if groups is None else groups[rows[chosen]])
    details = {"k": k, "of": n, "sampled": n > sample}
    return TRUSTWORTHINESS.measured(float(values.mean()), interval, len(chosen), details)


def warm_up() -> None:
    """Compile what a first map would otherwise wait for (8 to 30 s); meant for a background thread."""
    rng = np.random.default_rng(0)
    tiny = [rng.normal(size=(64, 8)).astype(np.float32) for _ in range(2)]
    project_umap(tiny, MapSettings(n_epochs=2))


def _space(vectors: NDArray[np.floating] | CentredDirections) -> CentredDirections:
    return vectors if isinstance(vectors, CentredDirections) else CentredDirections.of(vectors)


def _spaces(vectors: Sequence[NDArray[np.floating] | CentredDirections]) -> list[CentredDirections]:
    if not 1 <= len(vectors) <= MOST_ENCODERS:
        raise OptionError(
            f"a map of {len(vectors)} encoders was asked for", remedy=f"Choose from 1 to {MOST_ENCODERS} encoders"
        )
    spaces = [_space(one) for one in vectors]
    lengths = {space.n_all for space in spaces}
    if len(lengths) != 1:
        raise OptionError(f"the encoders have different numbers of sentences ({sorted(lengths)})")
    return spaces


def _usable(spaces: Sequence[CentredDirections]) -> NDArray[np.bool_]:
    """``(n,)`` sentences that have a direction under every encoder."""
    usable = np.ones(spaces[0].n_all, bool)
    for space in spaces:
        usable &= space.positions >= 0
    return usable


def _pca(spaces: Sequence[CentredDirections], components: Sequence[PrincipalCoordinates]) -> Projection:
    coordinates = np.full((len(spaces), spaces[0].n_all, 2), np.nan, np.float32)
    notes = []
    for m, (space, component) in enumerate(zip(spaces, components, strict=True)):
        found = component.coordinates[:, :2]
        if not found.any():
            notes.append(
                f"All sentence vectors of encoder {m + 1} are equal: there is nothing to see in its map, and how its "
                "points lie is chance."
            )
        flat = np.zeros((len(found), 2), np.float32)
        flat[:, : found.shape[1]] = found
        flat /= np.sqrt(np.mean(np.square(flat))) or 1.0
        coordinates[m, space.rows] = flat
        both = np.isfinite(coordinates[0, :, 0]) & np.isfinite(coordinates[m, :, 0])
        if m and both.any():
            coordinates[m] = coordinates[m] @ procrustes(coordinates[0, both], coordinates[m, both])
    zeros = int((~_usable(spaces)).sum())
    if zeros:
        notes.append(
            f"{zeros:,} sentences have a vector of zeros under an encoder, which has no direction; they are left out."
        )
    return Projection("pca", coordinates, tuple(notes))


def _near(
    space: CentredDirections,
    components: PrincipalCoordinates,
    usable: NDArray[np.bool_],
    settings: MapSettings,
    progress: Progress,
) -> Neighbours:
    """Neighbours for UMAP's graph, after PCA.

    PCA takes the mean off, and with it the common direction of a collapsed encoder. Cosines are with that direction,
    so the centred distances of unit vectors are compared, which are those of the cosines.
    """
    reduced = components.coordinates[space.positions[usable]]
    k = min(settings.n_neighbors, len(reduced)) - 1
    moved = CentredDirections(reduced, np.arange(len(reduced)), len(reduced), space.constant)
    return nearest_neighbours(moved, k, seed=settings.seed, progress=progress)


def _start(pictures: Array, seed: int) -> Array:
    """Where the layouts start: the mean of the PCA pictures, the same under every encoder.

    Args:
        pictures: ``(M, n, 2)``.
        seed: Seed of a little noise, without which equal vectors could never part.
    """
    mean = pictures.mean(axis=0)
    mean = 10 * mean / (np.abs(mean).max() or 1.0)
    return np.asarray(mean + np.random.default_rng(seed).normal(0, 1e-3, mean.shape), np.float32)


def _ranks(distances: FloatArray, wanted: IntArray) -> IntArray:
    """Rank (1 = nearest) of the wanted columns in each row; equal distances share the best rank."""
    ranks = np.empty_like(wanted)
    for i in range(wanted.shape[1]):
        ranks[:, i] = 1 + (distances < np.take_along_axis(distances, wanted[:, i : i + 1], axis=1)).sum(axis=1)
    return ranks
