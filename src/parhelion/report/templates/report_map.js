// Numbers in cells: choose the map and what is drawn, read a cell off.

// Ends and middle of a palette that readers with any of the common colour deficiencies can tell apart.
const COLD = [33, 102, 172];
const PALE = [247, 247, 247];
const WARM = [178, 24, 43];

function mix(a, b, share) {
  return a.map((v, i) => Math.round(v + (b[i] - v) * share));
}

// Colour of a number on a scale from `low` to `high`; around 0 if `zero`.
function colour(value, low, high, zero) {
  const share = high > low ? (value - low) / (high - low) : 0;
  if (!zero) return mix(PALE, COLD, Math.min(Math.max(share, 0), 1));
  const side = Math.min(Math.max(2 * share - 1, -1), 1);
  return mix(PALE, side > 0 ? WARM : COLD, Math.abs(side));
}

function scaleOf(layer) {
  const seen = layer.values.flat().filter((v) => !missing(v));
  if (!seen.length) return [0, 1];
  if (!layer.zero) return [Math.min(...seen), Math.max(...seen)];
  const limit = Math.max(...seen.map(Math.abs)) || 1;
  return [-limit, limit];
}

// A number in a cell; all have as many decimals.
function cellText(value, places) {
  return minus(fixed(Number(value.toFixed(Math.min(places, 9))) + 0, Math.min(places, 9)));
}

function mapExplorer(items, title) {
  const state = { item: items[0], layer: 0, cell: null };
  const picture = shape("svg", { class: "map", tabindex: 0, role: "group" });
  const told = readout("Point at a cell to read its numbers.");
  const what = choice("Map", (value) => pick(Number(value)));
  const layer = choice("Colours and numbers", (value) => {
    state.layer = Number(value);
    draw();
  });
  let width = 0;
  let frame = null;
  let chosen = null;

  function pick(index) {
    const titles = state.item.layers.map((l) => l.title);
    state.item = items[index];
    const kept = state.item.layers.findIndex((l) => l.title === titles[state.layer]);
    state.layer = Math.max(kept, 0);
    state.cell = null;
    layer.fill(state.item.layers.map((l, i) => ({ value: String(i), text: l.title })), String(state.layer));
    draw();
  }

  function draw() {
    if (!width) return;
    const { item } = state;
    const shown = item.layers[state.layer];
    const [rows, columns] = [shown.values.length, shown.values[0].length];
    const longest = Math.max(0, ...(item.y_names ?? []).map((name) => name.length));
    const left = item.y_names ? Math.min(24 + 7.5 * longest, 0.3 * width) : 62;
    const wide = width - left - 84;
    const size = Math.min(Math.max(wide / columns, 12), 64);
    const tall = Math.max(26, Math.min(size, 46));
    frame = { left, top: 10, wide: wide / columns, tall, rows, columns };
    const bottom = frame.top + rows * tall;
    const deep = Math.max(0, ...(item.x_names ?? []).map((name) => name.length));
    const height = bottom + (item.x_names ? 26 + Math.min(5.5 * deep, 90) + (item.x ? 14 : 0) : 48);
    change(picture, { viewBox: `0 0 ${width} ${height}`, height });
    picture.setAttribute("aria-label", `${item.what}, ${shown.title}. Arrow keys move from cell to cell.`);
    picture.replaceChildren();
    const [low, high] = scaleOf(shown);
    const places = Math.max(0, 1 - Math.floor(Math.log10(0.5 * (high - low) || 1)));
    shown.values.forEach((line, row) => {
      line.forEach((value, column) => {
        const [x, y] = corner(row, column);
        const paint = missing(value) ? [item.blank ? 255 : 212].flatMap((v) => [v, v, v]) : colour(value, low, high, shown.zero);
        picture.append(shape("rect", { class: "cell", x, y, width: frame.wide, height: tall, fill: `rgb(${paint})` }));
        if (frame.wide < 40 || missing(value)) return;
        const dark = 0.299 * paint[0] + 0.587 * paint[1] + 0.114 * paint[2] < 140;
        const text = shape("text", { x: x + 0.5 * frame.wide, y: y + 0.5 * tall + 4, "text-anchor": "middle" }, cellText(value, places));
        if (dark) text.style.fill = "#fff";
        if (frame.wide < 54) text.style.fontSize = "11px";
        picture.append(text);
      });
    });
    drawEdges(bottom, height);
    drawBar(low, high, shown, bottom);
    chosen = shape("rect", { class: "chosen", width: frame.wide, height: tall, visibility: "hidden" });
    picture.append(chosen);
    mark();
  }

  // Edges of the first row are at the bottom, as on a map; names run downwards, as in a matrix.
  function corner(row, column) {
    const down = state.item.y_names ? row : frame.rows - 1 - row;
    return [frame.left + column * frame.wide, frame.top + down * frame.tall];
  }

  function drawEdges(bottom, height) {
    const { item } = state;
    const along = item.x_names ?? item.x_edges;
    along.forEach((value, i) => {
      if (item.x_names) {
        const x = frame.left + (i + 0.5) * frame.wide;
        picture.append(shape("text", { transform: `translate(${x + 4} ${bottom + 10}) rotate(-40)`, "text-anchor": "end" }, value));
      } else if (frame.wide > 38 || i % 2 === 0) {
        picture.append(shape("text", { x: frame.left + i * frame.wide, y: bottom + 17, "text-anchor": "middle" }, brief(value, 3)));
      }
    });
    (item.y_names ?? item.y_edges).forEach((value, i) => {
      const y = item.y_names ? frame.top + (i + 0.5) * frame.tall : bottom - i * frame.tall;
      const text = item.y_names ? value : brief(value, 3);
      picture.append(shape("text", { x: frame.left - 6, y: y + 4, "text-anchor": "end" }, text));
    });
    if (item.x) picture.append(shape("text", { x: frame.left + frame.columns * frame.wide, y: height - 6, "text-anchor": "end" }, item.x));
    if (item.y) picture.append(shape("text", { transform: `translate(13 ${frame.top}) rotate(-90)`, "text-anchor": "end" }, item.y));
  }

  function drawBar(low, high, shown, bottom) {
    const x = frame.left + frame.columns * frame.wide + 12;
    const tall = bottom - frame.top;
    const steps = 40;
    for (let i = 0; i < steps; i += 1) {
      const value = high - ((i + 0.5) / steps) * (high - low);
      const paint = colour(value, low, high, shown.zero);
      picture.append(shape("rect", { x, y: frame.top + (i * tall) / steps, width: 12, height: tall / steps + 0.5, fill: `rgb(${paint})` }));
    }
    picture.append(shape("rect", { class: "frame", x, y: frame.top, width: 12, height: tall }));
    for (const [value, y] of [[high, frame.top + 10], [0.5 * (low + high), frame.top + 0.5 * tall + 4], [low, bottom]]) {
      picture.append(shape("text", { x: x + 17, y }, brief(value, 2)));
    }
  }

  function mark() {
    const { item, cell } = state;
    if (chosen) chosen.setAttribute("visibility", cell ? "visible" : "hidden");
    if (!cell) {
      told.tell([]);
      return;
    }
    const [row, column] = cell;
    const [x, y] = corner(row, column);
    change(chosen, { x, y });
    const span = (edges, i) => `${brief(edges[i], 4)} to ${brief(edges[i + 1], 4)}`;
    const rows = [
      [item.x || "Column", item.x_names ? item.x_names[column] : span(item.x_edges, column)],
      [item.y || (item.row ?? "Row"), item.y_names ? item.y_names[row] : span(item.y_edges, row)],
    ];
    for (const l of item.layers) rows.push([l.title, measured(l.values[row][column], l.error?.[row][column])]);
    told.tell(rows);
  }

  picture.addEventListener("pointermove", (event) => {
    const box = picture.getBoundingClientRect();
    const x = ((event.clientX - box.left) / box.width) * width - frame.left;
    const y = event.clientY - box.top - frame.top;
    const [column, down] = [Math.floor(x / frame.wide), Math.floor(y / frame.tall)];
    const inside = column >= 0 && column < frame.columns && down >= 0 && down < frame.rows;
    state.cell = inside ? [state.item.y_names ? down : frame.rows - 1 - down, column] : null;
    mark();
  });
  picture.addEventListener("pointerleave", () => {
    state.cell = null;
    mark();
  });
  // By one cell, from the first one if none is chosen.
  function move(right, up) {
    const rows = state.item.y_names ? -up : up;
    const [row, column] = state.cell ? [state.cell[0] + rows, state.cell[1] + right] : [0, 0];
    state.cell = [Math.min(Math.max(row, 0), frame.rows - 1), Math.min(Math.max(column, 0), frame.columns - 1)];
    mark();
  }
  onKeys(picture, {
    ArrowRight: () => move(1, 0),
    ArrowLeft: () => move(-1, 0),
    ArrowUp: () => move(0, 1),
    ArrowDown: () => move(0, -1),
  });

  what.fill(items.map((item, i) => ({ value: String(i), text: item.what, group: item.group })), "0");
  const drawing = element("div", { class: "drawing" }, picture);
  const node = element(
    "div",
    { class: "explorer maps" },
    element("h2", {}, title),
    element("div", { class: "controls" }, what.node, layer.node),
    element("div", { class: "body" }, drawing, told.node),
  );
  pick(0);
  onWidth(drawing, (now) => {
    width = now;
    draw();
  });
  return node;
}
