"""The zoo: networks by name, each as a graph with inputs image, label and outputs logits, loss."""

from graphc.models import lenet, mlp
from graphc.models.registry import build, names

__all__ = ["build", "lenet", "mlp", "names"]
