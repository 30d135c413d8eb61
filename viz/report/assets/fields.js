"use strict";
// The pixels that a unit sees. All numbers come from gx.receptive_field; nothing is computed here.

class Fields {
  constructor(data) {
    this.data = data;
    this.units = byId("field-units");
    this.image = byId("field-image");
    this.select = byId("field-node");
    this.select.replaceChildren(...data.nodes.map((node, i) =>
      html("option", { value: i }, `${node.name}  ${node.height}×${node.width}`)));
    this.select.addEventListener("change", () => this.show(+this.select.value));
    this.units.addEventListener("pointermove", (event) => this.point(event));
    this.units.addEventListener("pointerdown", (event) => this.point(event));
    this.units.addEventListener("keydown", (event) => this.key(event));
    this.show(data.nodes.length - 1);
  }

  show(number) {
    this.node = this.data.nodes[number];
    this.select.value = `${number}`;
    const { height, width } = this.node;
    this.units.setAttribute("viewBox", `0 0 ${width} ${height}`);
    const lines = width * height <= 4096 ? grid(width, height) : "";
    this.mark = svg("rect", { class: "unit", width: 1, height: 1 });
    this.units.replaceChildren(svg("path", { class: "lines", d: lines, "vector-effect": "non-scaling-stroke" }), this.mark);
    this.units.setAttribute("aria-label",
      `units of ${this.node.name}, ${height} rows, ${width} columns; arrow keys move`);
    this.at(height >> 1, width >> 1);
  }

  point(event) {
    const matrix = this.units.getScreenCTM();
    if (!matrix) return;
    const point = new DOMPoint(event.clientX, event.clientY).matrixTransform(matrix.inverse());
    const y = Math.floor(point.y), x = Math.floor(point.x);
    if (y >= 0 && x >= 0 && y < this.node.height && x < this.node.width) this.at(y, x);
  }

  key(event) {
    const steps = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
    const step = steps[event.key];
    if (!step || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    const far = event.shiftKey ? 8 : 1;
    this.at(clamp(this.y + step[0] * far, 0, this.node.height - 1),
      clamp(this.x + step[1] * far, 0, this.node.width - 1));
  }

  // [top, left, bottom, right], inclusive, or null.
  box(y, x) {
    const table = this.data.tables[this.node.table];
    if (table.boxes) return table.boxes[y * this.node.width + x];
    const row = table.rows[y], column = table.columns[x];
    return row && column && [row[0], column[0], row[1], column[1]];
  }

  at(y, x) {
    this.y = y;
    this.x = x;
    this.mark.setAttribute("y", y);
    this.mark.setAttribute("x", x);
    const box = this.box(y, x), drawn = [];
    let said = `${this.node.name}, unit (${y}, ${x}): sees nothing of the image`;
    if (box) {
      const [top, left, bottom, right] = box;
      const place = { x: left, y: top, width: right - left + 1, height: bottom - top + 1 };
      const count = this.holes(drawn, y, x);
      drawn.push(svg("rect", { class: "box-back", ...place }), svg("rect", { class: "box", id: "field-box", ...place }));
      said = `${this.node.name}, unit (${y}, ${x}): rows ${top} to ${bottom}, columns ${left} to ${right}, `
        + `${bottom - top + 1}×${right - left + 1} pixels`
        + (count ? `; of these it reads ${count}, the rest are holes` : "");
    }
    byId("field-marks").replaceChildren(...drawn);
    byId("field-said").textContent = said;
  }

  // The pixels themselves, where the box has holes.
  holes(drawn, y, x) {
    const table = this.data.tables[this.node.table];
    if (table.boxes) return 0;
    const row = table.rows[y], column = table.columns[x];
    if (row.length < 3 && column.length < 3) return 0;
    const rows = pixels(row), columns = pixels(column);
    if (rows.length * columns.length <= 20000) {
      let path = "";
      for (const i of rows) for (const j of columns) path += `M${j} ${i}h1v1h-1z`;
      drawn.push(svg("path", { class: "seen", d: path }));
    }
    return rows.length * columns.length;
  }
}

// [first, last], [first, last, step] or [first, last, [each]].
function pixels([first, last, how = 1]) {
  if (Array.isArray(how)) return how;
  return Array.from({ length: (last - first) / how + 1 }, (_, i) => first + i * how);
}

function grid(width, height) {
  let path = "";
  for (let x = 1; x < width; x++) path += `M${x} 0V${height}`;
  for (let y = 1; y < height; y++) path += `M0 ${y}H${width}`;
  return path;
}

if (DATA.fields) {
  const fields = new Fields(DATA.fields);
  whenChosen((id) => {
    const number = DATA.fields.nodes.findIndex((node) => node.id === id);
    if (number >= 0) fields.show(number);
  });
}
