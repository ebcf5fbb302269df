// Elements, numbers as people read them, and ticks of axes.

const SVG = "http://www.w3.org/2000/svg";

function change(node, attributes) {
  for (const [key, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined && value !== false) node.setAttribute(key, value === true ? "" : value);
  }
  return node;
}

function element(tag, attributes = {}, ...children) {
  const node = change(document.createElement(tag), attributes);
  node.append(...children);
  return node;
}

function shape(tag, attributes = {}, text = "") {
  const node = change(document.createElementNS(SVG, tag), attributes);
  if (text !== "") node.textContent = text;
  return node;
}

function button(text, title, action) {
  const node = element("button", { type: "button", class: "plain", title }, text);
  node.addEventListener("click", action);
  return node;
}

// A labelled select. Options are {value, text, group}, with the groups' headings where there are several; `chosen` gets
// the value.
function choice(label, chosen) {
  const select = element("select");
  const node = element("label", {}, label, select);
  select.addEventListener("change", () => chosen(select.value));
  return {
    node,
    select,
    fill(options, value) {
      select.replaceChildren();
      const groups = new Map();
      const several = new Set(options.map((option) => option.group)).size > 1;
      for (const option of options) {
        let parent = select;
        if (several && option.group) {
          if (!groups.has(option.group)) {
            groups.set(option.group, element("optgroup", { label: option.group }));
            select.append(groups.get(option.group));
          }
          parent = groups.get(option.group);
        }
        parent.append(element("option", { value: option.value }, option.text ?? option.value));
      }
      select.value = value;
      node.classList.toggle("out", options.length < 2);
    },
  };
}

let groupsOfOptions = 0;

// A row of exclusive options; those not possible at the moment are hidden.
function options(label, names, chosen) {
  groupsOfOptions += 1;
  const row = element("span", { class: "row" });
  const inputs = new Map();
  for (const [value, text] of Object.entries(names)) {
    const input = element("input", { type: "radio", name: `options-${groupsOfOptions}`, value });
    input.addEventListener("change", () => chosen(value));
    inputs.set(value, input);
    row.append(element("label", {}, input, text));
  }
  const node = element("fieldset", { class: "options" }, element("legend", {}, label), row);
  return {
    node,
    show(value, possible) {
      for (const [name, input] of inputs) {
        input.checked = name === value;
        input.parentNode.classList.toggle("out", !possible.includes(name));
      }
      node.classList.toggle("out", possible.length < 2);
    },
  };
}

function missing(value) {
  return value === null || value === undefined || Number.isNaN(value);
}

function minus(text) {
  return text.includes("e") ? text : text.replace("-", "−");
}

function brief(value, digits = 4) {
  return missing(value) ? "–" : minus(String(Number(value.toPrecision(digits))));
}

function fixed(value, decimals) {
  return value.toLocaleString("en-US", { minimumFractionDigits: decimals, maximumFractionDigits: decimals });
}

// Value with its error, rounded to two digits of the error.
function measured(value, error) {
  if (missing(value)) return "–";
  if (missing(error) || !(error > 0)) return brief(value);
  const decimals = 1 - Math.floor(Math.log10(error));
  if (decimals > 7 || Math.max(Math.abs(value), error) >= 1e6) return `${brief(value)} ± ${brief(error, 2)}`;
  const places = Math.max(decimals, 0);
  return minus(`${fixed(value, places)} ± ${fixed(error, places)}`);
}

function ticks(low, high, count) {
  const rough = (high - low) / Math.max(count, 1);
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((m) => m * power >= rough * 0.999);
  const found = [];
  for (let k = Math.ceil(low / step - 1e-9); k * step <= high + 1e-9 * step; k += 1) found.push(k * step);
  return { step, at: found };
}

function tickText(value, step) {
  if (Math.abs(value) < step * 1e-6) return "0";
  const size = Math.max(Math.abs(value), step);
  if (size >= 1e6 || size < 1e-4) return minus(Number(value.toPrecision(4)).toExponential()).replace("e+", "e");
  return minus(fixed(value, Math.max(0, -Math.floor(Math.log10(step) + 1e-9))).replaceAll(",", " "));
}

function superscript(power) {
  return String(power).replace(/[-0-9]/g, (c) => (c === "-" ? "⁻" : "⁰¹²³⁴⁵⁶⁷⁸⁹"[Number(c)]));
}

// Terms and their values for what is under the cursor; the hint stands there while nothing is.
function readout(hint) {
  const list = element("dl");
  const empty = element("p", { class: "empty" }, hint);
  return {
    node: element("div", { class: "told", "aria-live": "polite" }, empty, list),
    tell(rows) {
      empty.classList.toggle("out", rows.length > 0);
      list.replaceChildren(...rows.flatMap(([term, value]) => [element("dt", {}, term), element("dd", {}, value)]));
    },
  };
}

// Keys that have an action here do nothing else, such as scrolling.
function onKeys(node, actions) {
  node.addEventListener("keydown", (event) => {
    if (!actions[event.key]) return;
    actions[event.key]();
    event.preventDefault();
  });
}

// Calls `draw` with the width whenever it changes to another one than nothing.
function onWidth(node, draw) {
  let last = 0;
  new ResizeObserver((entries) => {
    const width = Math.round(entries[0].contentRect.width);
    if (width > 0 && width !== last) {
      last = width;
      draw(width);
    }
  }).observe(node);
}
