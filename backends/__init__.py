"""Backends: what runs a plan. The core reaches them through the entry points ``graphc.backends``."""
