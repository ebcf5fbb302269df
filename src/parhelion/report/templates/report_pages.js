// One page at a time, chosen by the address's hash; figures by what they are about.

function page(id) {
  return document.getElementById(id)?.closest(".page") ?? null;
}

function startPages() {
  const links = [...document.querySelectorAll(".sidebar a")];
  const all = [...document.querySelectorAll(".page")];
  function show() {
    const id = decodeURIComponent(location.hash.slice(1)) || "overview";
    const everything = id === "all";
    if (!everything && id === "content") return;
    const chosen = page(id) ?? all[0];
    document.documentElement.classList.toggle("everything", everything);
    for (const one of all) one.classList.toggle("current", one === chosen);
    for (const link of links) {
      const here = everything ? link.hash === "#all" : link.hash === `#${chosen.id}`;
      if (here) {
        link.setAttribute("aria-current", "page");
        const strip = link.closest("ul");
        if (strip.scrollWidth > strip.clientWidth) strip.scrollLeft = link.offsetLeft - strip.clientWidth / 2 + link.offsetWidth / 2;
      } else link.removeAttribute("aria-current");
    }
    const target = document.getElementById(id);
    if (target && target !== chosen) target.scrollIntoView();
    else window.scrollTo(0, 0);
  }
  window.addEventListener("hashchange", show);
  show();
}

// A select above the figures of a page that shows only those about one observable or category.
function startFilter(host) {
  const items = [...host.querySelectorAll(".item")];
  const about = new Map(items.map((item) => [item, JSON.parse(item.dataset.about)]));
  const words = [...new Set([...about.values()].flat())];
  const telling = words.filter((word) => items.some((item) => about.get(item).length && !about.get(item).includes(word)));
  if (items.length < 2 || telling.length < 2) return;
  const count = element("span", { class: "count", "aria-live": "polite" });
  const pick = choice("Show figures about", apply);
  function apply(word) {
    for (const item of items) {
      const found = about.get(item);
      item.classList.toggle("out", word !== "" && found.length > 0 && !found.includes(word));
    }
    for (const section of host.querySelectorAll(".section")) {
      section.classList.toggle("out", !section.querySelector(".item:not(.out)"));
    }
    const shown = items.filter((item) => !item.classList.contains("out")).length;
    count.textContent = `${shown} of ${items.length} figures`;
  }
  pick.fill([{ value: "", text: "everything" }, ...telling.map((word) => ({ value: word }))], "");
  apply("");
  const controls = element("div", { class: "controls filter" }, pick.node, count);
  host.querySelector(".section").before(controls);
}
