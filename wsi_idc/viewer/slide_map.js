import { leaflet as L } from "nicegui-leaflet";
import { loadResource } from "../../static/utils/resources.js";

// The map: level-0 pixels at its highest zoom, from the top-left corner of the slide down.
export default {
  template: "<div></div>",
  props: { address: String, facts: Object, threshold: Number, resourcePath: String },
  async mounted() {
    await this.$nextTick();
    await loadResource(window.path_prefix + `${this.resourcePath}/leaflet/leaflet.css`);
    this.$el.style.background = "#fff";
    const { size, tile, levels, um, heat } = this.facts;
    this.from = window.path_prefix + this.address;
    this.map = L.map(this.$el, { crs: L.CRS.Simple, minZoom: -1, maxZoom: levels + 2, zoomSnap: 0.5, attributionControl: false, fadeAnimation: false });
    this.at = (x, y) => this.map.unproject([x, y], levels);
    const bounds = L.latLngBounds(this.at(0, 0), this.at(...size));
    // First: without a view nothing is drawn.
    this.map.fitBounds(bounds).setMaxBounds(bounds.pad(0.5));
    L.tileLayer(this.from + "/tile/{z}/{x}/{y}", { tileSize: tile, minNativeZoom: 0, maxNativeZoom: levels, minZoom: -1, maxZoom: levels + 2, bounds, noWrap: true, keepBuffer: 4 }).addTo(this.map);
    if (heat) {
      this.heat = L.imageOverlay(this.from + "/heat", L.latLngBounds(this.at(0, 0), this.at(...heat)), { opacity: 0 }).addTo(this.map);
      this.heat.getElement().style.imageRendering = "pixelated";
    }
    this.outlines = L.layerGroup().addTo(this.map);
    new (L.Control.extend({
      options: { position: "bottomleft" },
      onAdd: map => {
        const box = L.DomUtil.create("div");
        box.style.cssText = "background: #fffd; color: #111; padding: 2px 6px; font: 12px system-ui";
        const draw = () => {
          const perPixel = um * 2 ** (levels - map.getZoom()), rough = 120 * perPixel;
          const power = 10 ** Math.floor(Math.log10(rough)), length = power * (rough / power >= 5 ? 5 : rough / power >= 2 ? 2 : 1);
          // A scanner calls 0.25 um to a pixel 40x.
          const times = 10 / perPixel;
          box.innerHTML = `<div style="height: 5px; background: #111; width: ${length / perPixel}px"></div>`;
          box.append(`${length >= 1000 ? length / 1000 + " mm" : length + " µm"} · ${times.toPrecision(2)}x`);
        };
        map.on("zoomend", draw);
        draw();
        return box;
      },
    }))().addTo(this.map);
    this.map.on("mousemove", event => {
      const { x, y } = this.map.project(event.latlng, levels);
      clearTimeout(this.pointing);
      this.pointing = setTimeout(async () => {
        const answer = heat && await fetch(`${this.from}/probability?x=${x}&y=${y}`);
        this.$emit("pointed", { x_mm: x * um / 1000, y_mm: y * um / 1000, ...(answer?.ok ? await answer.json() : {}) });
      }, 60);
    });
    new ResizeObserver(() => this.map.invalidateSize()).observe(this.$el);
    if (heat) await this.setThreshold(this.threshold);
  },
  methods: {
    async setThreshold(value) {
      // One is asked for at a time; of those wanted meanwhile the last is asked for next.
      this.wanted = value;
      if (this.asking) return;
      this.asking = true;
      try {
        while (this.wanted !== null) {
          const asked = this.wanted;
          this.wanted = null;
          const answer = await fetch(`${this.from}/regions?threshold=${asked}`);
          if (answer.ok) this.draw(await answer.json());
        }
      } finally {
        this.asking = false;
      }
    },
    draw(found) {
      this.outlines.clearLayers();
      const places = rings => rings.map(ring => ring.map(([x, y]) => this.at(x, y)));
      for (const rings of found.slivers) L.polyline(places(rings), { color: "#c80000", weight: 1, dashArray: "3 2" }).addTo(this.outlines);
      for (const region of found.regions) {
        const rings = places(region.rings);
        L.polyline(rings, { color: "#fff", weight: 5, opacity: 0.7, interactive: false }).addTo(this.outlines);
        const line = L.polyline(rings, { color: "#c80000", weight: 2 }).addTo(this.outlines);
        line.bindTooltip(`IDC ${region.number}: ${region.area_mm2.toFixed(2)} mm²`, { sticky: true });
      }
      this.$emit("measured", { threshold: found.threshold, numbers: found.numbers });
    },
    setHeat(value) {
      this.heat.setOpacity(value);
    },
    setOutlines(shown) {
      if (shown) this.outlines.addTo(this.map);
      else this.outlines.remove();
    },
  },
};
