"""The command line, ``graphc …``: what the package does, without writing Python."""

from graphc.cli.app import main

__all__ = ["main"]
