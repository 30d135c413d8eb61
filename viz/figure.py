"""What a figure function returns: a picture, the numbers in it, and a caption made of them.

The model is the figure as data: every number that is drawn. The caption is a template and the
values measured for it, and can be read back: ``Caption.parse(template, str(caption))`` gives the
values again, exactly, so a caption cannot say what was not measured.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from string import Formatter
from typing import Any

import numpy as np

from graphc.ir.errors import GraphError

from .canvas import Canvas, text_width, wrap
from .export import check_size, resized, to_pdf, to_png
from .text import clean

Value = int | float | str | bool | list[Any]

_MARGIN = 12.0
_SIZE = 11.0
_LEADING = 1.4
# A value in a caption: a quoted string, a list, a number or a word.
_QUOTED = r'"(?:[^"\\]|\\.)*"'
_LIST = rf"\[(?:[^\[\]\"]|{_QUOTED}|\[(?:[^\[\]\"]|{_QUOTED}|\[[^\[\]]*\])*\])*\]"
_TOKEN = rf"(?:{_QUOTED}|{_LIST}|[-+\w.@/×]+)"
_PLAIN = re.compile(r"[\w@/×][-\w.@/×]*")


class Caption:
    """A sentence made of measured values.

    ``template`` has a field ``{name}`` for each of ``values`` (int, float, str, bool, lists of
    them). ``str(caption)`` prints numbers as their shortest exact decimals and strings as words,
    quoted where they would be taken for something else. Round a number before, if it shall be
    shorter: the value kept is the value printed.

    Raises GraphError: a field without a value, a value without a field, a value of another kind,
    two fields that cannot be told apart in the text.

    >>> from graphc.viz import Caption
    >>> said = Caption("{filters} filters of {size} pixels", {"filters": 6, "size": [5, 5]})
    >>> str(said)
    '6 filters of [5, 5] pixels'
    >>> Caption.parse(said.template, str(said))
    {'filters': 6, 'size': [5, 5]}
    """

    template: str
    values: dict[str, Value]

    def __init__(self, template: str, values: Mapping[str, Any] | None = None) -> None:
        self.template = template
        self.values = {name: _plain(name, value) for name, value in (values or {}).items()}
        fields = {name for _, name in _pieces(template) if name is not None}
        if fields != set(self.values):
            wrong = sorted(fields ^ set(self.values))
            raise GraphError(
                f"the caption {template!r} and its values do not agree about {', '.join(wrong)}: "
                "each value needs a field {name} and each field a value"
            )
        for always in (False, True):
            self._text = "".join(
                literal + ("" if name is None else _printed(self.values[name], always))
                for literal, name in _pieces(template)
            )
            if _same(_read(template, self._text), self.values):
                return
        raise GraphError(
            f"the values of the caption {template!r} cannot be read back from it: put words "
            "between its fields"
        )

    @staticmethod
    def parse(template: str, text: str) -> dict[str, Value]:
        """The values that make ``template`` into ``text``. Raises GraphError: there are none."""
        values = _read(template, text)
        if values is None:
            raise GraphError(f"{clean(text, 200)!r} is not what the caption {template!r} says")
        return values

    def __str__(self) -> str:
        return self._text

    def __repr__(self) -> str:
        return f"Caption({self._text!r})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Caption):
            return NotImplemented
        return self.template == other.template and _same(self.values, other.values)

    def __hash__(self) -> int:
        return hash((self.template, self._text))


@dataclass(frozen=True, eq=False)
class Figure:
    """What the figure functions of ``graphc.viz`` return.

    ``.svg`` (str), ``.png`` (bytes), ``.model`` (a dict that JSON can hold, with every number that
    is drawn), ``.caption``, ``.save(path)`` for .svg, .png, .pdf and .json. The SVG is for light
    and dark pages, carries its model and caption as JSON in ``<metadata>``, and has no script, no
    link and no reference outside itself. The same input gives the same bytes.
    """

    canvas: Canvas = field(repr=False)
    model: dict[str, Any]
    caption: Caption
    title: str
    words: str
    """The picture in words, in the order in which it is to be read: its ``<desc>``."""

    @cached_property
    def svg(self) -> str:
        """SVG text, the caption below the drawing."""
        sheet = deepcopy(self.canvas)
        rows = wrap(clean(str(self.caption), 20_000), _SIZE, sheet.width - 2 * _MARGIN)
        widest = max(text_width(row, _SIZE) for row in rows)  # a word can be wider than the sheet
        sheet.width = max(sheet.width, widest + 2 * _MARGIN)
        y = sheet.height + _SIZE
        for number, row in enumerate(rows):
            y = sheet.height + _SIZE * (1 + _LEADING * number)
            sheet.text(_MARGIN, y, row, size=_SIZE, fill="faint", data={"caption": number})
        sheet.height = y + _MARGIN
        kept = {
            "caption": {"template": self.caption.template, "values": self.caption.values},
            "model": self.model,
        }
        metadata = json.dumps(_strict(kept), ensure_ascii=True, separators=(",", ":"))
        return sheet.finish(self.title, f"{self.words} {self.caption}", metadata)

    @cached_property
    def png(self) -> bytes:
        """PNG, two pixels a point. Raises BackendError: the extra graphc[viz] is missing."""
        return to_png(self.svg)

    def save(self, path: str | Path, size: tuple[int, int] | None = None) -> Path:
        """Write the figure; the name ends in .svg, .png, .pdf or .json (the model alone).

        size: (width, height) in pixels that an SVG or PNG is scaled to fit, e.g. (1600, 900).
        Raises GraphError: another ending or size; BackendError: a missing extra.
        """
        path = Path(path)
        ending = path.suffix.lower()
        if size is not None:
            check_size(size, path)
        svg = self.svg if size is None else resized(self.svg, size)
        if ending == ".svg":
            path.write_text(svg, encoding="utf-8")
        elif ending == ".png":
            path.write_bytes(self.png if size is None else to_png(svg, pixels=1))
        elif ending == ".pdf":
            path.write_bytes(to_pdf(svg))
        elif ending == ".json":
            path.write_text(json.dumps(_strict(self.model), indent=1) + "\n", encoding="utf-8")
        else:
            raise GraphError(
                f"a figure is saved as .svg, .png, .pdf or .json, not as {path.name!r}"
            )
        return path

    def _repr_svg_(self) -> str:
        return self.svg

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        return {"image/svg+xml": self.svg, "text/plain": repr(self)}

    def __repr__(self) -> str:
        return f"<graphc.viz.Figure: {self.caption}>"


# -- captions -----------------------------------------------------------------------------


def _pieces(template: str) -> list[tuple[str, str | None]]:
    """(text, name of the field after it) of a template; braces are doubled as in str.format."""
    try:
        pieces = list(Formatter().parse(template))
    except ValueError as error:
        raise GraphError(f"the caption {template!r}: {error}") from None
    for _, name, form, conversion in pieces:
        if name is not None and (not name.isidentifier() or form or conversion):
            raise GraphError(f"the caption {template!r}: a field is {{name}} and nothing else")
    return [(literal, name) for literal, name, _, _ in pieces]


def _plain(name: str, value: Any) -> Value:
    """NumPy's numbers as Python's; a float32 as the float that it prints as."""
    if isinstance(value, np.ndarray):
        value = list(value)
    if isinstance(value, (list, tuple)):
        return [_plain(name, element) for element in value]
    if isinstance(value, np.bool_):
        return bool(value)
    if isinstance(value, np.integer):
        return int(value)
    if isinstance(value, float):  # NumPy's float64 among them
        return float(value)
    if isinstance(value, np.floating):
        return float(str(value))
    if isinstance(value, (bool, int, str)):
        return value
    raise GraphError(f"the value {name} of a caption is a number, a word or a list, not {value!r}")


def _printed(value: Value, quoted: bool) -> str:
    """``quoted``: every string in quotes, and numbers as JSON has them."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return "[" + ", ".join(_printed(element, True) for element in value) + "]"
    if isinstance(value, float) and quoted:
        return json.dumps(value)
    if isinstance(value, float):
        return repr(value)
    if isinstance(value, int):
        return str(value)
    if not quoted and _PLAIN.fullmatch(value) and isinstance(_value(value), str):
        return value
    escaped = json.dumps(value, ensure_ascii=False)
    # What a picture would not show as it is stays an escape: the text can then be copied from it.
    return "".join(
        c if c.isprintable() else json.dumps(c)[1:-1].encode("ascii").decode() for c in escaped
    )


def _read(template: str, text: str) -> dict[str, Value] | None:
    pattern, seen = "", set[str]()
    for literal, name in _pieces(template):
        pattern += re.escape(literal)
        if name is not None:
            pattern += f"(?P={name})" if name in seen else f"(?P<{name}>{_TOKEN})"
            seen.add(name)
    match = re.fullmatch(pattern, text, re.DOTALL)
    if match is None:
        return None
    try:
        return {name: _value(token) for name, token in match.groupdict().items()}
    except ValueError:
        return None


_KEYWORDS: dict[str, Value] = {
    "true": True, "false": False, "nan": math.nan, "inf": math.inf, "-inf": -math.inf,
    "NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf,
}  # fmt: skip


def _value(token: str) -> Value:
    if token in _KEYWORDS:
        return _KEYWORDS[token]
    if token[0] in '["':
        read: Value = json.loads(token)
        return read
    for kind in (int, float):
        if re.fullmatch(r"[-+]?(\d+(\.\d*)?|\.\d+)(e[-+]?\d+)?", token):
            try:
                return kind(token)
            except ValueError:
                continue
    return token


def _same(first: Any, second: Any) -> bool:
    """Equal in value and in kind: 1, 1.0 and True are three."""
    if isinstance(first, dict) and isinstance(second, dict):
        return first.keys() == second.keys() and all(_same(first[k], second[k]) for k in first)
    if isinstance(first, list) and isinstance(second, list):
        return len(first) == len(second) and all(map(_same, first, second))
    return type(first) is type(second) and repr(first) == repr(second)


def _strict(value: Any) -> Any:
    """For JSON, which knows no NaN: what is not finite becomes its name."""
    if isinstance(value, Mapping):
        return {str(name): _strict(entry) for name, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_strict(entry) for entry in value]
    if isinstance(value, float) and not math.isfinite(value):
        return repr(value)
    return value
