"""The rows of the ladder: every system, composed from parts."""

from __future__ import annotations

from anticollapse.training.augmentations import (
    Adversarial,
    Dropout,
    FeatureCutoff,
    TokenCutoff,
    TokenShuffle,
    WordRepetition,
)
from anticollapse.training.heads import CrossAttention, Projector
from anticollapse.training.negatives import ClusterFilter, Momentum, Queue
from anticollapse.training.terms import (
    BYOL,
    AnglE,
    BarlowTwins,
    CoSENT,
    CosineMSE,
    InfoNCE,
    NTXent,
    Pairwise,
    Triplet,
    VICReg,
)
from anticollapse.training.variant import Defaults, Variant

SBERT = "https://arxiv.org/abs/1908.10084"
SIMCSE = "https://arxiv.org/abs/2104.08821"
ESIMCSE = "https://arxiv.org/abs/2109.04380"

SUPERVISED = Defaults(learning_rate=3e-5, batch_size=32, epochs=4)
UNSUPERVISED = Defaults(learning_rate=3e-5, batch_size=64, epochs=1)

SIMCSE_HEAD = Projector(layers=1, activation="tanh", activate_output=True)
"""The MLP that SimCSE uses in training only."""

ROWS: tuple[Variant, ...] = (
    Variant(
        id="raw",
        title="Raw encoder",
        summary="Nothing is trained: the backbone with its pooling, as it is.",
        claim="baseline",
    ),
    Variant(
        id="sbert",
        title="Sentence-BERT",
        summary="Two towers; the cosine of a pair approaches its grade.",
        paper=SBERT,
        claim="baseline of the ladder",
        supervised=CosineMSE(),
        defaults=SUPERVISED,
    ),
    Variant(
        id="cross-attention-scored",
        title="Late cross-attention, kept",
        summary="Each tower looks at the other's tokens before pooling; the result scores pairs and gives no vectors.",
        claim="−0.02 to sbert",
        supervised=CosineMSE(),
        head=CrossAttention(applies_to="supervised"),
        gives="pair scores",
        defaults=SUPERVISED,
    ),
    Variant(
        id="cross-attention",
        title="Late cross-attention, dropped",
        summary="Trained with cross-attention between the towers, used without it.",
        claim="+0.6 to cross-attention-scored",
        supervised=CosineMSE(),
        head=CrossAttention(applies_to="supervised"),
        defaults=SUPERVISED,
    ),
    Variant(
        id="projector",
        title="Projector",
        summary="A ReLU MLP between encoder and cosine in training, dropped afterwards (as in SimCLR).",
        paper="https://arxiv.org/abs/2002.05709",
        claim="never measured",
        supervised=CosineMSE(),
        head=Projector(layers=2, activation="relu", applies_to="supervised"),
        defaults=SUPERVISED,
    ),
    Variant(
        id="sbert-simcse",
        title="Sentence-BERT + SimCSE",
        summary="Graded pairs, and every sentence close to itself under another dropout mask.",
        paper=SIMCSE,
        claim="+0.2",
        supervised=CosineMSE(),
        contrast=NTXent(weight=0.1),
        augmentations=(Dropout(),),
        defaults=SUPERVISED,
    ),
    Variant(
        id="sbert-queue",
        title="Sentence-BERT + SimCSE + queue",
        summary="The same, with the momentum encoder's keys of earlier batches as further negatives.",
        paper=ESIMCSE,
        claim="+0.3",
        supervised=CosineMSE(),
        contrast=NTXent(weight=0.1),
        augmentations=(Dropout(),),
        queue=Queue(),
        momentum=Momentum(),
        defaults=SUPERVISED,
    ),
    Variant(
        id="sbert-swav",
        title="Sentence-BERT + SimCSE + queue + SwAV filter",
        summary="The same, without those negatives that a balanced clustering puts with the anchor.",
        paper="https://arxiv.org/abs/2006.09882",
        claim="proposed, never built",
        supervised=CosineMSE(),
        contrast=NTXent(weight=0.1),
        augmentations=(Dropout(),),
        queue=Queue(),
        momentum=Momentum(),
        swav=ClusterFilter(),
        defaults=SUPERVISED,
    ),
    Variant(
        id="consert",
        title="ConSERT",
        summary="Two augmented views of each sentence close together, all others apart; no labels.",
        paper="https://arxiv.org/abs/2105.11741",
        contrast=NTXent(temperature=0.1),
        augmentations=(
            TokenShuffle(view=1),
            TokenCutoff(view=2, rate=0.0),
            FeatureCutoff(view=2, rate=0.2),
            Dropout(),
            Adversarial(view=1, epsilon=0.0),
        ),
        defaults=Defaults(learning_rate=1e-5, batch_size=96, epochs=1),
    ),
    Variant(
        id="simcse",
        title="SimCSE",
        summary="Every sentence close to itself under another dropout mask, all others apart; no labels.",
        paper=SIMCSE,
        contrast=InfoNCE(),
        head=SIMCSE_HEAD,
        augmentations=(Dropout(),),
        defaults=UNSUPERVISED,
    ),
    Variant(
        id="esimcse",
        title="ESimCSE",
        summary="SimCSE with repeated words in one view and a queue of momentum keys; no labels.",
        paper=ESIMCSE,
        contrast=InfoNCE(),
        head=SIMCSE_HEAD,
        augmentations=(Dropout(), WordRepetition()),
        queue=Queue(),
        momentum=Momentum(),
        defaults=UNSUPERVISED,
    ),
    Variant(
        id="triplet",
        title="Triplet margin",
        summary="Paraphrases nearer than the hardest other sentence of the batch, by a margin.",
        paper=SBERT,
        supervised=Triplet(),
        defaults=SUPERVISED,
    ),
    Variant(
        id="pairwise",
        title="Pairwise margin",
        summary="Of two pairs the better graded one gets the higher cosine, by a margin.",
        paper="https://doi.org/10.1145/1102351.1102363",
        supervised=Pairwise(),
        defaults=SUPERVISED,
    ),
    Variant(
        id="cosent",
        title="CoSENT",
        summary="The cosines of the pairs in the order of their grades.",
        paper="https://kexue.fm/archives/8847",
        supervised=CoSENT(),
        defaults=SUPERVISED,
    ),
    Variant(
        id="angle",
        title="AnglE",
        summary="The order of the grades on angles in complex space and on cosines.",
        paper="https://arxiv.org/abs/2309.12871",
        supervised=AnglE(),
        defaults=SUPERVISED,
    ),
    Variant(
        id="byol",
        title="BYOL",
        summary="Each view predicts the momentum encoder's vector; no labels, no negatives.",
        paper="https://arxiv.org/abs/2006.07733",
        contrast=BYOL(),
        head=Projector(layers=2, hidden_ratio=2.0, batch_norm=True),
        augmentations=(Dropout(),),
        momentum=Momentum(),
        defaults=UNSUPERVISED,
    ),
    Variant(
        id="barlow-twins",
        title="Barlow Twins",
        summary="The views' dimensions correlate one to one and with no other; no labels, no negatives.",
        paper="https://arxiv.org/abs/2103.03230",
        contrast=BarlowTwins(),
        head=Projector(layers=3, hidden_ratio=4.0, output_ratio=4.0, batch_norm=True),
        augmentations=(Dropout(),),
        defaults=UNSUPERVISED,
    ),
    Variant(
        id="vicreg",
        title="VICReg",
        summary="Views agree while every dimension varies and none covaries; no labels, no negatives.",
        paper="https://arxiv.org/abs/2105.04906",
        contrast=VICReg(),
        head=Projector(layers=3, hidden_ratio=4.0, output_ratio=4.0, batch_norm=True),
        augmentations=(Dropout(),),
        defaults=UNSUPERVISED,
    ),
)
"""In the order of the ladder: each supervised row builds on the one above it."""
