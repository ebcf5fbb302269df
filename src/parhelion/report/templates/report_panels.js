// The panels of a plot in bins: contents, comparison below, axes, legend.

const AXIS = { ratio: "Gen. / ref.", difference: "Gen. − ref.", pull: "Pull" };

function quantile(values, share) {
  const sorted = [...values].sort((a, b) => a - b);
  return sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))];
}

function drawContents(picture, inside, item, data, visible, frame, logarithmic) {
  const seen = [];
  data.reference.forEach((value, i) => {
    if (!visible[i]) return;
    for (const [v, e] of [[value, data.reference_error[i]], [data.generated[i], data.generated_error[i]]]) {
      if (!missing(v)) seen.push({ v, up: v + (e ?? 0), down: v - (e ?? 0) });
    }
  });
  let low = Math.min(0, ...seen.map((s) => s.v));
  let high = Math.max(...seen.map((s) => (Number.isFinite(s.up) ? s.up : s.v)), low);
  if (!(high > low)) high = low + 1;
  const positive = seen.map((s) => s.v).filter((v) => v > 0);
  const usesLog = logarithmic && positive.length > 0;
  // The upper part is kept free for the legend and the notes.
  const room = (30 + 19 * Math.max(item.notes.length, 1)) / frame.tall;
  if (usesLog) {
    low = 0.4 * Math.min(...positive);
    high = low * (Math.max(...positive) / low) ** (1 / (1 - room));
  } else {
    if (!item.density && low === 0 && positive.length === seen.length && Math.min(...positive) > 0.3 && high <= 1.2) {
      // An efficiency near 1: its changes would not be seen on an axis from 0.
      low = Math.min(...seen.map((s) => s.down)) - 0.1 * (high - Math.min(...seen.map((s) => s.down)));
    }
    high = low + (high - low) / (1 - room);
  }
  const y = usesLog
    ? (v) => frame.top + frame.tall * (1 - Math.log(Math.max(v, low) / low) / Math.log(high / low))
    : (v) => frame.top + frame.tall * (1 - (v - low) / (high - low));
  change(picture, { "data-scale": usesLog ? "log" : "linear", "data-bottom": low, "data-top": high });

  const floor = y(usesLog ? low : Math.max(low, 0));
  let fill = "";
  let line = "";
  let band = "";
  let bars = "";
  let open = false;
  data.generated.forEach((value, i) => {
    if (!visible[i] || missing(value)) {
      open = false;
      return;
    }
    const [a, b] = [frame.x(item.edges[i]), frame.x(item.edges[i + 1])];
    const at = y(value);
    fill += `M${a} ${floor}V${at}H${b}V${floor}Z`;
    line += `${open ? "V" : `M${a} `}${at}H${b}`;
    open = true;
    const error = data.generated_error[i];
    if (error > 0) band += `M${a} ${y(value - error)}H${b}V${y(value + error)}H${a}Z`;
  });
  const dots = [];
  data.reference.forEach((value, i) => {
    if (!visible[i] || missing(value) || (usesLog && value <= 0)) return;
    const x = frame.x(0.5 * (item.edges[i] + item.edges[i + 1]));
    const error = data.reference_error[i] ?? 0;
    bars += `M${x} ${y(value - error)}V${y(value + error)}`;
    dots.push(shape("circle", { class: "dot", cx: x, cy: y(value), r: 3 }));
  });
  inside.append(shape("path", { class: "fill", d: fill }), shape("path", { class: "band", d: band }));
  inside.append(shape("path", { class: "line", d: line }), shape("path", { class: "bars", d: bars }), ...dots);
  if (low < 0) inside.append(shape("path", { class: "guide", d: `M${frame.left} ${y(0)}h${frame.wide}` }));

  const axis = usesLog ? logTicks(low, high) : linearTicks(low, high, 6);
  drawLeft(picture, axis, y, frame, frame.top, frame.tall, item.y);
}

function drawLower(picture, under, item, data, visible, frame, kind) {
  if (!item[kind]) return;
  const values = item[kind].map((v, i) => (visible[i] && !missing(v) ? v : null));
  const errors = (item[`${kind}_error`] ?? []).map((e) => (missing(e) ? 0 : e));
  const centre = kind === "ratio" ? 1 : 0;
  const reach = values.map((v, i) => (v === null ? null : Math.abs(v - centre) + (errors[i] ?? 0))).filter((v) => v !== null);
  let span = 1;
  if (kind === "pull") span = Math.min(Math.max(3.6, 1.15 * Math.max(0, ...reach)), 12);
  else if (kind === "ratio") span = Math.min(Math.max(1.15 * (quantile(reach, 0.85) ?? 0.1), 0.02), 0.95);
  else span = 1.2 * Math.max(...reach, 1e-9);
  const y = (v) => frame.second + frame.below * (0.5 - (0.5 * (v - centre)) / span);
  const bounded = (v) => Math.min(Math.max(v, centre - span), centre + span);
  change(picture, { "data-lower": kind });
  if (kind === "pull") {
    for (const band of [3, 1]) {
      under.append(shape("rect", { class: `shade-${band}`, x: frame.left, y: y(band), width: frame.wide, height: y(-band) - y(band) }));
    }
  }
  let bars = "";
  let boxes = "";
  values.forEach((value, i) => {
    if (value === null) return;
    const [a, b] = [frame.x(item.edges[i]), frame.x(item.edges[i + 1])];
    const x = 0.5 * (a + b);
    if (kind === "pull") {
      boxes += `M${a} ${y(0)}V${y(bounded(value))}H${b}V${y(0)}Z`;
    } else if (Math.abs(value - centre) > span) {
      const [tip, base] = value > centre ? [frame.second + 3, frame.second + 10] : [frame.second + frame.below - 3, frame.second + frame.below - 10];
      under.append(shape("path", { class: "dot", d: `M${x} ${tip}L${x - 4} ${base}H${x + 4}Z` }));
    } else {
      bars += `M${x} ${y(bounded(value - (errors[i] ?? 0)))}V${y(bounded(value + (errors[i] ?? 0)))}M${a} ${y(value)}H${b}`;
      under.append(shape("circle", { class: "dot", cx: x, cy: y(value), r: 2.6 }));
    }
  });
  under.append(shape("path", { class: "pull", d: boxes }), shape("path", { class: "bars", d: bars }));
  under.append(shape("path", { class: "guide", d: `M${frame.left} ${y(centre)}h${frame.wide}` }));
  const axis = kind === "pull" ? pullTicks(span) : linearTicks(centre - span, centre + span, 6);
  drawLeft(picture, axis, y, frame, frame.second, frame.below, AXIS[kind], true);
}

function linearTicks(low, high, count) {
  const { step, at } = ticks(low, high, count);
  return at.map((value) => ({ value, text: tickText(value, step), long: true }));
}

function pullTicks(span) {
  const step = 3 * Math.ceil(span / 9);
  return [-2, -1, 0, 1, 2].map((k) => k * step).filter((v) => Math.abs(v) < span).map((value) => ({ value, text: tickText(value, 1), long: true }));
}

function logTicks(low, high) {
  const found = [];
  const [from, to] = [Math.floor(Math.log10(low)), Math.ceil(Math.log10(high))];
  const every = Math.ceil((to - from) / 8);
  const few = Math.log10(high / low) < 1.5;
  for (let power = from; power <= to; power += 1) {
    for (let m = 1; m < 10; m += 1) {
      const value = m * 10 ** power;
      if (value < low || value > high) continue;
      const named = m === 1 ? power % every === 0 : few && (m === 2 || m === 5);
      found.push({ value, text: named ? `${m === 1 ? "" : `${m}·`}10${superscript(power)}` : "", long: m === 1 });
    }
  }
  return found;
}

function drawLeft(picture, axis, y, frame, top, tall, label, centred = false) {
  for (const tick of axis) {
    const at = y(tick.value);
    const size = tick.long ? 9 : 5;
    picture.append(shape("path", { class: "tick", d: `M${frame.left} ${at}h${size}M${frame.left + frame.wide} ${at}h${-size}` }));
    if (tick.text && at > top + 3 && at < top + tall + 4) {
      picture.append(shape("text", { x: frame.left - 7, y: at + 4, "text-anchor": "end" }, tick.text));
    }
  }
  const anchor = centred ? "middle" : "end";
  const at = centred ? top + 0.5 * tall : top;
  picture.append(shape("text", { transform: `translate(14 ${at}) rotate(-90)`, "text-anchor": anchor }, label));
}

function drawAxis(picture, item, frame, height) {
  const bottom = frame.second + frame.below;
  for (const tick of linearTicks(frame.low, frame.high, frame.wide < 420 ? 4 : 8)) {
    const x = frame.x(tick.value);
    picture.append(shape("path", { class: "tick", d: `M${x} ${bottom}v-9M${x} ${frame.top + frame.tall}v-9M${x} ${frame.top}v9` }));
    picture.append(shape("text", { class: "x-tick", x, y: bottom + 17, "text-anchor": "middle" }, tick.text));
  }
  picture.append(shape("rect", { class: "frame", x: frame.left, y: frame.top, width: frame.wide, height: frame.tall }));
  picture.append(shape("rect", { class: "frame", x: frame.left, y: frame.second, width: frame.wide, height: frame.below }));
  picture.append(shape("text", { x: frame.left + frame.wide, y: height - 8, "text-anchor": "end" }, item.x));
}

function drawLegend(picture, item, frame) {
  const right = frame.left + frame.wide - 14;
  picture.append(shape("text", { x: right, y: frame.top + 22, "text-anchor": "end" }, "reference"));
  picture.append(shape("text", { x: right, y: frame.top + 41, "text-anchor": "end" }, "generated"));
  picture.append(shape("circle", { class: "dot", cx: right - 82, cy: frame.top + 18, r: 3 }));
  picture.append(shape("path", { class: "line", d: `M${right - 94} ${frame.top + 37}h24` }));
  [item.part, ...item.notes].forEach((note, line) => {
    picture.append(shape("text", { x: frame.left + 16, y: frame.top + 22 + 19 * line }, note));
  });
}
