"use strict";
// The film: one frame of the strip at a time, and the printed graph, replayed from the edits.

const INPUT = "input", STREAM = "stream";

function replay(state, edits) {
  const rows = new Map([...state.rows].map(([id, row]) => [id, { ...row }]));
  const after = new Map(), gone = new Set();
  let { outputs, updates } = state;
  for (const edit of edits) {
    if (edit.edit === "remove") { rows.delete(edit.id); gone.add(edit.id); }
    else if (edit.edit === "add") { rows.set(edit.id, { ...edit.row }); after.set(edit.after, edit.id); }
    else if (edit.edit === "move") { gone.add(edit.id); after.set(edit.after, edit.id); }
    else if (edit.edit === "rewire") Object.assign(rows.get(edit.id), { inputs: edit.inputs, hidden: edit.hidden });
    else if (edit.edit === "change") Object.assign(rows.get(edit.id), edit.to);
    else if (edit.edit === "rename") rows.get(edit.id).name = edit.name;
    else if (edit.edit === "outputs") outputs = edit.outputs;
    else if (edit.edit === "updates") updates = edit.updates;
  }
  const order = [];
  for (const head of [null, ...[...state.rows.keys()].filter((id) => !gone.has(id))]) {
    if (head !== null) order.push(head);
    for (let here = head; after.has(here);) order.push(here = after.get(here));
  }
  return { rows: new Map(order.map((id) => [id, rows.get(id)])), outputs, updates };
}

function rowText(row, rows) {
  if (row.leaf) return `%${row.name} = ${row.op} ${row.type}${row.text}`;
  const count = row.inputs.length - row.hidden;
  const inputs = row.inputs.slice(0, count).map((id) => `%${rows.get(id).name}`).join(", ");
  const stream = row.hidden ? ` stream="${rows.get(row.inputs[count]).name}"` : "";
  return `%${row.name}: ${row.type} = ${row.op}(${inputs})${row.text}${stream}`;
}

function printed({ rows, outputs, updates }) {
  const note = ({ of, op, line }) => {
    const owner = rows.get(of);
    return [op && `gradient of ${owner ? `%${owner.name}` : op}`, line].filter(Boolean).join(", ");
  };
  const all = [...rows.values()];
  const header = all.filter((row) => row.leaf && row.op === INPUT).map((row) => `${row.name}: ${row.type}`);
  const lines = ["graphc 1", `graph (${header.join(", ")}) {`];
  for (const row of all) {
    if (row.leaf && (row.op === INPUT || row.op === STREAM)) continue;
    const said = note(row.note);
    lines.push(`  ${rowText(row, rows)}${said ? `  # ${said}` : ""}`);
  }
  lines.push(`  return ${outputs.map(([name, id]) => `${name}=%${rows.get(id).name}`).join(", ")}`);
  for (const [leaf, id] of updates) lines.push(`  update %${rows.get(leaf).name} = %${rows.get(id).name}`);
  return [...lines, "}"].join("\n");
}

function replayed({ first, steps }) {
  const states = [{ ...first, rows: new Map(Object.entries(first.rows)) }];
  for (const step of steps) states.push(replay(states[states.length - 1], step.edits));
  return states;
}

class Film {
  constructor(data) {
    this.slider = byId("film-slider");
    this.frames = [...document.querySelectorAll("#film-strip > li")];
    this.states = data && replayed(data);
    this.slider.addEventListener("input", () => this.show(+this.slider.value));
    byId("film-back").addEventListener("click", () => this.show(this.at - 1));
    byId("film-next").addEventListener("click", () => this.show(this.at + 1));
    byId("film-whole").addEventListener("change", (event) =>
      byId("film-strip").classList.toggle("whole", event.target.checked));
    this.show(0);
  }

  show(number) {
    this.at = clamp(number, 0, this.frames.length - 1);
    const before = this.frames.find((frame) => !frame.hidden);
    const picture = before && before.querySelector(".frame-picture");
    const place = picture ? [picture.scrollLeft, picture.scrollTop] : [0, 0];
    this.frames.forEach((frame, i) => { frame.hidden = i !== this.at; });
    // Places are kept: so is what the reader was looking at.
    const next = this.frames[this.at].querySelector(".frame-picture");
    if (next) [next.scrollLeft, next.scrollTop] = place;
    this.slider.value = `${this.at}`;
    const name = this.frames[this.at].dataset.pass;
    this.slider.setAttribute("aria-valuetext", `frame ${this.at + 1} of ${this.frames.length}: ${name}`);
    byId("film-said").textContent = `${this.at + 1} of ${this.frames.length}: ${name}`;
    byId("film-back").disabled = this.at === 0;
    byId("film-next").disabled = this.at === this.frames.length - 1;
    if (this.states) byId("film-ir").textContent = printed(this.states[this.at]);
  }
}

if (byId("film-slider")) new Film(DATA.film);
