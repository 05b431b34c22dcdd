// What a hand draws on the map: corners by clicks, or a line while the button is held; told in level-0 pixels.
const LINES = ["split", "measure"];
// Pixels of the screen by which the pointer has to move for another point of a line that is drawn freely.
const STEP = 4;

export class Sketch {
  constructor(L, map, place, done) {
    Object.assign(this, { L, map, place, done, tool: null, points: [] });
    map.on("mousedown", event => this.down(event));
    map.on("mousemove", event => this.move(event));
    map.on("mouseup", event => this.up(event));
    map.on("dblclick", () => this.tool && this.end());
  }

  take(tool) {
    this.tool = tool;
    this.ended = false;
    this.clear();
    this.map.dragging[tool ? "disable" : "enable"]();
    this.map.getContainer().style.cursor = tool ? "crosshair" : "";
  }

  clear() {
    this.points = [];
    this.held = false;
    this.line?.remove();
    this.line = null;
  }

  down(event) {
    if (!this.tool || event.originalEvent.button !== 0) return;
    if (this.ended) this.clear();
    this.ended = false;
    this.held = true;
    this.before = this.points.length;
    this.add(event.latlng);
  }

  move(event) {
    if (!this.held) return;
    const last = this.map.latLngToContainerPoint(this.points[this.points.length - 1]);
    if (last.distanceTo(event.containerPoint) >= STEP) this.add(event.latlng);
  }

  up(event) {
    if (!this.held) return;
    this.move(event);
    this.held = false;
    // Drawn freely, it ends where the button is let go.
    if (this.points.length > this.before + 2) this.end();
    else if (this.tool === "measure") this.tell();
  }

  add(latlng) {
    this.points.push(latlng);
    this.line ??= this.L.polyline([], { color: "#005ac8", weight: 3, dashArray: "6 4", interactive: false }).addTo(this.map);
    const closes = !LINES.includes(this.tool) && this.points.length > 2;
    this.line.setLatLngs(closes ? [...this.points, this.points[0]] : this.points);
  }

  tell() {
    const places = this.points.map(latlng => this.place(latlng)).map(({ x, y }) => [x, y]);
    const apart = places.filter(([x, y], i) => !i || x !== places[i - 1][0] || y !== places[i - 1][1]);
    if (apart.length >= (LINES.includes(this.tool) ? 2 : 3)) this.done(this.tool, apart);
  }

  end() {
    this.held = false;
    this.tell();
    // What was measured stays to be seen.
    if (this.tool === "measure") this.ended = true;
    else this.clear();
  }

  // Says whether a key was for the sketch.
  key(event) {
    if (!this.tool || !this.points.length || this.ended) return false;
    if (event.key === "Enter") this.end();
    else if (event.key === "Escape") this.clear();
    else if (event.key === "Backspace") {
      this.points.pop();
      const left = this.points.splice(0);
      this.line?.remove();
      this.line = null;
      for (const latlng of left) this.add(latlng);
    } else return false;
    return true;
  }
}
