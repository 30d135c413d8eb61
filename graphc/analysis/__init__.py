"""Facts read off a graph: how the gradients of shared values add up."""

from graphc.analysis.sharing import Sharing, check_sharing

__all__ = ["Sharing", "check_sharing"]
