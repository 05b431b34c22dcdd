const written = new Date(document.lastModified);
document.getElementById("date").textContent = " · file written " + written.toLocaleDateString("en-CA");

const slide = document.getElementById("slide");
const [, , fullWidth, fullHeight] = slide.getAttribute("viewBox").split(" ").map(Number);
let view = [0, 0, fullWidth, fullHeight];

function show(x, y, width) {
  width = Math.min(fullWidth, Math.max(fullWidth / 40, width));
  const height = width * fullHeight / fullWidth;
  view = [Math.min(Math.max(0, x), fullWidth - width), Math.min(Math.max(0, y), fullHeight - height), width, height];
  slide.setAttribute("viewBox", view.join(" "));
  const unit = 1 / (slide.getScreenCTM()?.a || 1), bar = document.getElementById("bar"), [rect, text] = bar.children;
  const mm = bar.dataset.mm * width / fullWidth / 5, power = 10 ** Math.floor(Math.log10(mm));
  const length = power * (mm / power >= 5 ? 5 : mm / power >= 2 ? 2 : 1);
  const place = {x: view[0] + .02 * width, y: view[1] + .97 * height, width: length / bar.dataset.mm * fullWidth, height: 7 * unit};
  for (const [name, value] of Object.entries(place)) rect.setAttribute(name, value);
  text.setAttribute("x", place.x);
  text.setAttribute("y", place.y - 6 * unit);
  text.setAttribute("font-size", 14 * unit);
  text.textContent = length >= 1 ? +length.toFixed(3) + " mm" : Math.round(length * 1000) + " µm";
  slide.style.setProperty("--label", 24 * unit + "px");
}
function zoom(factor) {
  const [x, y, width, height] = view;
  show(x + width / 2 - width * factor / 2, y + height / 2 - height * factor / 2, width * factor);
}
document.getElementById("nearer").addEventListener("click", () => zoom(.6));
document.getElementById("farther").addEventListener("click", () => zoom(1 / .6));
document.getElementById("whole").addEventListener("click", () => show(0, 0, fullWidth));
slide.addEventListener("keydown", event => {
  const step = view[2] / 8, moves = {ArrowLeft: [-step, 0], ArrowRight: [step, 0], ArrowUp: [0, -step], ArrowDown: [0, step]};
  if (event.key === "+" || event.key === "=") zoom(.6);
  else if (event.key === "-") zoom(1 / .6);
  else if (event.key === "0") show(0, 0, fullWidth);
  else if (moves[event.key]) show(view[0] + moves[event.key][0], view[1] + moves[event.key][1], view[2]);
  else return;
  event.preventDefault();
});
let held = null;
slide.addEventListener("pointerdown", event => { held = [event.clientX, event.clientY]; slide.setPointerCapture(event.pointerId); });
slide.addEventListener("pointermove", event => {
  if (!held) return;
  // Not by the width alone: a tall slide has room beside it.
  const perPixel = 1 / slide.getScreenCTM().a;
  show(view[0] - (event.clientX - held[0]) * perPixel, view[1] - (event.clientY - held[1]) * perPixel, view[2]);
  held = [event.clientX, event.clientY];
});
for (const end of ["pointerup", "pointercancel"]) slide.addEventListener(end, () => { held = null; });
addEventListener("beforeprint", () => show(0, 0, fullWidth));

for (const box of document.querySelectorAll("[data-layer]")) {
  const shown = () => {
    for (const part of document.querySelectorAll(`[data-of="${box.dataset.layer}"]`)) part.classList.toggle("off", !box.checked);
  };
  box.addEventListener("change", shown);
  shown();
}

function choose(region) {
  for (const part of document.querySelectorAll(".chosen")) part.classList.remove("chosen");
  const outline = document.getElementById("region-" + region), crop = document.getElementById("crop-" + region);
  document.querySelector(`#regions tr[data-region="${region}"]`)?.classList.add("chosen");
  crop?.classList.add("chosen");
  if (!outline) return;
  outline.classList.add("chosen");
  const box = outline.getBBox(), width = Math.max(box.width * 1.5, box.height * 1.5 * fullWidth / fullHeight);
  show(box.x + box.width / 2 - width / 2, box.y + box.height / 2 - width * fullHeight / fullWidth / 2, width);
  slide.scrollIntoView({block: "nearest"});
}
for (const row of document.querySelectorAll("#regions tbody tr")) row.addEventListener("click", () => choose(row.dataset.region));
show(0, 0, fullWidth);
