"use strict";
// What the scripts of a page share: its data, elements, and a picture that can be moved and zoomed.

const DATA = JSON.parse(document.getElementById("data").textContent);

// The namespace of SVG, without writing an address into the page.
const SPACE = (() => {
  const host = document.createElement("div");
  host.innerHTML = "<svg></svg>";
  return host.firstChild.namespaceURI;
})();

function make(element, given, inside) {
  for (const [name, value] of Object.entries(given)) {
    if (value !== null && value !== undefined && value !== false) {
      element.setAttribute(name, value === true ? "" : value);
    }
  }
  // Text is always a text node: nothing that a user wrote is ever parsed as markup.
  element.append(...inside.filter((part) => part !== null && part !== undefined));
  return element;
}
const svg = (tag, given = {}, ...inside) => make(document.createElementNS(SPACE, tag), given, inside);
const html = (tag, given = {}, ...inside) => make(document.createElement(tag), given, inside);
const byId = (id) => document.getElementById(id);
const clamp = (value, low, high) => Math.max(low, Math.min(high, value));

// The part of a drawing that an svg element shows: drag, two fingers, Ctrl and wheel, keys, buttons.
class View {
  constructor(element, size) {
    this.element = element;
    this.pointers = new Map();
    this.moved = 0;
    this.resize(size);
    element.addEventListener("wheel", (event) => this.wheel(event), { passive: false });
    element.addEventListener("pointerdown", (event) => this.down(event));
    element.addEventListener("pointermove", (event) => this.drag(event));
    for (const end of ["pointerup", "pointercancel", "pointerleave"]) {
      element.addEventListener(end, (event) => this.up(event));
    }
    element.addEventListener("keydown", (event) => this.key(event));
    // A click that ends a drag chooses nothing.
    element.addEventListener("click", (event) => {
      if (this.moved > 5) event.stopPropagation();
    }, true);
  }

  resize(size) {
    this.size = size;
    this.fit();
  }

  room() {
    const box = this.element.getBoundingClientRect();
    return { width: Math.max(box.width, 1), height: Math.max(box.height, 1) };
  }

  fit() {
    const room = this.room();
    // All of it where that can be read; else its top, at a size that can.
    const whole = Math.min(room.width / this.size.width, room.height / this.size.height);
    this.scale = clamp(whole, Math.min(0.75, room.width / this.size.width), 1.6);
    if (this.size.width * this.scale > room.width * 2) this.scale = Math.max(whole, 0.45);
    this.x = this.size.width / 2 - room.width / this.scale / 2;
    this.y = whole < this.scale ? 0 : this.size.height / 2 - room.height / this.scale / 2;
    this.show();
  }

  show() {
    const room = this.room();
    const width = room.width / this.scale, height = room.height / this.scale;
    this.x = clamp(this.x, -width * 0.8, this.size.width - width * 0.2);
    this.y = clamp(this.y, -height * 0.8, this.size.height - height * 0.2);
    this.element.setAttribute("viewBox", `${this.x} ${this.y} ${width} ${height}`);
  }

  zoom(factor, at = null) {
    const room = this.room();
    const point = at || { x: room.width / 2, y: room.height / 2 };
    const next = clamp(this.scale * factor, 0.03, 6);
    this.x += point.x / this.scale - point.x / next;
    this.y += point.y / this.scale - point.y / next;
    this.scale = next;
    this.show();
  }

  center(x, y) {
    const room = this.room();
    this.x = x - room.width / this.scale / 2;
    this.y = y - room.height / this.scale / 2;
    this.show();
  }

  reveal(x, y) {
    const room = this.room();
    const left = (x - this.x) * this.scale, top = (y - this.y) * this.scale;
    if (left < 60 || top < 40 || left > room.width - 60 || top > room.height - 40) this.center(x, y);
  }

  wheel(event) {
    if (!event.ctrlKey && !event.metaKey) return; // a page that scrolls past it is not caught
    event.preventDefault();
    const box = this.element.getBoundingClientRect();
    const at = { x: event.clientX - box.left, y: event.clientY - box.top };
    this.zoom(Math.exp(-event.deltaY * 0.0025), at);
  }

  down(event) {
    if (event.button) return;
    this.pointers.set(event.pointerId, { x: event.clientX, y: event.clientY });
    this.moved = 0;
  }

  drag(event) {
    const before = this.pointers.get(event.pointerId);
    if (!before) return;
    const now = { x: event.clientX, y: event.clientY };
    const others = [...this.pointers.entries()].filter(([id]) => id !== event.pointerId);
    this.moved += Math.abs(now.x - before.x) + Math.abs(now.y - before.y);
    if (this.moved > 5 && !this.element.hasPointerCapture(event.pointerId)) {
      this.element.setPointerCapture(event.pointerId);
      this.element.classList.add("dragged");
    }
    if (others.length) {
      const other = others[0][1], box = this.element.getBoundingClientRect();
      const apart = (p) => Math.hypot(p.x - other.x, p.y - other.y) || 1;
      const middle = { x: (now.x + other.x) / 2 - box.left, y: (now.y + other.y) / 2 - box.top };
      this.zoom(apart(now) / apart(before), middle);
    } else {
      this.x -= (now.x - before.x) / this.scale;
      this.y -= (now.y - before.y) / this.scale;
      this.show();
    }
    this.pointers.set(event.pointerId, now);
  }

  up(event) {
    this.pointers.delete(event.pointerId);
    this.element.classList.remove("dragged");
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey) return;
    const step = 60 / this.scale;
    if (event.key === "+" || event.key === "=") this.zoom(1.25);
    else if (event.key === "-") this.zoom(0.8);
    else if (event.key === "0") this.fit();
    else if (event.shiftKey && event.key === "ArrowLeft") { this.x -= step; this.show(); }
    else if (event.shiftKey && event.key === "ArrowRight") { this.x += step; this.show(); }
    else if (event.shiftKey && event.key === "ArrowUp") { this.y -= step; this.show(); }
    else if (event.shiftKey && event.key === "ArrowDown") { this.y += step; this.show(); }
    else return;
    event.preventDefault();
    event.stopPropagation();
  }
}

// Parts of the page tell each other which node was chosen.
const chosen = new EventTarget();
let chosenNode = null;
function choose(id, from) {
  chosenNode = id;
  chosen.dispatchEvent(new CustomEvent("choose", { detail: { id, from } }));
}
function whenChosen(act) {
  chosen.addEventListener("choose", (event) => act(event.detail.id, event.detail.from));
}
