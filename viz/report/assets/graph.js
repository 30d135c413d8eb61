"use strict";
// The graph, laid out in the page from what is unfolded at the moment.

const MOST_SHAPES = 600; // beyond, neither a reader nor the layout keeps up
const FEW_SHAPES = 60; // unfolded at the start
const MOST_LABELS = 160; // edges that still say their shape
const ROW = 9; // gradients and updates in one line beside their value

// Whether a shape (or node) is one of those that values flow through, from top to bottom.
const inFlow = ({ part }) => part === "forward" || part === "penalty";

class Picture {
  constructor(graph, element) {
    this.graph = graph;
    this.element = element;
    this.nodes = new Map(graph.nodes.map((node) => [node.id, node]));
    this.clusters = new Map(graph.clusters.map((cluster) => [cluster.id, cluster]));
    this.parts = new Set(["forward"]);
    this.open = new Set();
    this.matches = new Set();
    this.readers = new Map();
    for (const edge of graph.edges) {
      if (edge.kind !== "data" || this.nodes.get(edge.target).part !== "forward") continue;
      if (!this.readers.has(edge.source)) this.readers.set(edge.source, []);
      this.readers.get(edge.source).push(edge.target);
    }
    this.canvas = document.createElement("canvas").getContext("2d");
    this.layer = svg("g");
    element.append(this.layer);
    element.addEventListener("keydown", (event) => this.key(event));
    this.view = new View(element, { width: 1, height: 1 });
    this.unfoldFew();
  }

  // -- folding -------------------------------------------------------------------------------

  chain(node) {
    const found = [];
    for (let id = node.cluster; id; id = this.clusters.get(id).parent) found.unshift(id);
    return found;
  }

  // The outermost folded cluster around a node: its part of it is one box.
  box(node) {
    const closed = this.chain(node).find((id) => !this.open.has(id));
    return closed ? `${closed}|${node.part}` : null;
  }

  scene(open = this.open) {
    const kept = this.open;
    this.open = open;
    const place = new Map(), members = new Map();
    for (const node of this.graph.nodes) {
      if (!this.parts.has(node.part)) continue;
      let box = this.box(node);
      // A parameter that several boxes read stays: sharing is never hidden.
      if (box && node.kind === "parameter" && (this.readers.get(node.id) || []).some(
        (reader) => this.box(this.nodes.get(reader)) !== box)) box = null;
      place.set(node.id, box || node.id);
      if (box) {
        if (!members.has(box)) members.set(box, []);
        members.get(box).push(node);
      }
    }
    for (const [box, inside] of members) {
      if (inside.length > 1) continue;
      place.set(inside[0].id, inside[0].id); // one node alone is drawn as itself
      members.delete(box);
    }
    this.open = kept;
    return { place, members };
  }

  count(open) {
    return new Set(this.scene(open).place.values()).size;
  }

  depth(cluster) {
    return cluster.parent ? this.depth(this.clusters.get(cluster.parent)) + 1 : 1;
  }

  // Level by level, as long as it can be read.
  unfoldTo(most) {
    let open = new Set();
    const clusters = [...this.clusters.values()];
    for (let level = 1; ; level++) {
      const next = clusters.filter((cluster) => this.depth(cluster) === level);
      if (!next.length) break;
      const wider = new Set([...open, ...next.map((cluster) => cluster.id)]);
      if (this.count(wider) > most) break;
      open = wider;
    }
    this.open = open;
  }

  unfoldFew() {
    this.unfoldTo(FEW_SHAPES);
    this.draw();
    this.view.fit();
  }

  unfoldAll() {
    const all = new Set(this.clusters.keys());
    const count = this.count(all);
    if (count > MOST_SHAPES) this.unfoldTo(MOST_SHAPES);
    else this.open = all;
    this.draw();
    this.view.fit();
    return count > MOST_SHAPES
      ? `All ${count} shapes are too many for one picture (${MOST_SHAPES} at most): the innermost stay folded. Unfold those that you want to see.`
      : "";
  }

  foldAll() {
    this.open = new Set();
    this.draw();
    this.view.fit();
  }

  toggle(cluster) {
    const opening = !this.open.has(cluster);
    if (opening) {
      const wider = new Set([...this.open, cluster]);
      if (this.count(wider) > MOST_SHAPES) {
        return `Unfolding this would draw more than ${MOST_SHAPES} shapes: fold something else first.`;
      }
      this.open = wider;
    } else {
      this.open.delete(cluster);
    }
    this.draw();
    const label = this.element.querySelector(`[data-cluster="${CSS.escape(cluster)}"]`);
    if (label) {
      this.focus(label);
    }
    return "";
  }

  // -- finding -------------------------------------------------------------------------------

  search(text) {
    const wanted = text.trim().toLowerCase();
    if (!wanted) return [];
    const fits = (node) => [node.name, node.op, node.line, ...node.outputs]
      .some((said) => said.toLowerCase().includes(wanted));
    return this.graph.nodes.filter(fits);
  }

  // Unfold whatever hides a node, and go there.
  goTo(id, focus = true) {
    const node = this.nodes.get(id);
    if (!node) return;
    this.parts.add(node.part);
    const kept = this.open;
    this.open = new Set([...this.open, ...this.chain(node)]);
    if (this.count(this.open) > MOST_SHAPES) {
      this.open = new Set(this.chain(node));
      if (this.count(this.open) > MOST_SHAPES) this.open = kept;
    }
    this.draw();
    const shape = this.shape(id);
    if (shape && focus) this.focus(shape);
    else if (shape) this.view.center(+shape.dataset.x, +shape.dataset.y);
  }

  shape(id) {
    return this.element.querySelector(`[data-node="${CSS.escape(id)}"]`);
  }

  focus(target) {
    for (const other of this.element.querySelectorAll('[tabindex="0"]')) {
      other.setAttribute("tabindex", "-1");
    }
    target.setAttribute("tabindex", "0");
    target.focus({ preventScroll: true });
    if (target.dataset.x) this.view.reveal(+target.dataset.x, +target.dataset.y);
  }

  key(event) {
    const here = event.target.closest("[data-order]");
    if (!here || event.shiftKey) return;
    const order = +here.dataset.order;
    const all = [...this.element.querySelectorAll("[data-order]")];
    let next = null;
    if (event.key === "ArrowRight") next = all[order + 1];
    else if (event.key === "ArrowLeft") next = all[order - 1];
    else if (event.key === "Home") next = all[0];
    else if (event.key === "End") next = all[all.length - 1];
    else if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      const down = event.key === "ArrowDown";
      const id = here.dataset.shape;
      const line = this.lines.find((edge) => (down ? edge.from : edge.to) === id);
      next = line && this.element.querySelector(
        `[data-shape="${CSS.escape(down ? line.to : line.from)}"]`);
    } else if (event.key === "Enter" || event.key === " ") {
      here.dispatchEvent(new MouseEvent("click", { bubbles: true }));
      event.preventDefault();
      return;
    } else return;
    event.preventDefault();
    if (next) this.focus(next);
  }

  // -- drawing -------------------------------------------------------------------------------

  draw() {
    const { place, members } = this.scene();
    this.place = place;
    const ids = [...new Set(place.values())];
    const plan = new dagre.graphlib.Graph({ compound: true, multigraph: true });
    plan.setGraph({ rankdir: "TB", ranker: ids.length > 150 ? "tight-tree" : "network-simplex", nodesep: 16, ranksep: 28, edgesep: 10, marginx: 14, marginy: 14 });
    plan.setDefaultEdgeLabel(() => ({}));
    const shapes = new Map();
    for (const id of ids) {
      const shape = this.describe(id, members.get(id));
      shapes.set(id, shape);
      if (inFlow(shape)) plan.setNode(id, { width: shape.width, height: shape.height });
    }
    this.frames(plan, shapes);
    this.lines = this.connect(place, shapes);
    const labelled = this.lines.length <= MOST_LABELS;
    this.lines.forEach((line, number) => {
      if (!line.ranks) return;
      const label = labelled && line.label ? line.label : "";
      const wide = label ? this.width(label, "9.5px Helvetica, Arial, sans-serif") : 0;
      const given = { width: wide, height: label ? 12 : 0, labelpos: "c", weight: line.weight };
      plan.setEdge(line.from, line.to, given, `${number}`);
    });
    dagre.layout(plan);
    const { width = 1, height = 1 } = plan.graph();
    this.at = new Map();
    for (const shape of shapes.values()) if (inFlow(shape)) this.at.set(shape.id, plan.node(shape.id));
    this.view.size = this.beside(shapes, { width: Math.max(width, 1), height: Math.max(height, 1) });
    this.paint(plan, shapes, labelled);
    this.view.show();
    this.mark(chosenNode);
  }

  describe(id, members) {
    const rows = [];
    let kind, name, part;
    if (members) {
      const cluster = this.clusters.get(id.split("|")[0]);
      part = members[0].part;
      name = (part === "forward" || part === cluster.label ? "" : `${part} of `) + cluster.label;
      kind = "box";
      const counts = new Map();
      for (const node of members) {
        if (node.kind === "op" || node.kind === "grad_sum") counts.set(node.op, (counts.get(node.op) || 0) + 1);
      }
      const common = [...counts].sort((a, b) => b[1] - a[1]).slice(0, 3);
      rows.push(`▸ ${shorten(name, 34)}`);
      if (common.length) rows.push(common.map(([op, n]) => (n > 1 ? `${op} ×${n}` : op)).join(", "));
      rows.push(`${members.length} nodes`);
      const held = members.reduce((sum, node) => sum + (node.kind === "parameter" ? node.numbers : 0), 0);
      if (held) rows.push(`${held.toLocaleString("en")} parameters`);
    } else {
      const node = this.nodes.get(id);
      ({ kind, name, part } = node);
      rows.push(...node.label);
    }
    const look = kind !== "op" && kind !== "box" ? kind : part === "penalty" ? "forward" : part;
    const fonts = (row) => (row ? "" : "600 ") + "11px Helvetica, Arial, sans-serif";
    const widest = Math.max(...rows.map((row, i) => this.width(row, fonts(i))), 16);
    const extra = { input: 26, grad_sum: 26, parameter: 20, state: 20 }[kind] || 18;
    const tall = { parameter: 16, state: 16, grad_sum: 14, input: 14 }[kind] || 10;
    return { id, kind, look, name, part, rows, members, width: widest + extra, height: rows.length * 13 + tall };
  }

  width(text, font) {
    this.canvas.font = font;
    return this.canvas.measureText(text).width;
  }

  // The unfolded modules, around their forward part.
  frames(plan, shapes) {
    const inside = new Map();
    for (const shape of shapes.values()) {
      if (shape.part !== "forward") continue;
      const first = shape.members ? this.clusters.get(shape.id.split("|")[0]) : this.nodes.get(shape.id);
      let home = shape.members ? first.parent : first.cluster;
      while (home && !this.open.has(home)) home = this.clusters.get(home).parent;
      if (!home) continue;
      inside.set(shape.id, home);
    }
    const counts = new Map();
    for (const home of inside.values()) {
      for (let id = home; id; id = this.clusters.get(id).parent) counts.set(id, (counts.get(id) || 0) + 1);
    }
    this.framed = [...this.clusters.values()].filter((c) => this.open.has(c.id) && counts.has(c.id));
    for (const cluster of this.framed) plan.setNode(`frame ${cluster.id}`, {});
    for (const cluster of this.framed) {
      if (cluster.parent) plan.setParent(`frame ${cluster.id}`, `frame ${cluster.parent}`);
    }
    for (const [id, home] of inside) plan.setParent(id, `frame ${home}`);
  }

  connect(place, shapes) {
    const joined = new Map();
    for (const edge of this.graph.edges) {
      const from = place.get(edge.source), to = place.get(edge.target);
      if (from === undefined || to === undefined || edge.told || (from === to)) continue;
      // Uses between two nodes stay apart; what ends at a box is joined and counted.
      const apart = from === edge.source && to === edge.target;
      const key = `${from} ${to} ${edge.kind}${apart ? ` ${edge.input}` : ""}`;
      const known = joined.get(key);
      if (known) {
        known.count += 1;
        if (known.label !== edge.shape) known.label = "";
        continue;
      }
      const a = shapes.get(from), b = shapes.get(to);
      const line = { from, to, kind: edge.kind, count: 1, label: edge.shape, ranks: true, weight: 1 };
      line.look = "data";
      line.ranks = inFlow(a) && inFlow(b) && edge.kind !== "update";
      if (edge.kind === "update") line.look = "update";
      else if (a.part === "backward" && b.part === "backward") line.look = "backward";
      else if (inFlow(a) && b.part === "backward") line.look = "kept";
      else if (b.part === "penalty" && a.part === "forward") line.look = "parameter";
      else if (b.part === "update") line.look = a.part === "backward" ? "backward" : "update";
      else if (a.kind === "parameter" || a.kind === "state") line.look = "parameter";
      else line.weight = 4;
      if (line.look !== "data" || !["op", "box"].includes(a.kind)) line.label = "";
      joined.set(key, line);
    }
    for (const line of joined.values()) {
      if (line.count > 1) line.label = [line.label, `(${line.count}×)`].filter(Boolean).join(" ");
    }
    return [...joined.values()];
  }

  // A training step reads as a table: to the right of a value, in its row, stand its gradient and
  // what updates it; gradients run up while values run down.
  beside(shapes, size) {
    const rows = new Map(), loose = [];
    for (const part of ["backward", "update"]) {
      for (const shape of shapes.values()) {
        if (shape.part !== part) continue;
        const head = this.head(shape);
        if (!head) loose.push(shape);
        else if (rows.has(head)) rows.get(head).push(shape);
        else rows.set(head, [shape]);
      }
    }
    const heads = [...rows.keys()].sort((a, b) => this.at.get(a).y - this.at.get(b).y);
    let bottom = 0, { width, height } = size;
    const left = width + 50;
    const row = (shapes, wanted) => {
      for (let start = 0; start < shapes.length; start += ROW) {
        const some = shapes.slice(start, start + ROW);
        const tall = Math.max(...some.map((shape) => shape.height));
        const y = Math.max(wanted, bottom + 14 + tall / 2);
        let x = left;
        for (const shape of some) {
          this.at.set(shape.id, { x: x + shape.width / 2, y, width: shape.width, height: shape.height });
          x += shape.width + 26;
        }
        bottom = y + tall / 2;
        width = Math.max(width, x);
      }
    };
    for (const head of heads) row(rows.get(head), this.at.get(head).y);
    row(loose, bottom);
    return { width, height: Math.max(height, bottom + 14) };
  }

  // The forward shape that a gradient or an update belongs to.
  head(shape) {
    for (const node of shape.members || [this.nodes.get(shape.id)]) {
      let here = node;
      for (let steps = 0; here && !inFlow(here) && steps < 9; steps++) here = this.nodes.get(here.belongs_to);
      const id = here && this.place.get(here.id);
      if (id && this.at.has(id)) return id;
    }
    return null;
  }

  paint(plan, shapes, labelled) {
    const frames = svg("g"), lines = svg("g"), nodes = svg("g");
    let order = 0;
    for (const cluster of this.framed) {
      const at = plan.node(`frame ${cluster.id}`);
      const left = at.x - at.width / 2, top = at.y - at.height / 2;
      frames.append(svg("g", { class: "frame" },
        svg("rect", { x: left, y: top, width: at.width, height: at.height, rx: 7 })));
      const label = svg("text", {
        x: left + 2, y: top - 4, class: "frame-label", role: "button", "aria-expanded": "true",
        "aria-label": `fold ${cluster.label}`, "data-cluster": cluster.id, "data-order": order++,
        "data-x": left + 20, "data-y": top, tabindex: "-1",
      }, `▾ ${shorten(cluster.label, 30)}`);
      label.addEventListener("click", () => this.told(this.toggle(cluster.id)));
      nodes.append(label);
    }
    this.lines.forEach((line, number) => {
      lines.append(this.line(line, number, plan, labelled));
    });
    for (const shape of shapes.values()) nodes.append(this.node(shape, this.at.get(shape.id), order++));
    this.layer.replaceChildren(frames, lines, nodes);
    const first = nodes.querySelector("[data-shape]") || nodes.firstChild;
    if (first) first.setAttribute("tabindex", "0");
  }

  line(line, number, plan, labelled) {
    let points;
    if (line.ranks) {
      const found = plan.edge({ v: line.from, w: line.to, name: `${number}` });
      points = found.points;
      line.at = found;
    } else {
      const a = this.at.get(line.from), b = this.at.get(line.to);
      const bend = b.y === a.y && Math.abs(b.x - a.x) < a.width + b.width ? 0 : 18;
      points = [edgeOf(a, b), { x: (a.x + b.x) / 2, y: (a.y + b.y) / 2 + bend }, edgeOf(b, a)];
    }
    const group = svg("g", { class: `edge ${line.look === "kept" ? "kept" : line.look}` },
      svg("path", { d: curve(points) }), svg("polygon", { points: arrow(points) }));
    if (labelled && line.label) {
      const at = line.ranks && line.at.x !== undefined ? line.at : points[Math.floor(points.length / 2)];
      group.append(svg("text", { x: at.x, y: at.y + 3 }, line.label));
    }
    return group;
  }

  node(shape, at, order) {
    const { width, height, kind, look, rows } = shape;
    const left = at.x - width / 2, top = at.y - height / 2;
    const said = shape.members
      ? `${shape.name}, folded, ${shape.members.length} nodes`
      : `${this.nodes.get(shape.id).text}`;
    const group = svg("g", {
      class: "shape", role: "button", tabindex: "-1", "aria-label": said, "data-shape": shape.id,
      "data-order": order, "data-x": at.x, "data-y": at.y, "data-kind": kind,
      "aria-expanded": shape.members ? "false" : null,
      "data-node": shape.members ? null : shape.id,
      "data-cluster": shape.members ? shape.id.split("|")[0] : null,
    });
    group.append(...outline(kind, look, left, top, width, height));
    const firstLine = at.y - (rows.length - 1) * 6.5 + 4 + ({ parameter: 2, state: 2, input: -3 }[kind] || 0);
    rows.forEach((row, i) => group.append(
      svg("text", { x: at.x, y: firstLine + i * 13, class: i ? null : "first" }, row)));
    group.append(svg("title", {}, said));
    group.addEventListener("click", () => {
      if (shape.members) this.told(this.toggle(shape.id.split("|")[0]));
      else choose(shape.id, "graph");
    });
    return group;
  }

  told(note) {
    byId("graph-note").textContent = note;
  }

  mark(id) {
    for (const shape of this.element.querySelectorAll("[data-node]")) {
      shape.classList.toggle("chosen", shape.dataset.node === id);
      shape.classList.toggle("found", this.matches.has(shape.dataset.node));
    }
  }
}

function shorten(text, width) {
  const said = [...text];
  if (said.length <= width) return text;
  const left = Math.floor((width - 1) / 2);
  return `${said.slice(0, left).join("")}…${said.slice(said.length - (width - 1 - left)).join("")}`;
}

// Where the straight line from a box towards another one leaves it.
function edgeOf(a, b) {
  const dx = b.x - a.x, dy = b.y - a.y;
  const t = Math.min(dx ? a.width / 2 / Math.abs(dx) : 9, dy ? a.height / 2 / Math.abs(dy) : 9, 1);
  return { x: a.x + dx * t, y: a.y + dy * t };
}

function curve(points) {
  const n = (value) => value.toFixed(1);
  if (points.length < 3) return points.map((p, i) => `${i ? "L" : "M"}${n(p.x)} ${n(p.y)}`).join("");
  let path = `M${n(points[0].x)} ${n(points[0].y)}`;
  for (let i = 1; i < points.length - 1; i++) {
    const last = i === points.length - 2;
    const end = last ? points[i + 1]
      : { x: (points[i].x + points[i + 1].x) / 2, y: (points[i].y + points[i + 1].y) / 2 };
    path += `Q${n(points[i].x)} ${n(points[i].y)} ${n(end.x)} ${n(end.y)}`;
  }
  return path;
}

function arrow(points) {
  const tip = points[points.length - 1], before = points[points.length - 2];
  const angle = Math.atan2(tip.y - before.y, tip.x - before.x);
  const at = (turn, length) =>
    `${(tip.x - length * Math.cos(angle + turn)).toFixed(1)},${(tip.y - length * Math.sin(angle + turn)).toFixed(1)}`;
  return `${tip.x.toFixed(1)},${tip.y.toFixed(1)} ${at(0.38, 7)} ${at(-0.38, 7)}`;
}

// The shape tells the kind; the colour says it again.
function outline(kind, look, x, y, w, h) {
  const name = look.replace("_", "-");
  const paint = { fill: `var(--fill-${name})`, stroke: `var(--line-${name})`, class: "body" };
  const dashed = look === "state" || look === "update" ? { "stroke-dasharray": "5 3" } : {};
  const halo = svg("rect", { x: x - 5, y: y - 5, width: w + 10, height: h + 10, rx: 6, class: "halo" });
  if (kind === "constant") return [halo, svg("rect", { x, y, width: w, height: h, ...paint, fill: "none", stroke: "none" })];
  if (kind === "parameter" || kind === "state") {
    const r = 5;
    const body = `M${x} ${y + r}A${w / 2} ${r} 0 0 1 ${x + w} ${y + r}V${y + h - r}A${w / 2} ${r} 0 0 1 ${x} ${y + h - r}Z`;
    const lid = `M${x} ${y + r}A${w / 2} ${r} 0 0 0 ${x + w} ${y + r}`;
    return [halo, svg("path", { d: body, ...paint, ...dashed }),
      svg("path", { d: lid, fill: "none", stroke: paint.stroke, ...dashed })];
  }
  if (kind === "input") {
    const d = `M${x} ${y}H${x + w}V${y + h * 0.6}L${x + w / 2} ${y + h + 4}L${x} ${y + h * 0.6}Z`;
    return [halo, svg("path", { d, ...paint })];
  }
  if (kind === "grad_sum" || kind === "edge") {
    const rings = [svg("ellipse", { cx: x + w / 2, cy: y + h / 2, rx: w / 2, ry: h / 2, ...paint })];
    if (kind === "grad_sum") {
      rings.push(svg("ellipse", { cx: x + w / 2, cy: y + h / 2, rx: w / 2 - 3, ry: h / 2 - 3, fill: "none", stroke: paint.stroke }));
    }
    return [halo, ...rings];
  }
  const rx = look === "backward" ? 0 : 6;
  const front = svg("rect", { x, y, width: w, height: h, rx, ...paint, ...dashed });
  if (kind !== "box") return [halo, front];
  const behind = svg("rect", { x: x + 4, y: y - 4, width: w, height: h, rx, ...paint, class: "", "stroke-width": 1 });
  return [halo, behind, front];
}

// -- the page ---------------------------------------------------------------------------------

function startGraph() {
  const picture = new Picture(DATA.graph, byId("graph-picture"));
  const note = byId("graph-note");
  const tools = {
    "graph-fold": () => { picture.foldAll(); note.textContent = ""; },
    "graph-unfold": () => { note.textContent = picture.unfoldAll(); },
    "graph-in": () => picture.view.zoom(1.25),
    "graph-out": () => picture.view.zoom(0.8),
    "graph-fit": () => picture.view.fit(),
  };
  for (const [id, act] of Object.entries(tools)) byId(id).addEventListener("click", act);
  for (const box of document.querySelectorAll("[data-part]")) {
    box.checked = picture.parts.has(box.dataset.part);
    box.addEventListener("change", () => {
      picture.parts[box.checked ? "add" : "delete"](box.dataset.part);
      if (picture.count(picture.open) > MOST_SHAPES) picture.unfoldTo(MOST_SHAPES);
      picture.draw();
      picture.view.fit();
    });
  }
  const field = byId("graph-search"), found = byId("graph-found"), said = byId("graph-count");
  const list = () => {
    const nodes = picture.search(field.value);
    picture.matches = new Set(nodes.map((node) => node.id));
    found.replaceChildren(...nodes.slice(0, 12).map((node) => {
      const button = html("button", { type: "button" }, shorten(node.name, 40));
      button.addEventListener("click", () => choose(node.id, "search"));
      return html("li", {}, button);
    }));
    said.textContent = !field.value.trim() ? ""
      : nodes.length ? `${nodes.length} found${nodes.length > 12 ? ", the first 12 here" : ""}` : "nothing found";
    picture.mark(chosenNode);
    return nodes;
  };
  field.addEventListener("input", list);
  field.addEventListener("keydown", (event) => {
    if (event.key !== "Enter") return;
    const [first] = list();
    if (first) choose(first.id, "search");
  });
  whenChosen((id, from) => {
    if (from === "search") picture.goTo(id);
    else if (from !== "graph") picture.goTo(id, false);
    picture.mark(id);
    tell(picture, id);
  });
  new ResizeObserver(() => picture.view.show()).observe(picture.element);
}

// What is known about the chosen node.
function tell(picture, id) {
  const node = picture.nodes.get(id), side = byId("graph-side");
  if (!node) return;
  const rows = [["op", node.op], ["type", node.type], ["module", node.cluster ? picture.clusters.get(node.cluster).path : ""],
    ["line", node.line], ["role", node.role], ["uses", node.uses ? `${node.uses}` : ""],
    ["output", node.outputs.join(", ")], ...Object.entries(node.facts || {})];
  const list = html("dl", {});
  for (const [name, value] of rows) {
    if (value) list.append(html("dt", {}, name), html("dd", {}, value));
  }
  const parts = [html("h3", {}, node.name), html("pre", { tabindex: "0" }, node.text || node.name), list];
  const chain = picture.chain(node).map((cluster) => picture.clusters.get(cluster));
  if (chain.length) {
    const buttons = chain.map((cluster) => {
      const button = html("button", { type: "button", "data-fold": cluster.id },
        `${picture.open.has(cluster.id) ? "fold" : "unfold"} ${shorten(cluster.label, 24)}`);
      button.addEventListener("click", () => { picture.told(picture.toggle(cluster.id)); tell(picture, id); });
      return button;
    });
    parts.push(html("div", { class: "tools" }, ...buttons));
  }
  side.replaceChildren(...parts);
}

if (byId("graph-picture")) startGraph();
