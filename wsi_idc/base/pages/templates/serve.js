// The list of slides: what the server has, with what is being sent from here.
const element = id => document.getElementById(id), list = element("jobs"), uploads = [], rows = new Map();
const PICTURE = /\.(png|jpe?g)$/i, AT_ONCE = 3;
const size = bytes => bytes >= 1e9 ? `${(bytes / 1e9).toPrecision(3)} GB` : bytes >= 1e6 ? `${(bytes / 1e6).toPrecision(3)} MB` : `${Math.ceil(bytes / 1e3)} kB`;
const duration = s => s < 90 ? `${Math.max(1, Math.round(s))} s` : s < 5400 ? `${Math.round(s / 60)} min` : `${(s / 3600).toFixed(1)} h`;
const capital = text => text && text[0].toUpperCase() + text.slice(1);
const about = s => s === null ? "" : `, about ${duration(s)} left`;
let found = [], away = false;

function tell(words) {
  element("told").hidden = !words;
  element("told").textContent = words;
}

function made(tag, text, more = {}) {
  const e = document.createElement(tag);
  if (text) e.textContent = text;
  for (const [name, value] of Object.entries(more)) name.startsWith("on") ? e.addEventListener(name.slice(2), value) : e.setAttribute(name, value);
  return e;
}

function choose(files) {
  const field = element("mpp"), mpp = field.value.trim(), most = Number(list.dataset.most), refused = [], before = uploads.length;
  for (const file of files) {
    const same = uploads.find(u => !u.ended && !u.failed && u.isOf(file));
    if (PICTURE.test(file.name) && !mpp) refused.push(`${file.name}: a picture does not state its scale; give µm per pixel and choose it again.`);
    else if (file.size > most) refused.push(`${file.name}: ${size(file.size)} are more than the ${size(most)} that a slide may have here.`);
    else if (!file.size) refused.push(`${file.name}: is empty, or a folder; zip a folder.`);
    else if (same) refused.push(`${file.name}: is being sent already${same.mpp && `, with ${same.mpp} µm per pixel`}; remove that to send it otherwise, and if it is another file of this name, choose it once that one is sent.`);
    else uploads.push(new Upload(file, mpp, soon));
  }
  // It counts for more than what a slide states, so it is not left standing for the files that are chosen next.
  if (uploads.length > before && !refused.length) field.value = "";
  tell(refused.join(" "));
  begin();
}

// Several at once, the others one after the other.
function begin() {
  const active = uploads.filter(u => u.running);
  for (const upload of uploads.filter(u => !u.running && !u.ended && !u.failed).slice(0, Math.max(0, AT_ONCE - active.length))) {
    upload.running = true;
    upload.run().finally(() => { upload.running = false; begin(); look() });
  }
  soon();
}

let drawing = null;
function soon() { drawing ??= setTimeout(() => { drawing = null; draw() }, 150) }

async function change(method, url) {
  try {
    const answer = await fetch(url, { method });
    tell(answer.ok ? "" : (await refused(answer)).message);
  } catch { tell("The server does not answer; try again.") }
  await look();
}

function remove(name, id, upload) {
  if (!confirm(`Remove ${name}, with all that came of it?`)) return;
  upload?.stop();
  if (upload) uploads.splice(uploads.indexOf(upload), 1);
  id ? change("DELETE", `api/jobs/${id}`) : soon();
}

// What is to be shown of a slide: a list of what may be said of it, in the order in which it stands.
function facts(job, upload) {
  const id = job?.id ?? upload.id, name = job?.name ?? upload.file.name, sending = upload && !upload.ended;
  const fact = { id, name, mpp: job?.mpp ?? upload?.mpp ?? null, state: job?.state ?? "waiting", words: "", share: null, lines: [], actions: [], picture: null, upload };
  if (upload?.failed) Object.assign(fact, { state: "failed", words: `It was not sent: ${upload.failed}.`, actions: ["send"] });
  else if (sending && (!job || job.state === "uploading")) {
    const sent = upload.shown ?? upload.sent, on = upload.begun;
    fact.state = upload.running ? "uploading" : "waiting";
    fact.share = sent / upload.file.size;
    fact.words = upload.waits ? `${size(sent)} of ${size(upload.file.size)}; no connection, it goes on by itself` : upload.running ? `${size(sent)} of ${size(upload.file.size)}${on ? about(upload.left()) : ""}` : "waits for the others to be sent";
  } else if (job.state === "uploading") {
    fact.share = job.received / job.size;
    fact.words = `${size(job.received)} of ${size(job.size)} are here. Its sender broke off: choose the same file again to go on.`;
  } else if (job.state === "queued") fact.words = job.place === 1 ? "is next" : `number ${job.place} in the queue`;
  else if (job.state === "running") {
    const { stage, share, seconds_left } = job.progress;
    Object.assign(fact, { share: share ?? 0, words: stage + (share === null ? "" : ` ${Math.round(100 * share)} %${about(seconds_left)}`), actions: share === null ? [] : ["watch"] });
  } else if (job.state === "failed") Object.assign(fact, { words: job.reason, actions: [/states no scale|um\/px/.test(job.reason) ? "scale" : "again"] });
  else if (job.state === "expired") fact.words = job.reason;
  else if (job.result) Object.assign(fact, { words: job.result.conclusion, lines: job.result.warnings, picture: `api/jobs/${id}/thumbnail.jpg`, actions: ["look", ...Object.keys(FILES).filter(name => job.result.files.includes(name))] });
  fact.words = capital(fact.words);
  fact.lines = fact.lines.map(capital);
  if (job?.state !== "expired") fact.actions.push("remove");
  return fact;
}

const FILES = { "report.html": "Report", "regions.geojson": "GeoJSON", "regions-edited.geojson": "Edited GeoJSON", "heatmap.zarr.zip": "Heatmap" };

function action(name, fact) {
  const { id, upload } = fact, button = (text, onclick) => made("button", text, { type: "button", class: "button", "aria-label": `${text}: ${fact.name}`, onclick });
  const link = (text, href, more = {}) => made("a", text, { class: "button", href, "aria-label": `${text}: ${fact.name}`, ...more });
  if (name === "look") return link("Look at it", `of/${id}/view`);
  if (name === "watch") return link("Watch", `of/${id}/view`);
  if (name in FILES) return link(FILES[name], `api/jobs/${id}/${name}`, name === "report.html" ? { target: "_blank" } : { download: "" });
  if (name === "send") return button("Start again", () => { upload.failed = ""; begin() });
  if (name === "again") return button("Start again", () => change("POST", `api/jobs/${id}/again`));
  if (name === "remove") return button("Remove", () => remove(fact.name, id, upload));
  if (name !== "scale") return null;
  const box = made("label", "µm per pixel "), field = made("input", "", { type: "number", min: 0.01, max: 100, step: "any", placeholder: "0.25" }), both = document.createDocumentFragment();
  box.append(field);
  both.append(box, button("Start again", () => change("POST", `api/jobs/${id}/again${field.value && `?mpp=${encodeURIComponent(field.value)}`}`)));
  return both;
}

function row(key, fact) {
  const text = JSON.stringify({ ...fact, upload: null }), bar = JSON.stringify([fact.state, fact.mpp, fact.actions, fact.lines, fact.picture, fact.share === null]);
  const old = rows.get(key);
  if (old?.text === text) return old.li;
  if (old?.bar === bar) {
    // Only how far it is has changed: what has the focus stays.
    old.words.textContent = fact.words;
    if (old.progress) old.progress.value = fact.share;
    old.text = text;
    return old.li;
  }
  const li = old?.li ?? made("li"), middle = made("div"), words = made("p", fact.words), name = made("div", fact.name, { class: "name" });
  li.replaceChildren(fact.picture ? made("img", "", { src: fact.picture, alt: "", loading: "lazy" }) : made("div", "", { class: "blank" }), middle);
  if (fact.mpp) name.append(made("span", `${fact.mpp} µm per pixel`, { class: "soft" }));
  name.append(made("span", fact.state, { class: `state ${fact.state}` }));
  middle.append(name);
  const progress = fact.share === null ? null : made("progress", "", { max: 1, "aria-label": `${fact.state}: ${fact.name}` });
  if (progress) { progress.value = fact.share; middle.append(progress) }
  middle.append(words, ...fact.lines.map(line => made("p", line, { class: "soft" })));
  const actions = made("div", "", { class: "actions" });
  actions.append(...fact.actions.map(name => action(name, fact)).filter(Boolean));
  li.append(actions);
  rows.set(key, { li, words, progress, text, bar });
  return li;
}

function draw() {
  const known = new Map(found.map(job => [job.id, job]));
  const mine = uploads.filter(u => !u.ended || known.has(u.id));
  const shown = [...mine.filter(u => !known.has(u.id)).map(u => [u, facts(null, u)]), ...found.toReversed().map(job => [job.id, facts(job, mine.find(u => u.id === job.id))])];
  const wanted = shown.map(([key, fact]) => row(key, fact));
  for (const key of [...rows.keys()]) if (!shown.some(([one]) => one === key)) { rows.get(key).li.remove(); rows.delete(key) }
  wanted.forEach((li, at) => { if (list.children[at] !== li) list.insertBefore(li, list.children[at] ?? null) });
  const states = {};
  for (const [, fact] of shown) states[fact.state] = (states[fact.state] ?? 0) + 1;
  const said = away ? "The server does not answer; it is asked again." : shown.length ? Object.entries(states).map(([state, n]) => `${n} ${state}`).join(", ") : "None yet.";
  if (element("count").textContent !== said) element("count").textContent = said;
}

let looking = null;
async function look() {
  clearTimeout(looking);
  try {
    const answer = await fetch("api/jobs", { cache: "no-store" });
    if (answer.status === 401) location.reload();
    if (answer.ok) { found = await answer.json(); away = false }
  } catch { away = true }
  draw();
  clearTimeout(looking);
  looking = setTimeout(look, away || found.some(job => ["uploading", "queued", "running"].includes(job.state)) ? 1000 : 5000);
}

element("files").addEventListener("change", event => { choose([...event.target.files]); event.target.value = "" });
const drop = element("drop");
for (const kind of ["dragover", "dragleave", "drop"]) drop.addEventListener(kind, event => {
  event.preventDefault();
  drop.classList.toggle("over", kind === "dragover");
  if (kind === "drop") choose([...event.dataTransfer.files]);
});
addEventListener("beforeunload", event => { if (uploads.some(u => u.running)) event.preventDefault() });
look();
