import { leaflet as L } from "nicegui-leaflet";
import { loadResource } from "../../static/utils/resources.js";
import { baseMap, zoomOf } from "wsi-idc-viewer/base_map.js";
import { Sketch } from "wsi-idc-viewer/sketch.js";

const RED = "#c80000", BLUE = "#005ac8";
// Milliseconds without a move of the threshold after which regions are outlined exactly.
const REST = 200;
// Corners that can be dragged, in view, at most.
const HANDLES = 250;

// The map of a run, or of a slide alone.
export default {
  template: "<div></div>",
  props: { address: String, facts: Object, threshold: Number, resourcePath: String },
  async mounted() {
    await this.$nextTick();
    await loadResource(window.path_prefix + `${this.resourcePath}/leaflet/leaflet.css`);
    const { heat } = this.facts;
    this.from = window.path_prefix + this.address;
    Object.assign(this, baseMap(L, this.$el, this.from, this.facts, 0.5));
    if (heat) {
      this.heat = L.imageOverlay(this.from + "/heat", L.latLngBounds(this.at(0, 0), this.at(...heat)), { opacity: 0, alt: "" }).addTo(this.map);
      this.heat.getElement().style.imageRendering = "pixelated";
    }
    // On canvas: thousands of outlines would each be an element of the page.
    this.canvas = L.canvas({ padding: 0.3, tolerance: 4 });
    this.outlines = L.layerGroup().addTo(this.map);
    this.handles = L.layerGroup().addTo(this.map);
    this.regions = [];
    this.sketch = new Sketch(L, this.map, this.place, (tool, points) => this.sketched(tool, points));
    this.map.on("mousemove", event => this.pointed(event));
    this.map.on("click", event => {
      const { x, y } = this.place(event.latlng);
      if (!this.sketch.tool) this.$emit("clicked", { x, y, add: event.originalEvent.shiftKey });
    });
    this.map.on("moveend", () => this.showHandles());
    this.pressed = event => this.key(event);
    document.addEventListener("keydown", this.pressed);
    this.$emit("ready", {});
    if (heat && this.threshold !== null) await this.outline(this.threshold);
  },
  beforeUnmount() {
    document.removeEventListener("keydown", this.pressed);
  },
  methods: {
    pointed(event) {
      const { x, y } = this.place(event.latlng), um = this.facts.um;
      clearTimeout(this.pointing);
      this.pointing = setTimeout(async () => {
        const answer = this.facts.heat && await fetch(`${this.from}/probability?x=${x}&y=${y}`);
        this.$emit("pointed", { x_mm: x * um / 1000, y_mm: y * um / 1000, ...(answer?.ok ? await answer.json() : {}) });
      }, 60);
    },
    async setThreshold(value) {
      // What is in view at once, one after the other; all of it exactly when the threshold rests.
      clearTimeout(this.resting);
      this.resting = setTimeout(() => this.outline(value), REST);
      this.wanted = value;
      this.since = performance.now();
      if (this.asking) return;
      this.asking = true;
      try {
        while (this.wanted !== null) {
          const asked = this.wanted, since = this.since;
          this.wanted = null;
          const bounds = this.map.getBounds(), [a, b] = [this.place(bounds.getNorthWest()), this.place(bounds.getSouthEast())];
          const answer = await fetch(`${this.from}/preview?threshold=${asked}&left=${a.x}&top=${a.y}&right=${b.x}&bottom=${b.y}`);
          if (!answer.ok || this.edited) continue;
          const found = await answer.json();
          if (this.exact === asked) continue;
          this.drawPreview(found);
          performance.measure("redraw", { start: since });
        }
      } finally {
        this.asking = false;
      }
    },
    async outline(threshold) {
      this.resting_at = threshold;
      const answer = await fetch(`${this.from}/regions?threshold=${threshold}`);
      // Another one may have been asked for meanwhile.
      if (!answer.ok || this.resting_at !== threshold || this.edited) return;
      const found = await answer.json();
      if (this.wanted !== null && this.wanted !== undefined) return;
      this.exact = threshold;
      this.draw(found.regions, found.slivers);
      this.$emit("measured", { threshold, numbers: found.numbers });
    },
    drawPreview(found) {
      this.exact = null;
      this.outlines.clearLayers();
      this.regions = [];
      const lines = found.lines.map(flat => {
        const line = [];
        for (let i = 0; i < flat.length; i += 2) line.push(this.at(flat[i], flat[i + 1]));
        return line;
      });
      L.polyline(lines, { color: RED, weight: 2, renderer: this.canvas, interactive: false }).addTo(this.outlines);
      this.$emit("measured", { threshold: found.threshold, about_mm2: found.about_mm2 });
    },
    draw(regions, slivers) {
      this.outlines.clearLayers();
      this.regions = regions;
      const places = rings => rings.map(ring => ring.map(([x, y]) => this.at(x, y)));
      const plain = { renderer: this.canvas, interactive: false };
      for (const rings of slivers) L.polyline(places(rings), { ...plain, color: RED, weight: 1, dashArray: "3 2" }).addTo(this.outlines);
      for (const region of regions) {
        const rings = places(region.rings), color = region.selected ? BLUE : RED;
        L.polyline(rings, { ...plain, color: "#fff", weight: region.selected ? 7 : 5, opacity: 0.7 }).addTo(this.outlines);
        const line = L.polyline(rings, { renderer: this.canvas, color, weight: region.selected ? 4 : 2 }).addTo(this.outlines);
        line.bindTooltip(`${region.name ?? `IDC ${region.number}`}: ${region.area_mm2.toFixed(2)} mm²`, { sticky: true });
      }
    },
    // What is edited takes the place of what a threshold outlines, until it is null.
    showEdits(regions) {
      this.edited = regions;
      if (regions === null) {
        this.handles.clearLayers();
        return this.outline(this.resting_at ?? this.threshold);
      }
      this.exact = null;
      this.draw(regions, []);
      this.showHandles();
    },
    showHandles() {
      this.handles.clearLayers();
      const chosen = (this.edited ?? []).filter(r => r.selected);
      if (chosen.length !== 1 || this.sketch.tool) return;
      const view = this.map.getBounds(), corners = [];
      chosen[0].rings.forEach((ring, ringNumber) => ring.slice(0, -1).forEach(([x, y], corner) => {
        const place = this.at(x, y);
        if (view.contains(place)) corners.push({ place, ring: ringNumber, corner });
      }));
      if (corners.length > HANDLES) return;
      for (const { place, ring, corner } of corners) {
        const icon = L.divIcon({ className: "", iconSize: [12, 12], html: `<div style="width:12px;height:12px;background:#fff;border:2px solid ${BLUE};border-radius:50%"></div>` });
        const handle = L.marker(place, { icon, draggable: true, keyboard: false, title: "Drag to move this corner; click with Alt to take it out" }).addTo(this.handles);
        const tell = (kind, where) => this.$emit("reshaped", { id: chosen[0].id, ring, corner, kind, x: where.x, y: where.y });
        handle.on("dragend", () => tell("move", this.place(handle.getLatLng())));
        handle.on("click", event => event.originalEvent.altKey && tell("remove", this.place(place)));
      }
    },
    sketched(tool, points) {
      if (tool !== "measure") return this.$emit("sketched", { tool, points });
      const um = this.facts.um, mm = points.map(([x, y]) => [x * um / 1000, y * um / 1000]);
      const length = mm.slice(1).reduce((sum, [x, y], i) => sum + Math.hypot(x - mm[i][0], y - mm[i][1]), 0);
      const area = Math.abs(mm.reduce((sum, [x, y], i) => { const [u, v] = mm[(i + 1) % mm.length]; return sum + x * v - u * y; }, 0)) / 2;
      this.$emit("lengthened", { length_mm: length, area_mm2: mm.length > 2 ? area : null });
    },
    setTool(tool) {
      this.sketch.take(tool);
      this.showHandles();
    },
    key(event) {
      const field = event.target.closest?.("input, textarea, select, [role=slider], .q-slider");
      if (event.ctrlKey || event.metaKey || event.altKey || (field && event.key !== "Escape")) {
        const letter = (event.ctrlKey || event.metaKey) && !event.altKey && event.key.toLowerCase();
        if (this.edited && (letter === "s" || (!field && (letter === "z" || letter === "y")))) {
          event.preventDefault();
          this.$emit("key", { key: letter === "s" ? "save" : letter === "y" || event.shiftKey ? "redo" : "undo" });
        }
        return;
      }
      if (this.sketch.key(event)) return event.preventDefault();
      if (event.key === "0") this.map.fitBounds(this.whole);
      else if (event.key === "n" || event.key === "p") this.next(event.key === "n" ? 1 : -1);
      else if (event.key.length === 1 || ["Escape", "Delete", "Backspace"].includes(event.key)) this.$emit("key", { key: event.key });
    },
    next(step) {
      if (!this.regions.length) return;
      const number = this.visited === undefined ? (step > 0 ? 0 : -1) : this.visited + step;
      this.visited = (number + this.regions.length) % this.regions.length;
      const { rings } = this.regions[this.visited];
      this.map.fitBounds(L.latLngBounds(rings[0].map(([x, y]) => this.at(x, y))).pad(0.2));
    },
    setMagnification(times) {
      this.map.setZoom(zoomOf(times, this.facts));
    },
    setHeat(value) {
      this.heat?.setOpacity(value);
    },
    refreshHeat(count) {
      this.heat?.setUrl(`${this.from}/heat?${count}`);
    },
    setOutlines(shown) {
      if (shown) this.outlines.addTo(this.map);
      else this.outlines.remove();
    },
  },
};
