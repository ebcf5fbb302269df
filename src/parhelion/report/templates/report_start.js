// If anything here fails, the report is as it is without a script: all pages below each other.
document.documentElement.classList.add("js");
const giveUp = () => document.documentElement.classList.remove("js");
window.addEventListener("error", giveUp);
document.addEventListener("DOMContentLoaded", () => {
  const data = JSON.parse(document.getElementById("data").textContent);
  startPages();
  for (const host of document.querySelectorAll(".page")) {
    const binned = data.binned.filter((item) => item.page === host.id);
    const maps = data.maps.filter((item) => item.page === host.id);
    const first = host.querySelector(".section");
    if (first && binned.length) first.before(binnedExplorer(binned, "Look closer: bins"));
    if (first && maps.length) first.before(mapExplorer(maps, "Look closer: maps"));
    if (first) startFilter(host);
  }
  document.querySelectorAll("table.sortable").forEach(startSorting);
  document.querySelectorAll("table.filtered-by-text").forEach(startFiltering);
  startEnlarging();
  window.removeEventListener("error", giveUp);
});
