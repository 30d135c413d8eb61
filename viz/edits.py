"""What a pass did to a graph, as a list of edits that can be replayed.

A ``Snapshot`` is a graph as plain data: rows that refer to each other by ids, which stay with a
node for the whole film, while its printed name may change. Films and diffs are made of a first
snapshot and, for each step, the edits to the next; ``replay`` applies them and ``printed`` writes
the IR again, so that a test can demand the exact text of every graph.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from graphc.ir import attrs
from graphc.ir.graph import Graph
from graphc.ir.leaves import SEED, STEP, Input, Leaf, Parameter, State, Stream
from graphc.ir.node import Node
from graphc.ir.printer import VERSION, comment, forward_owners
from graphc.ir.summary import numbers, parts

from .matching import match, sources

Edit = dict[str, Any]
# Fields of a row that a ``change`` may set; ``name`` and ``inputs`` have edits of their own.
_FIELDS = ("op", "type", "text", "part", "note")


@dataclass
class Snapshot:
    """A graph as data: ``rows`` by id in printed order, and what it returns and updates."""

    rows: dict[str, dict[str, Any]] = field(default_factory=dict)
    outputs: list[list[str]] = field(default_factory=list)  # [name, id]
    updates: list[list[str]] = field(default_factory=list)  # [leaf id, id]

    def as_dict(self) -> dict[str, Any]:
        """Lists, dicts and strings alone; ``Snapshot(**given)`` reads it back."""
        return {"rows": self.rows, "outputs": self.outputs, "updates": self.updates}


def snapshot(graph: Graph, ids: Mapping[Node, str]) -> Snapshot:
    """``graph`` as data, its nodes called by ``ids``."""
    part = parts(graph)
    owners = forward_owners(graph)
    everybodys = {SEED, STEP, *numbers(graph)}  # their lines would tell of another graph
    rows: dict[str, dict[str, Any]] = {}
    for node in graph.nodes:
        owner = owners.get(node)
        note = {
            "of": ids.get(owner, "") if owner is not None else "",
            "op": owner.op.name if owner is not None else "",
            "line": comment(graph, node, None, () if node in everybodys else node.lines),
        }
        rows[ids[node]] = {
            "name": graph.name(node),
            "op": node.op.name,
            "type": str(node.type),
            "inputs": [ids[source] for source in node.inputs],
            "hidden": 0 if node.op.shown is None else len(node.inputs) - node.op.shown,
            "leaf": isinstance(node.op, Leaf),
            "text": _text(node),
            "part": part[node],
            "note": note,
        }
    return Snapshot(
        rows,
        [[name, ids[node]] for name, node in graph.outputs.items()],
        [[ids[leaf], ids[node]] for leaf, node in graph.leaf_updates.items()],
    )


def _text(node: Node) -> str:
    """The attributes as printed."""
    op = node.op
    if not isinstance(op, Leaf):
        return op.text()
    role = f' role="{op.role}"' if isinstance(op, Parameter) else ""
    initial = f" init={attrs.render(op.init)}" if isinstance(op, (Parameter, State)) else ""
    return role + initial


def printed(state: Snapshot, *, comments: bool = True) -> str:
    """The printed IR of a state: what ``str(graph)`` is, without comments ``graph.text()``."""
    rows = state.rows
    inputs = (row for row in rows.values() if row["leaf"] and row["op"] == Input.name)
    header = ", ".join(f"{row['name']}: {row['type']}" for row in inputs)
    lines = [f"graphc {VERSION}", f"graph ({header}) {{"]
    for id, row in rows.items():
        if row["leaf"] and row["op"] in (Input.name, Stream.name):
            continue
        note = _note(row["note"], rows) if comments else ""
        lines.append(f"  {row_text(id, rows)}" + (f"  # {note}" if note else ""))
    returned = (f"{name}=%{rows[id]['name']}" for name, id in state.outputs)
    lines.append(f"  return {', '.join(returned)}")
    lines += [f"  update %{rows[a]['name']} = %{rows[b]['name']}" for a, b in state.updates]
    return "\n".join((*lines, "}"))


def row_text(id: str, rows: Mapping[str, Mapping[str, Any]]) -> str:
    """One row as the IR prints it, without its comment."""
    row = rows[id]
    if row["leaf"]:
        return f"%{row['name']} = {row['op']} {row['type']}{row['text']}"
    count = len(row["inputs"]) - row["hidden"]
    inputs = ", ".join(f"%{rows[source]['name']}" for source in row["inputs"][:count])
    # The first hidden operand is the stream.
    stream = f' stream="{rows[row["inputs"][count]]["name"]}"' if row["hidden"] else ""
    return f"%{row['name']}: {row['type']} = {row['op']}({inputs}){row['text']}{stream}"


def _note(note: Mapping[str, str], rows: Mapping[str, Mapping[str, Any]]) -> str:
    said = []
    if note["op"]:
        owner = rows.get(note["of"])
        said.append(f"gradient of {'%' + owner['name'] if owner else note['op']}")
    if note["line"]:
        said.append(note["line"])
    return ", ".join(said)


# -- edits ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Step:
    """One pass: its name, how long it took, and what it changed."""

    made_by: str
    seconds: float
    edits: tuple[Edit, ...]

    def counts(self) -> dict[str, int]:
        """How many nodes were added, removed, rewired and changed."""
        found = dict.fromkeys(("add", "remove", "rewire", "change"), 0)
        for edit in self.edits:
            if edit["edit"] in found and (edit["edit"] != "change" or visible(edit)):
                found[edit["edit"]] += 1
        return found

    def as_dict(self) -> dict[str, Any]:
        """Plain data, for a page."""
        return {"pass": self.made_by, "seconds": self.seconds, "edits": list(self.edits)}


def visible(edit: Edit) -> bool:
    """Whether a change is one of the graph, and not of a comment or the part it is counted to."""
    return bool({"op", "type", "text"} & edit["to"].keys())


class Track:
    """The ids of nodes over several graphs: one that is matched keeps its id."""

    def __init__(self, first: Graph) -> None:
        self.graph = first
        self.ids = {node: f"n{i}" for i, node in enumerate(first.nodes)}
        self._next = len(self.ids)
        self.state = snapshot(first, self.ids)

    def follow(self, graph: Graph) -> tuple[Edit, ...]:
        """The edits from the graph before to this one, which is now the graph."""
        found = match(self.graph, graph)
        ids: dict[Node, str] = {}
        for node in graph.nodes:
            if node in found:
                ids[node] = self.ids[found[node]]
            else:
                ids[node] = f"n{self._next}"
                self._next += 1
        state = snapshot(graph, ids)
        origin = _Origins(self.ids, graph, ids)
        edits = _edits(self.state, state, origin)
        self.graph, self.ids, self.state = graph, ids, state
        return edits


class _Origins:
    """Where the new nodes of a graph come from, in the words of the film."""

    def __init__(self, old: Mapping[Node, str], after: Graph, ids: Mapping[Node, str]) -> None:
        self.after, self.ids, self.old = after, ids, old
        self.node = {id: node for node, id in ids.items()}
        self.known = set(old.values())
        self.part = parts(after)
        self.shared = frozenset(numbers(after))
        self.owners = forward_owners(after)
        self.primal = {gradient: node for node, gradient in after.gradients.items()}
        self.found: dict[str, tuple[str, str]] = {}
        # Users come after what they read: a number is there for its reader.
        for node in reversed(after.nodes):
            if ids[node] not in self.known:
                self.found[ids[node]] = self._of(node)

    def _id(self, node: Node) -> str | None:
        return self.ids.get(node, self.old.get(node))

    def _of(self, node: Node) -> tuple[str, str]:
        """(how, id of the node that it came from)."""
        if node not in self.shared:
            forward = self.primal.get(node, self.owners.get(node))
            if forward is not None and not isinstance(node.op, Leaf) and self._id(forward):
                return "gradient of", str(self._id(forward))
            for source in sources(node):
                id = self._id(source)
                if id is not None and id != self.ids[node]:
                    update = self.part[node] == "update" and isinstance(source.op, Leaf)
                    return "update of" if update else "made from", id
        for user in self.after.users(node):
            how, id = self.found.get(self.ids[user], ("read by", self.ids[user]))
            if id and id != self.ids[node]:
                return ("read by", self.ids[user]) if isinstance(node.op, Leaf) else (how, id)
        for source in node.inputs:
            if source not in self.shared:
                return "reads", self.ids[source]
        return "", ""


def _edits(a: Snapshot, b: Snapshot, origin: _Origins) -> tuple[Edit, ...]:
    edits: list[Edit] = [{"edit": "remove", "id": id} for id in a.rows if id not in b.rows]
    stay = _in_place([id for id in a.rows if id in b.rows], list(b.rows))
    before: str | None = None
    for id, row in b.rows.items():
        if id not in a.rows:
            how, source = origin.found[id]
            edits.append(
                {"edit": "add", "id": id, "after": before, "how": how, "from": source, "row": row}
            )
        elif id not in stay:
            edits.append({"edit": "move", "id": id, "after": before})
        before = id
    for id, row in b.rows.items():
        old = a.rows.get(id)
        if old is None:
            continue
        if old["inputs"] != row["inputs"] or old["hidden"] != row["hidden"]:
            edits.append(
                {"edit": "rewire", "id": id, "inputs": row["inputs"], "hidden": row["hidden"]}
            )
        changed = {name: row[name] for name in _FIELDS if old[name] != row[name]}
        if changed:
            edits.append({"edit": "change", "id": id, "to": changed})
        if old["name"] != row["name"]:
            edits.append({"edit": "rename", "id": id, "name": row["name"]})
    if a.outputs != b.outputs:
        edits.append({"edit": "outputs", "outputs": b.outputs})
    if a.updates != b.updates:
        edits.append({"edit": "updates", "updates": b.updates})
    return tuple(edits)


def _in_place(old: Sequence[str], new: Iterable[str]) -> frozenset[str]:
    """The most ids that stand in the same order in both: the longest increasing subsequence."""
    position = {id: number for number, id in enumerate(old)}
    tails: list[int] = []
    ends: list[str] = []
    before: dict[str, str | None] = {}
    for id in new:
        if id not in position:
            continue
        place = bisect_left(tails, position[id])
        before[id] = ends[place - 1] if place else None
        if place == len(tails):
            tails.append(position[id])
            ends.append(id)
        else:
            tails[place], ends[place] = position[id], id
    kept: set[str] = set()
    here = ends[-1] if ends else None
    while here is not None:
        kept.add(here)
        here = before[here]
    return frozenset(kept)


def replay(state: Snapshot, edits: Iterable[Edit]) -> Snapshot:
    """The state after ``edits``; the one given stays as it is."""
    edits = list(edits)
    gone = {edit["id"] for edit in edits if edit["edit"] in ("remove", "move")}
    after: dict[str | None, str] = {}
    rows = {id: dict(row) for id, row in state.rows.items()}
    outputs, updates = state.outputs, state.updates
    for edit in edits:
        match edit["edit"]:
            case "remove":
                del rows[edit["id"]]
            case "add":
                rows[edit["id"]] = dict(edit["row"])
                after[edit["after"]] = edit["id"]
            case "move":
                after[edit["after"]] = edit["id"]
            case "rewire":
                rows[edit["id"]] |= {"inputs": edit["inputs"], "hidden": edit["hidden"]}
            case "change":
                rows[edit["id"]] |= edit["to"]
            case "rename":
                rows[edit["id"]]["name"] = edit["name"]
            case "outputs":
                outputs = edit["outputs"]
            case "updates":
                updates = edit["updates"]
    order: list[str] = []
    for head in (None, *(id for id in state.rows if id not in gone)):
        here = head
        if here is not None:
            order.append(here)
        while here in after:
            here = after[here]
            order.append(here)
    return Snapshot({id: rows[id] for id in order}, outputs, updates)


def track(
    graphs: Sequence[Graph],
) -> tuple[Snapshot, tuple[Step, ...], tuple[dict[Node, str], ...]]:
    """The first graph as data, the steps to each later one, and every graph's ids.

    >>> import graphc as gx
    >>> from graphc.viz.edits import printed, replay, track
    >>> x = gx.input("x", (2,))
    >>> a, b = gx.Graph({"y": gx.tanh(x)}), gx.Graph({"y": gx.tanh(gx.relu(x))})
    >>> first, (step,), _ = track([a, b])
    >>> [(edit["edit"], edit["id"]) for edit in step.edits]
    [('add', 'n2'), ('rewire', 'n1')]
    >>> printed(replay(first, step.edits)) == str(b)
    True
    """
    follower = Track(graphs[0])
    first, ids, steps = follower.state, [follower.ids], []
    for graph in graphs[1:]:
        edits = follower.follow(graph)
        steps.append(Step(graph.made_by, graph.seconds, edits))
        ids.append(follower.ids)
    return first, tuple(steps), tuple(ids)
