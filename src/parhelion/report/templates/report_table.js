// Tables that sort by a click on a column's head, and one that is filtered by words.

function startSorting(table) {
  const body = table.tBodies[0];
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const text = head.textContent;
    const press = element("button", { type: "button", title: `Sort by ${text}` }, text);
    head.replaceChildren(press);
    press.addEventListener("click", () => {
      const down = head.getAttribute("aria-sort") === "ascending";
      for (const other of heads) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", down ? "descending" : "ascending");
      const rows = [...body.rows].map((row) => ({ row, key: keyOf(row.cells[column]) }));
      rows.sort((a, b) => compare(a.key, b.key, down));
      body.append(...rows.map((r) => r.row));
    });
  });
}

function keyOf(cell) {
  if (cell.dataset.sort === undefined) return cell.textContent;
  const value = Number(cell.dataset.sort);
  return Number.isNaN(value) ? null : value;
}

// What does not exist comes last, whichever way the column is sorted.
function compare(a, b, down) {
  if (a === null || b === null) return (a === null) - (b === null);
  const order = typeof a === "string" ? a.localeCompare(b, "en", { numeric: true }) : a - b;
  return down ? -order : order;
}

function startFiltering(table) {
  const rows = [...table.tBodies[0].rows];
  const texts = new Map(rows.map((row) => [row, [...row.cells].map((c) => c.textContent).join(" ").toLowerCase()]));
  const words = element("input", { type: "search", placeholder: "metric, field, quantity …" });
  const count = element("span", { class: "count", "aria-live": "polite" });
  const pages = [...new Set(rows.map((row) => row.cells[0].textContent))];
  const pick = choice("Page", apply);
  function apply() {
    const wanted = words.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const row of rows) {
      const here = !pick.select.value || row.cells[0].textContent === pick.select.value;
      const fits = here && wanted.every((word) => texts.get(row).includes(word));
      row.classList.toggle("out", !fits);
      shown += fits;
    }
    count.textContent = `${shown} of ${rows.length} rows`;
  }
  pick.fill([{ value: "", text: "all" }, ...pages.map((value) => ({ value }))], "");
  words.addEventListener("input", apply);
  apply();
  table.parentNode.before(
    element("div", { class: "controls" }, pick.node, element("label", {}, "Rows with the words", words), count),
  );
  for (const link of document.querySelectorAll("a[data-pick]")) {
    link.addEventListener("click", () => {
      pick.select.value = link.dataset.pick;
      words.value = "";
      apply();
    });
  }
}
