// A figure on the whole window: wheel or keys zoom, dragging moves, Esc closes.

function startEnlarging() {
  const stage = element("div", { class: "stage" });
  const caption = element("p", { class: "caption" });
  const view = { scale: 1, x: 0, y: 0 };
  let holder = null;
  let grip = null;
  const dialog = element(
    "dialog",
    { class: "large", "aria-label": "Enlarged figure" },
    element(
      "div",
      { class: "bar" },
      element("span", {}, "Wheel or + and − zoom, dragging moves, double click or 0 shows all, Esc closes."),
      button("+", "Zoom in", () => zoom(1.4)),
      button("−", "Zoom out", () => zoom(1 / 1.4)),
      button("Whole figure", "Show the whole figure", whole),
      button("Close", "Close", () => dialog.close()),
    ),
    stage,
    caption,
  );
  document.body.append(dialog);

  function apply() {
    holder.style.transform = `translate(${view.x}px, ${view.y}px) scale(${view.scale})`;
    dialog.dataset.scale = view.scale.toFixed(3);
  }

  function whole() {
    Object.assign(view, { scale: 1, x: 0, y: 0 });
    apply();
  }

  // Keeps the point of the figure that is at (x, y) of the stage, its centre unless given, in place.
  function zoom(factor, x = 0.5 * stage.clientWidth, y = 0.5 * stage.clientHeight) {
    const scale = Math.min(Math.max(view.scale * factor, 0.5), 20);
    const ratio = scale / view.scale;
    Object.assign(view, { scale, x: x - (x - view.x) * ratio, y: y - (y - view.y) * ratio });
    apply();
  }

  function open(figure) {
    holder = element("div");
    holder.append(figure.querySelector(".picture > svg, .picture > img").cloneNode(true));
    stage.replaceChildren(holder);
    caption.textContent = figure.querySelector("figcaption").textContent;
    whole();
    dialog.showModal();
  }

  stage.addEventListener("wheel", (event) => {
    event.preventDefault();
    const box = stage.getBoundingClientRect();
    zoom(Math.exp(-0.0015 * event.deltaY), event.clientX - box.left, event.clientY - box.top);
  }, { passive: false });
  stage.addEventListener("pointerdown", (event) => {
    grip = { x: event.clientX - view.x, y: event.clientY - view.y };
    stage.setPointerCapture(event.pointerId);
  });
  stage.addEventListener("pointermove", (event) => {
    if (!grip) return;
    Object.assign(view, { x: event.clientX - grip.x, y: event.clientY - grip.y });
    apply();
  });
  for (const end of ["pointerup", "pointercancel"]) stage.addEventListener(end, () => { grip = null; });
  stage.addEventListener("dblclick", whole);
  const move = (x, y) => { view.x += x; view.y += y; apply(); };
  onKeys(dialog, {
    "+": () => zoom(1.4), "-": () => zoom(1 / 1.4), 0: whole,
    ArrowLeft: () => move(60, 0), ArrowRight: () => move(-60, 0), ArrowUp: () => move(0, 60), ArrowDown: () => move(0, -60),
  });

  for (const figure of document.querySelectorAll("figure")) {
    const picture = figure.querySelector(".picture");
    picture.addEventListener("click", () => open(figure));
    const press = button("Enlarge", "Show this figure on the whole window", (event) => {
      event.stopPropagation();
      open(figure);
    });
    press.classList.add("enlarge");
    picture.append(press);
  }
}
