import { leaflet as L } from "nicegui-leaflet";
import { loadResource } from "../../static/utils/resources.js";
import { baseMap, zoomOf } from "wsi-idc-viewer/base_map.js";

const BLUE = "#005ac8", GREY = "#666", GREEN = "#00963c", RED = "#c80000";
// What a field is looked at with.
const TIMES = 40;
// How much of a view the next one shows again.
const SHARED = 0.1;

// The fields of a worksheet on their slide, one of them current, with the marks of mitoses.
export default {
  template: "<div></div>",
  props: { address: String, facts: Object, resourcePath: String },
  async mounted() {
    await this.$nextTick();
    await loadResource(window.path_prefix + `${this.resourcePath}/leaflet/leaflet.css`);
    Object.assign(this, baseMap(L, this.$el, window.path_prefix + this.address, this.facts, 0));
    this.boxes = L.layerGroup().addTo(this.map);
    this.marks = L.layerGroup().addTo(this.map);
    this.invasive = L.layerGroup();
    this.map.on("resize", () => {
      if (!this.field) return;
      this.part();
      this.view = Math.min(this.view, this.views.length - 1);
      this.tell();
    });
    this.map.on("click", event => this.$emit("clicked", this.place(event.latlng)));
    this.pressed = event => this.key(event);
    document.addEventListener("keydown", this.pressed);
    this.$emit("ready", {});
  },
  beforeUnmount() {
    document.removeEventListener("keydown", this.pressed);
  },
  methods: {
    show(fields, current) {
      this.boxes.clearLayers();
      this.marks.clearLayers();
      this.fields = fields;
      for (const field of fields) {
        const { left, top, right, bottom } = field, refused = field.state === "refused", now = field.number === current;
        const ring = [[left, top], [right, top], [right, bottom], [left, bottom]].map(([x, y]) => this.at(x, y));
        if (now) L.polygon(ring, { color: "#fff", weight: 7, opacity: 0.8, fill: false, interactive: false }).addTo(this.boxes);
        const box = L.polygon(ring, { color: refused ? GREY : BLUE, weight: now ? 3 : 2, dashArray: refused ? "6 5" : null, fill: false, interactive: false }).addTo(this.boxes);
        if (!now) box.bindTooltip(`${field.number}`, { permanent: true, direction: "center" });
        for (const [x, y] of field.marks) {
          // A ring around the mitosis: what is marked is to be seen.
          for (const [color, weight] of [["#fff", 5], [refused ? GREY : GREEN, 2.5]]) L.circleMarker(this.at(x, y), { radius: 14, color, weight, fill: false, interactive: false }).addTo(this.marks);
        }
      }
    },
    // To a field at 40x; one that is larger than the window is gone through view by view, to and fro.
    goTo(number) {
      this.field = this.fields.find(one => one.number === number);
      if (!this.field) return;
      this.invasive.remove();
      this.part();
      this.view = 0;
      this.look();
    },
    part() {
      const field = this.field;
      const scale = 2 ** (zoomOf(TIMES, this.facts) - this.facts.levels), size = this.map.getSize();
      const along = (from, to, pixels) => {
        const shown = pixels / scale, count = Math.max(1, Math.ceil((to - from - shown * SHARED) / (shown * (1 - SHARED))));
        // So that the first begins, and the last ends, where the field does.
        return Array.from({ length: count }, (_, i) => count === 1 ? (from + to) / 2 : from + shown / 2 + i * (to - from - shown) / (count - 1));
      };
      const across = along(field.left, field.right, size.x), down = along(field.top, field.bottom, size.y);
      this.views = down.flatMap((y, row) => (row % 2 ? [...across].reverse() : across).map(x => [x, y]));
    },
    look() {
      this.map.setView(this.at(...this.views[this.view]), zoomOf(TIMES, this.facts), { animate: false });
      this.tell();
    },
    tell() {
      this.$emit("viewed", { view: this.view + 1, views: this.views.length });
    },
    step(way) {
      if (!this.views || !(this.view + way in this.views)) return;
      this.view += way;
      this.look();
    },
    // All that is invasive, on which tubules are judged.
    showInvasive(outlines) {
      this.invasive.clearLayers().addTo(this.map);
      const line = L.polyline(outlines.map(ring => ring.map(([x, y]) => this.at(x, y))), { color: RED, weight: 2, interactive: false }).addTo(this.invasive);
      this.map.fitBounds(outlines.length ? line.getBounds().pad(0.05) : this.whole);
    },
    setTool(takes) {
      this.$el.style.cursor = takes ? "crosshair" : "";
    },
    key(event) {
      const field = event.target.closest?.("input, textarea, select"), letter = event.key.toLowerCase();
      if (event.ctrlKey || event.metaKey) {
        if (event.altKey || !(letter === "s" || (!field && (letter === "z" || letter === "y")))) return;
        event.preventDefault();
        this.$emit("key", { key: letter === "s" ? "save" : letter === "y" || event.shiftKey ? "redo" : "undo" });
      } else if (event.altKey || field) return;
      else if (event.key === " ") {
        if (event.target.closest?.("button, [role=radio], [role=checkbox], [tabindex='0']:not(.leaflet-container)")) return;
        event.preventDefault();
        this.step(event.shiftKey ? -1 : 1);
      } else if (event.key === "0") this.map.fitBounds(this.whole);
      else if (event.key.length === 1 || event.key === "Escape") this.$emit("key", { key: event.key });
    },
  },
};
