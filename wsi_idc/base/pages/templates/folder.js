document.getElementById("date").textContent = " · file written " + new Date(document.lastModified).toLocaleString("en-CA", {hour12: false});
const all = JSON.parse(document.getElementById("rows").textContent), perPage = 100, opens = document.getElementById("slides").dataset.opens;
const body = document.querySelector("#slides tbody"), controls = ["find", "state", "flag", "idc"].map(id => document.getElementById(id));
let key = "place", up = true, page = 0, shown = all;

const text = (value, digits) => value === null ? "" : digits === undefined ? String(value) : value.toFixed(digits);
function cell(row, content, number) {
  const made = row.insertCell();
  if (number) made.className = "number";
  if (content instanceof Node) made.append(content); else made.textContent = content;
  return made;
}
function element(name, fields) { return Object.assign(document.createElement(name), fields); }

function draw() {
  const [find, state, flag, idc] = controls;
  const words = find.value.toLowerCase();
  shown = all.filter(r => (!state.value || r.state === state.value) && (!flag.value || r.flags.includes(flag.value)) &&
    (!idc.checked || r.foci > 0) && (!words || `${r.slide} ${r.reason} ${r.warnings.join(" ")}`.toLowerCase().includes(words)));
  shown.sort((a, b) => {
    const x = a[key], y = b[key], none = v => v === null || v === "";
    return none(x) || none(y) ? none(x) - none(y) : (x < y ? -1 : x > y ? 1 : a.place - b.place) * (up ? 1 : -1);
  });
  const pages = Math.max(1, Math.ceil(shown.length / perPage));
  page = Math.min(Math.max(0, page), pages - 1);
  body.replaceChildren();
  for (const r of shown.slice(page * perPage, (page + 1) * perPage)) {
    const row = body.insertRow(), link = () => element("a", {href: `${r.folder}/${opens}`});
    if (r.there) {
      const picture = link();
      picture.append(element("img", {src: `${r.folder}/thumbnail.jpg`, loading: "lazy", alt: "", width: 96, height: 72}));
      picture.setAttribute("aria-label", `${opens === "report.html" ? "Report of" : "View"} ${r.name}`);
      cell(row, picture);
    } else cell(row, "");
    const name = r.there || (opens === "view" && r.state === "running") ? Object.assign(link(), {textContent: r.name}) : document.createTextNode(r.name);
    cell(row, name).title = r.slide;
    cell(row, element("span", {className: `state ${r.state}`, textContent: r.state}));
    cell(row, text(r.idc_mm2, 2), true);
    cell(row, r.idc_share === null ? "" : (100 * r.idc_share).toFixed(1), true);
    cell(row, text(r.foci), true);
    cell(row, text(r.largest_extent_mm, 2), true);
    cell(row, text(r.tissue_mm2, 2), true);
    cell(row, text(r.seconds, 0), true);
    const notes = cell(row, "");
    for (const note of [r.reason, ...r.warnings]) if (note) notes.append(element("span", {className: "flag", textContent: note}));
  }
  document.getElementById("count").textContent = shown.length === all.length ? `${all.length} slides` : `${shown.length} of ${all.length} slides`;
  document.getElementById("page").textContent = `${page + 1} of ${pages}`;
}
for (const control of controls) control.addEventListener("input", () => { page = 0; draw(); });
for (const button of document.querySelectorAll("#slides th button")) button.addEventListener("click", () => {
  const head = button.closest("th"), number = head.classList.contains("number");
  up = key === button.dataset.key ? !up : !number;
  key = button.dataset.key;
  page = 0;
  for (const other of head.parentElement.cells) other.removeAttribute("aria-sort");
  head.setAttribute("aria-sort", up ? "ascending" : "descending");
  draw();
});
document.getElementById("before").addEventListener("click", () => { page -= 1; draw(); });
document.getElementById("next").addEventListener("click", () => { page += 1; draw(); });
document.getElementById("json").addEventListener("click", () => {
  const address = URL.createObjectURL(new Blob([JSON.stringify(shown, null, 1)], {type: "application/json"}));
  element("a", {href: address, download: "slides.json"}).click();
  setTimeout(() => URL.revokeObjectURL(address), 1000);
});
draw();
