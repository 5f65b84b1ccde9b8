// Small charts: lines over the last minute, drawn as SVG.

const space = "http://www.w3.org/2000/svg";
const width = 240;
const height = 48;
const shown = 60; // seconds

// draw puts the series into an svg element. Each is a list of {at, value}, at in
// seconds; now is where the right edge is, and least the smallest value at its top.
export function draw(svg, series, now, least) {
  const most = Math.max(least, ...series.flat().map((p) => p.value));
  const x = (at) => width - ((now - at) / shown) * width;
  const y = (value) => height - 2 - (value / most) * (height - 6);
  const parts = [element("line", { class: "base", x1: 0, x2: width, y1: height - 1, y2: height - 1 })];
  series.forEach((points, i) => {
    const visible = points.filter((p) => now - p.at <= shown);
    if (visible.length === 0) {
      return;
    }
    const line = visible.map((p) => `${x(p.at).toFixed(1)},${y(p.value).toFixed(1)}`).join(" ");
    if (series.length > 1) { // areas would hide each other
      parts.push(element("polyline", { class: `line c${i}`, points: line }));
      return;
    }
    const [from, to] = [x(visible[0].at).toFixed(1), x(visible[visible.length - 1].at).toFixed(1)];
    parts.push(element("polygon", { class: `area c${i}`, points: `${from},${height - 1} ${line} ${to},${height - 1}` }));
    parts.push(element("polyline", { class: `line c${i}`, points: line }));
  });
  svg.replaceChildren(...parts);
}

function element(name, attributes) {
  const e = document.createElementNS(space, name);
  for (const [key, value] of Object.entries(attributes)) {
    e.setAttribute(key, value);
  }
  return e;
}
