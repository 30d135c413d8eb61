"""Training: ``fit`` and its ``History``, ``evaluate``, ``save`` and ``load``."""

from graphc.train.checkpoint import load, save
from graphc.train.evaluate import evaluate
from graphc.train.fit import fit
from graphc.train.history import History

__all__ = ["History", "evaluate", "fit", "load", "save"]
