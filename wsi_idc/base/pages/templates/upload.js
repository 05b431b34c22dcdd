// Uploads by the tus protocol: a file goes in parts, and after a break of the connection, of the page or of the server
// it goes on where it was. What is under way is kept by the browser, so that the same file, chosen again, goes on too:
// with the same scale. With another one it is sent anew, and what was there of it at the other is removed.
const PART = 8 * 2 ** 20, SAMPLE = 2 ** 16, LONGEST_WAIT = 20000, TUS = { "Tus-Resumable": "1.0.0" };
const wait = ms => new Promise(done => setTimeout(done, ms));
const base64 = bytes => { let text = ""; for (const byte of bytes) text += String.fromCharCode(byte); return btoa(text) };
const decoded = text => new TextDecoder().decode(Uint8Array.from(atob(text), c => c.charCodeAt(0)));
const coded = text => base64(new TextEncoder().encode(text));

class Upload {
  constructor(file, mpp, changed) {
    Object.assign(this, { file, mpp, changed, sent: 0, failed: "", waits: false, ended: false, url: null });
    this.kept = null;
  }

  isOf(file) { return ["name", "size", "lastModified"].every(key => this.file[key] === file[key]) }

  // Name, size and time may be those of another file; what is in some places of it hardly is.
  async mark() {
    let sum = 2166136261;
    for (const at of [0, this.file.size / 2, this.file.size - SAMPLE]) {
      const from = Math.max(0, Math.floor(at));
      for (const byte of new Uint8Array(await this.file.slice(from, from + SAMPLE).arrayBuffer())) sum = Math.imul(sum ^ byte, 16777619);
    }
    return `wsi-idc upload ${this.file.name} ${this.file.size} ${this.file.lastModified} ${sum >>> 0}`;
  }

  get id() { return this.url?.split("/").pop() ?? null }

  async run() {
    this.failed = "";
    for (let delay = 500; !this.ended && !this.failed;) {
      try {
        await this.goOn();
        delay = 500;
      } catch (error) {
        // A refusal in words is one for good; else the network, or the server, is away for a moment.
        if (error.final) { this.failed = error.message; this.changed(); return }
        this.waits = true;
        this.changed();
        await wait(delay);
        delay = Math.min(2 * delay, LONGEST_WAIT);
      }
    }
  }

  async goOn() {
    this.kept ??= await this.mark();
    this.url ??= localStorage.getItem(this.kept);
    if (this.url) {
      const answer = await ask("HEAD", this.url);
      if (answer.status === 404) { this.forget(); this.url = null; return }
      if (answer.status !== 200) throw await refused(answer);
      this.sent = Number(answer.headers.get("Upload-Offset"));
      if (!this.isMeant(answer.headers.get("Upload-Metadata"))) {
        // What is whole may have been computed, and stays.
        if (this.sent < this.file.size) {
          const removed = await ask("DELETE", this.url);
          if (removed.status !== 204 && removed.status !== 404) throw await refused(removed);
        }
        this.forget();
        Object.assign(this, { url: null, sent: 0 });
        return;
      }
    } else {
      const metadata = `filename ${coded(this.file.name)}` + (this.mpp ? `,mpp ${coded(this.mpp)}` : "");
      const answer = await ask("POST", "api/uploads", { "Upload-Length": this.file.size, "Upload-Metadata": metadata });
      if (answer.status !== 201) throw await refused(answer);
      this.url = new URL("api/uploads/" + answer.headers.get("Location").split("/").pop(), document.baseURI).href;
      localStorage.setItem(this.kept, this.url);
    }
    this.begun ??= { time: performance.now(), sent: this.sent };
    while (this.sent < this.file.size && !this.ended) {
      const part = await this.file.slice(this.sent, this.sent + PART).arrayBuffer();
      await this.send(part);
      this.waits = false;
      this.sent += part.byteLength;
      this.changed();
    }
    this.forget();
    this.ended = true;
    this.changed();
  }

  // Whether an upload that is there already, as its metadata say, has the scale that is meant now.
  isMeant(metadata) {
    const said = (metadata ?? "").split(",").find(pair => pair.startsWith("mpp "));
    return Number(said ? decoded(said.slice(4)) : 0) === Number(this.mpp);
  }

  async send(part) {
    const headers = { ...TUS, "Upload-Offset": this.sent, "Content-Type": "application/offset+octet-stream" };
    // Only pages of this machine, or by https, may reckon it.
    if (crypto.subtle) headers["Upload-Checksum"] = "sha256 " + base64(new Uint8Array(await crypto.subtle.digest("SHA-256", part)));
    const before = this.sent;
    await new Promise((done, broken) => {
      const request = this.request = new XMLHttpRequest();
      request.open("PATCH", this.url);
      for (const [name, value] of Object.entries(headers)) request.setRequestHeader(name, value);
      request.upload.onprogress = event => { this.shown = before + event.loaded; this.changed() };
      request.onload = async () => request.status === 204 ? done() : broken(await refused(request));
      request.onerror = request.ontimeout = request.onabort = () => broken(new Error("no connection"));
      request.timeout = 10 * 60000;
      request.send(part);
    }).finally(() => { this.shown = null });
  }

  stop() {
    this.ended = true;
    this.request?.abort();
    this.forget();
  }

  forget() { if (this.kept) localStorage.removeItem(this.kept) }

  // Seconds left at the rate so far.
  left() {
    const sent = (this.shown ?? this.sent) - this.begun.sent, took = (performance.now() - this.begun.time) / 1000;
    return sent > 0 && took > 1 ? (this.file.size - this.begun.sent - sent) * took / sent : null;
  }
}

const ask = (method, url, headers = {}) => fetch(url, { method, headers: { ...TUS, ...headers }, cache: "no-store" });

async function refused(answer) {
  let words = "";
  try { words = JSON.parse(answer.text ? await answer.text() : answer.responseText).detail } catch { /* says nothing */ }
  const error = new Error(typeof words === "string" && words || `the server answers ${answer.status}`);
  // Of those that pass: too early, taken, another offset, damaged on the way, the server being started.
  error.final = answer.status >= 400 && ![408, 409, 423, 429, 460, 500, 502, 504].includes(answer.status) && !(answer.status === 400 && /broke off/.test(words));
  return error;
}
