// A slide in tiles with a scale bar: level-0 pixels at its highest zoom, from the top-left corner of the slide down.
export function baseMap(L, element, from, { size, tile, levels, um }, zoomSnap) {
  element.style.background = "#fff";
  element.setAttribute("role", "application");
  element.setAttribute("aria-label", "Slide: arrows move it, plus and minus change the magnification");
  // Beyond 40x, whatever the slide was scanned at.
  const maxZoom = Math.max(levels + 2, Math.ceil(zoomOf(40, { levels, um })) + 1);
  const map = L.map(element, { crs: L.CRS.Simple, minZoom: -1, maxZoom, zoomSnap, attributionControl: false, fadeAnimation: false, doubleClickZoom: false });
  const at = (x, y) => map.unproject([x, y], levels), place = latlng => map.project(latlng, levels);
  const whole = L.latLngBounds(at(0, 0), at(...size));
  // First: without a view nothing is drawn.
  map.fitBounds(whole).setMaxBounds(whole.pad(0.5));
  L.tileLayer(from + "/tile/{z}/{x}/{y}", { tileSize: tile, minNativeZoom: 0, maxNativeZoom: levels, minZoom: -1, maxZoom, bounds: whole, noWrap: true, keepBuffer: 4 }).addTo(map);
  new ResizeObserver(() => map.invalidateSize()).observe(element);
  addScale(L, map, levels, um);
  return { map, at, place, whole };
}

// A scanner calls 0.25 um to a pixel 40x.
export const zoomOf = (times, { levels, um }) => levels - Math.log2(10 / times / um);

function addScale(L, map, levels, um) {
  new (L.Control.extend({
    options: { position: "bottomleft" },
    onAdd: () => {
      const box = L.DomUtil.create("div");
      box.style.cssText = "background: #fffe; color: #111; padding: 2px 6px; font: 13px system-ui";
      const draw = () => {
        const perPixel = um * 2 ** (levels - map.getZoom()), rough = 120 * perPixel;
        const power = 10 ** Math.floor(Math.log10(rough)), length = power * (rough / power >= 5 ? 5 : rough / power >= 2 ? 2 : 1);
        box.innerHTML = `<div style="height: 5px; background: #111; width: ${length / perPixel}px"></div>`;
        box.append(`${length >= 1000 ? length / 1000 + " mm" : length + " µm"} · ${Number((10 / perPixel).toPrecision(2))}x`);
      };
      map.on("zoomend", draw);
      draw();
      return box;
    },
  }))().addTo(map);
}
