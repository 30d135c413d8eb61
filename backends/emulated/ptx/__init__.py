"""PTX executed on the CPU: a parser, and an executor with one NumPy array a register."""

from .executor import Program, kernel_of, launch
from .parser import Module, parse
from .run import run_ptx

__all__ = ["Module", "Program", "kernel_of", "launch", "parse", "run_ptx"]
