"""Training: checkpoints, and what is built on them."""

from graphc.train.checkpoint import load, save

__all__ = ["load", "save"]
