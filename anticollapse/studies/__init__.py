"""Studies: many trainings under one protocol, and the statistics of their results.

``docs/studies.md`` explains the protocol, the folder and the statistics.
"""

from __future__ import annotations

from anticollapse.studies.cell import Bench
from anticollapse.studies.designs import ladder_rows, load_splits, make_plan, queue_rows, row_of
from anticollapse.studies.execution import Outcome, State, missing, work
from anticollapse.studies.plan import Cell, Plan, Row, join_plan, read_plan
from anticollapse.studies.results import ClaimFound, Difference, RowFound, Study, load_study
from anticollapse.studies.statistics import Estimate

__all__ = [
    "Bench",
    "Cell",
    "ClaimFound",
    "Difference",
    "Estimate",
    "Outcome",
    "Plan",
    "Row",
    "RowFound",
    "State",
    "Study",
    "join_plan",
    "ladder_rows",
    "load_splits",
    "load_study",
    "make_plan",
    "missing",
    "queue_rows",
    "read_plan",
    "row_of",
    "work",
]
