"""Backends: what runs a plan. The core finds them by the entry points ``graphc.backends``."""
