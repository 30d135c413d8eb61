"""These tests put the emulated device under CuPy; a run for a real one leaves them out."""

from __future__ import annotations

import os

collect_ignore_glob = ["test_*.py"] if os.environ.get("GRAPHC_BACKEND") == "cupy" else []
