"use strict";
// Tables whose heads are buttons are sorted by them: numbers as numbers, what is empty last.
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => {
    const button = head.querySelector("button");
    if (!button) return;
    button.addEventListener("click", () => {
      const up = head.getAttribute("aria-sort") === "descending" ||
        (head.getAttribute("aria-sort") !== "ascending" && !head.classList.contains("number"));
      for (const other of heads) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      const body = table.tBodies[0], numbers = head.classList.contains("number");
      const key = row => {
        const text = row.cells[column].dataset.value ?? row.cells[column].textContent.trim();
        return numbers ? (text === "" || isNaN(text) ? null : Number(text)) : text.toLowerCase();
      };
      const rows = [...body.rows].map(row => [key(row), row]);
      rows.sort(([a], [b]) => a === null ? (b === null ? 0 : 1) : b === null ? -1 : (a < b ? -1 : a > b ? 1 : 0) * (up ? 1 : -1));
      body.append(...rows.map(([, row]) => row));
    });
  });
}
