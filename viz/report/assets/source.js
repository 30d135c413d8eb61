"use strict";
// The generated program beside the nodes: each tells which lines of the other are its own.

function startSource(host) {
  const first = host.querySelector("a[data-of]"); // above it stand helpers and the buffer table
  if (first) host.scrollTop = first.offsetTop - host.offsetTop - 60;
  host.addEventListener("click", (event) => {
    const link = event.target.closest("a[data-of]");
    if (!link) return;
    event.preventDefault(); // without scripts it leads to the drawing
    choose(link.dataset.of, "source");
  });
  whenChosen((id, from) => {
    let first = null;
    for (const line of host.querySelectorAll("li.chosen")) line.classList.remove("chosen");
    for (const link of host.querySelectorAll(`a[data-of="${CSS.escape(id)}"]`)) {
      const line = link.closest("li");
      line.classList.add("chosen");
      first = first || line;
    }
    if (first && from !== "source") host.scrollTop = first.offsetTop - host.offsetTop - 60;
  });
}

if (byId("source-lines")) startSource(byId("source-lines"));
