// Reference and generated in bins, with a comparison below: choose, zoom, read off.

const LOWER = { ratio: "Ratio", difference: "Difference", pull: "Pull" };
const ROOM = { left: 78, right: 14, top: 12, gap: 10, bottom: 46 };
const ATOM = 1e-5;

let plots = 0;

// Draws in units of the picture: contents divided by the bin's width where widths differ.
function scaled(item) {
  const { edges } = item;
  const range = edges[edges.length - 1] - edges[0];
  const atom = edges.slice(1).map((edge, i) => edge - edges[i] < ATOM * range);
  const convert = (values) =>
    values.map((v, i) => {
      if (missing(v) || atom[i]) return null;
      return item.density ? v / (edges[i + 1] - edges[i]) : v;
    });
  const found = { atom };
  for (const key of ["reference", "reference_error", "generated", "generated_error"]) found[key] = convert(item[key]);
  return found;
}

function binnedExplorer(items, title) {
  const state = { item: items[0], log: "linear", lower: "ratio", zoom: null, bin: null, drag: null };
  plots += 1;
  const clip = `clip-${plots}`;
  const picture = shape("svg", { class: "plot", tabindex: 0, role: "group" });
  const told = readout("Point at a bin to read its numbers.");
  const reset = button("Reset zoom", "Show the whole range", () => zoomTo(null));
  const what = choice("Observable", (value) => pick(value, state.item.part));
  const part = choice("Category", (value) => pick(state.item.what, value));
  const scale = options("y axis", { linear: "Linear", log: "Logarithmic" }, (value) => {
    state.log = value;
    draw();
  });
  const lower = options("Below", LOWER, (value) => {
    state.lower = value;
    draw();
  });
  let width = 0;
  let data = null;
  let frame = null;
  let marks = null;

  function pick(wanted, section) {
    const same = items.filter((item) => item.what === wanted);
    const before = state.item;
    state.item = same.find((item) => item.part === section) ?? same[0];
    data = scaled(state.item);
    const kept = before.edges[0] === state.item.edges[0] && before.edges.at(-1) === state.item.edges.at(-1);
    if (!kept || before.what !== state.item.what) state.zoom = null;
    state.bin = null;
    if (before.what !== state.item.what || before === state.item) state.log = spans(data) ? "log" : "linear";
    if (!possible().includes(state.lower)) [state.lower] = possible();
    part.fill(same.map((item) => ({ value: item.part })), state.item.part);
    draw();
  }

  function possible() {
    return Object.keys(LOWER).filter((key) => state.item[key]);
  }

  function spans(values) {
    const seen = [...values.reference, ...values.generated].filter((v) => v > 0);
    return seen.length > 0 && Math.max(...seen) / Math.min(...seen) > 60;
  }

  function zoomTo(range) {
    state.zoom = range;
    draw();
  }

  function draw() {
    if (!width) return;
    const { item } = state;
    const [first, last] = [item.edges[0], item.edges.at(-1)];
    const [low, high] = state.zoom ?? [first, last];
    const tall = width < 500 ? 240 : 330;
    const below = 110;
    frame = {
      left: ROOM.left,
      wide: width - ROOM.left - ROOM.right,
      top: ROOM.top,
      tall,
      second: ROOM.top + tall + ROOM.gap,
      below,
      low,
      high,
      x: (v) => ROOM.left + ((v - low) / (high - low)) * (width - ROOM.left - ROOM.right),
    };
    const height = frame.second + below + ROOM.bottom;
    change(picture, { viewBox: `0 0 ${width} ${height}`, height, "data-low": low, "data-high": high });
    picture.setAttribute(
      "aria-label",
      `${item.what}, ${item.part}: reference and generated in bins. Arrow keys move from bin to bin, plus and minus zoom, 0 shows all.`,
    );
    picture.replaceChildren();
    const clipping = shape("clipPath", { id: clip });
    clipping.append(shape("rect", { x: frame.left, y: 0, width: frame.wide, height }));
    const inside = shape("g", { "clip-path": `url(#${clip})` });
    const under = shape("g", { "clip-path": `url(#${clip})`, class: "lower" });
    const visible = data.atom.map((atom, i) => !atom && item.edges[i + 1] > low && item.edges[i] < high);
    drawContents(picture, inside, item, data, visible, frame, state.log === "log");
    drawLower(picture, under, item, data, visible, frame, state.lower);
    picture.append(clipping, inside, under);
    drawAxis(picture, item, frame, height);
    marks = shape("g", { "clip-path": `url(#${clip})` });
    picture.append(marks);
    drawLegend(picture, item, frame);
    scale.show(state.log, hasPositive(data) ? ["linear", "log"] : ["linear"]);
    lower.show(state.lower, possible());
    reset.disabled = state.zoom === null;
    mark();
  }

  function hasPositive(values) {
    return [...values.reference, ...values.generated].some((v) => v > 0);
  }

  // The cursor's bin and the range being dragged.
  function mark() {
    marks.replaceChildren();
    const { item, bin, drag } = state;
    const bottom = frame.second + frame.below;
    if (bin !== null) {
      const [a, b] = [frame.x(item.edges[bin]), frame.x(item.edges[bin + 1])];
      marks.append(shape("rect", { class: "cursor", x: a, y: frame.top, width: Math.max(b - a, 2), height: bottom - frame.top }));
    }
    if (drag && Math.abs(drag.to - drag.from) > 3) {
      const x = Math.min(drag.from, drag.to);
      marks.append(shape("rect", { class: "drag", x, y: frame.top, width: Math.abs(drag.to - drag.from), height: bottom - frame.top }));
    }
    told.tell(bin === null ? [] : rowsOf(item, bin, data.atom[bin]));
  }

  function place(event) {
    const box = picture.getBoundingClientRect();
    const x = ((event.clientX - box.left) / box.width) * width;
    return Math.min(Math.max(x, frame.left), frame.left + frame.wide);
  }

  function valueAt(x) {
    return frame.low + ((x - frame.left) / frame.wide) * (frame.high - frame.low);
  }

  function binAt(value) {
    const { edges } = state.item;
    const found = edges.findIndex((edge, i) => i + 1 < edges.length && !data.atom[i] && value >= edge && value < edges[i + 1]);
    return found >= 0 ? found : null;
  }

  function move(step) {
    const { edges } = state.item;
    const start = state.bin ?? (step > 0 ? -1 : edges.length - 1);
    const next = Math.min(Math.max(start + step, 0), edges.length - 2);
    state.bin = next;
    const [low, high] = [frame.low, frame.high];
    if (state.zoom && (edges[next + 1] > high || edges[next] < low)) {
      const centre = 0.5 * (edges[next] + edges[next + 1]);
      zoomTo([centre - 0.5 * (high - low), centre + 0.5 * (high - low)]);
    } else mark();
  }

  function closer(factor) {
    const { edges } = state.item;
    const centre = state.bin === null ? 0.5 * (frame.low + frame.high) : 0.5 * (edges[state.bin] + edges[state.bin + 1]);
    const half = 0.5 * factor * (frame.high - frame.low);
    const [low, high] = [Math.max(centre - half, edges[0]), Math.min(centre + half, edges.at(-1))];
    zoomTo(low <= edges[0] && high >= edges.at(-1) ? null : [low, high]);
  }

  picture.addEventListener("pointermove", (event) => {
    const x = place(event);
    if (state.drag) state.drag.to = x;
    state.bin = binAt(valueAt(x));
    mark();
  });
  picture.addEventListener("pointerleave", () => {
    if (state.drag) return;
    state.bin = null;
    mark();
  });
  picture.addEventListener("pointerdown", (event) => {
    if (event.button !== 0) return;
    state.drag = { from: place(event), to: place(event) };
    picture.setPointerCapture(event.pointerId);
  });
  picture.addEventListener("pointerup", () => {
    if (!state.drag) return;
    const range = [state.drag.from, state.drag.to].sort((a, b) => a - b);
    state.drag = null;
    if (range[1] - range[0] > 5) zoomTo(range.map(valueAt));
    else mark();
  });
  picture.addEventListener("pointercancel", () => {
    state.drag = null;
    mark();
  });
  picture.addEventListener("dblclick", () => zoomTo(null));
  onKeys(picture, {
    ArrowRight: () => move(1),
    ArrowLeft: () => move(-1),
    "+": () => closer(0.5),
    "-": () => closer(2),
    0: () => zoomTo(null),
  });

  const wanted = new Map(items.map((item) => [item.what, item.group]));
  what.fill([...wanted].map(([value, group]) => ({ value, group })), state.item.what);
  const drawing = element("div", { class: "drawing" }, picture);
  const node = element(
    "div",
    { class: "explorer binned" },
    element("h2", {}, title),
    element("div", { class: "controls" }, what.node, part.node, scale.node, lower.node, reset),
    element("p", { class: "hint" }, "Drag across the plot to zoom, double click to see all; arrow keys, + and − work too."),
    element("div", { class: "body" }, drawing, told.node),
  );
  pick(state.item.what, state.item.part);
  onWidth(drawing, (now) => {
    width = now;
    draw();
  });
  return node;
}

function rowsOf(item, bin, atom) {
  const { edges } = item;
  const unit = item.unit ? ` ${item.unit}` : "";
  const range = atom ? `exactly ${brief(edges[bin], 5)}${unit}` : `${brief(edges[bin], 5)} to ${brief(edges[bin + 1], 5)}${unit}`;
  const rows = [
    ["Bin", range],
    ["Reference", measured(item.reference[bin], item.reference_error[bin])],
    ["Generated", measured(item.generated[bin], item.generated_error[bin])],
  ];
  if (item.ratio) rows.push(["Ratio", measured(item.ratio[bin], item.ratio_error?.[bin])]);
  if (item.difference) rows.push(["Difference", measured(item.difference[bin], item.difference_error?.[bin])]);
  if (item.pull) rows.push(["Pull", missing(item.pull[bin]) ? "–" : minus(item.pull[bin].toFixed(2))]);
  return rows;
}
