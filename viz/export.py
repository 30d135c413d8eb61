"""SVG text of ours as PNG and as PDF: two wheels of the extra ``graphc[viz]``, no system package.

Both use the font that Matplotlib brings along, and no other, so a picture has the same bytes on
every machine.
"""

from __future__ import annotations

import re
from functools import cache
from io import BytesIO
from pathlib import Path

from graphc.ir.errors import BackendError, GraphError

from .style import FONT

_FAMILY = "DejaVu Sans"
_FILES = {"normal": "DejaVuSans.ttf", "bold": "DejaVuSans-Bold.ttf"}
PIXELS = 2  # a point


def to_png(svg: str, *, pixels: float = PIXELS) -> bytes:
    """``svg`` as PNG, with ``pixels`` pixels a point. Raises BackendError: the extra is missing."""
    try:
        import resvg_py
    except ImportError:
        raise _missing("PNG", "resvg-py") from None
    return bytes(
        resvg_py.svg_to_bytes(
            svg_string=svg,
            dpi=72,
            zoom=pixels,
            skip_system_fonts=True,
            font_files=[str(path) for path in _fonts().values()],
            sans_serif_family=_FAMILY,
        )
    )


def to_pdf(svg: str) -> bytes:
    """``svg`` as one page of PDF. Raises BackendError: the extra is missing."""
    try:
        from reportlab.graphics import renderPDF
        from reportlab.pdfgen.canvas import Canvas
        from svglib.fonts import register_font
        from svglib.svglib import svg2rlg
    except ImportError:
        raise _missing("PDF", "svglib") from None
    for weight, path in _fonts().items():
        register_font(_FAMILY, str(path), weight=weight)
    drawing = svg2rlg(BytesIO(svg.replace(FONT, _FAMILY).encode()))
    if drawing is None:
        raise BackendError("svglib cannot read this SVG")
    buffer = BytesIO()
    # invariant: without the time of day, so that equal pictures are equal files.
    page = Canvas(buffer, pagesize=(drawing.width, drawing.height), invariant=1)
    renderPDF.draw(drawing, page, 0, 0)
    page.showPage()
    page.save()
    return buffer.getvalue()


def check_size(size: tuple[int, int], path: Path) -> None:
    """Raise GraphError unless ``size`` is one in pixels, and ``path`` a picture that has one."""
    if path.suffix.lower() not in (".svg", ".png"):
        raise GraphError(f"save({path.name!r}, size={size}): only .svg and .png have a size")
    sides = list(size) if isinstance(size, (tuple, list)) else []
    if len(sides) != 2 or not all(type(side) is int and 1 <= side <= 20_000 for side in sides):
        raise GraphError(
            f"save({path.name!r}, size={size!r}): (width, height) in pixels, from 1 to 20,000 each"
        )


def resized(svg: str, size: tuple[int, int]) -> str:
    """``svg`` with this width and height in pixels: what it shows fits into them, undistorted."""
    head, mark, body = svg.partition("<svg ")
    tag, close, rest = body.partition(">")
    for name, pixels in zip(("width", "height"), size, strict=True):
        tag = re.sub(rf'(?<![-\w]){name}="[^"]*"', f'{name}="{pixels}px"', tag, count=1)
    return head + mark + tag + close + rest


@cache
def _fonts() -> dict[str, Path]:
    try:
        import matplotlib
    except ImportError:
        raise _missing("PNG or PDF", "matplotlib") from None
    folder = Path(matplotlib.get_data_path()) / "fonts" / "ttf"
    return {weight: folder / name for weight, name in _FILES.items()}


def _missing(ending: str, package: str) -> BackendError:
    return BackendError(
        f"a figure as {ending} needs {package}: pip install 'graphc[viz]' (SVG needs nothing)"
    )
