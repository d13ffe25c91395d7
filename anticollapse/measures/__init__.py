"""Measures of collapse: functions from arrays to results that know their name, value, interval, n, unit and meaning.

``diagnose`` computes all of them; each is a function of its own for whoever needs just one. Definitions, papers and how
the intervals are made: ``docs/measures.md``.
"""

from __future__ import annotations

from anticollapse.measures.alignment import alignment, uniformity
from anticollapse.measures.correlation import correlation, pearson, spearman
from anticollapse.measures.isotropy import (
    dimension_contributions,
    mean_cosine_to_others,
    mean_unrelated_cosine,
    rogue_dimensions,
    sample_unrelated_cosines,
    std_sqrt_d,
)
from anticollapse.measures.profile import LabelBin, LabelProfile, label_profile, spread
from anticollapse.measures.resampling import linked_groups
from anticollapse.measures.result import Definition, Measure
from anticollapse.measures.seeds import difference_over_seeds
from anticollapse.measures.significance import correlation_difference
from anticollapse.measures.spectrum import Spectrum, effective_rank, first_component_share, isoscore, spectrum
from anticollapse.measures.summary import Diagnosis, diagnose
from anticollapse.measures.vectors import SentenceVectors, as_vectors, pair_cosines
from anticollapse.measures.verdict import Verdict, verdict, verdicts

__all__ = [
    "Definition",
    "Diagnosis",
    "LabelBin",
    "LabelProfile",
    "Measure",
    "SentenceVectors",
    "Spectrum",
    "Verdict",
    "alignment",
    "as_vectors",
    "correlation",
    "correlation_difference",
    "diagnose",
    "difference_over_seeds",
    "dimension_contributions",
    "effective_rank",
    "first_component_share",
    "isoscore",
    "label_profile",
    "linked_groups",
    "mean_cosine_to_others",
    "mean_unrelated_cosine",
    "pair_cosines",
    "pearson",
    "rogue_dimensions",
    "sample_unrelated_cosines",
    "spearman",
    "spectrum",
    "spread",
    "std_sqrt_d",
    "uniformity",
    "verdict",
    "verdicts",
]
