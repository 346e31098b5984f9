import { minus } from "./figure.js";
import { apart } from "./network.js";

// What `Playground` draws, on canvases: it changes many times a second, and all of it each time.

const SIDE = 14;  // of an image, in pixels

/** A canvas's context in CSS pixels, sharp on every screen, cleared; and how wide and high it is. */
function cleared(canvas) {
  const { clientWidth: width, clientHeight: height } = canvas;
  const sharp = devicePixelRatio || 1;
  if (canvas.width !== Math.round(width * sharp) || canvas.height !== Math.round(height * sharp)) {
    canvas.width = Math.round(width * sharp);
    canvas.height = Math.round(height * sharp);
  }
  const context = canvas.getContext("2d");
  context.setTransform(sharp, 0, 0, sharp, 0, 0);
  context.clearRect(0, 0, width, height);
  context.font = `12px ${getComputedStyle(canvas).fontFamily}`;
  context.lineJoin = "round";
  return { context, width, height };
}

/** 12,345; the browser's own way takes some tens of milliseconds at first. */
export const grouped = (number) => String(number).replace(/\B(?=(\d{3})+$)/g, ",");

/** The colours of the course as the page has them just now, in the light or in the dark. */
export function inks(element) {
  const style = getComputedStyle(element);
  const names = ["prior", "posterior", "q", "bound", "gap"];
  const found = Object.fromEntries(names.map((n) => [n, style.getPropertyValue(`--${n}`).trim()]));
  return { ...found, ink: style.color };
}

/** From z to the place in a square plane of `wide` each way, and back. */
export const scaleOf = (canvas, wide) => ({
  X: (u) => ((u / wide + 1) / 2) * canvas.clientWidth,
  Y: (v) => ((1 - v / wide) / 2) * canvas.clientHeight,
});

// ---- the plane of z ----

/**
 * One ellipse, at one standard deviation, for each q; the prior's circles; the digits' names where
 * their clouds are. Of the `chosen` image q is blue, and its exact posterior a green `line`.
 */
export function drawPlane(canvas, { loc, scale, wide, labels, colors, chosen, line }, ink) {
  const { context, width, height } = cleared(canvas);
  const { X, Y } = scaleOf(canvas, wide);
  const unit = width / (2 * wide);
  const oval = (u, v, a, b) => {
    context.beginPath();
    context.ellipse(X(u), Y(v), Math.max(a * unit, 1.5), Math.max(b * unit, 1.5), 0, 0, 2 * Math.PI);
  };
  context.strokeStyle = ink.prior;
  context.lineWidth = 1;
  context.setLineDash([2, 4]);
  for (const radius of [1, 2]) {
    oval(0, 0, radius, radius);
    context.stroke();
  }
  context.setLineDash([]);
  labels.forEach((label, i) => {
    oval(loc[2 * i], loc[2 * i + 1], scale[2 * i], scale[2 * i + 1]);
    context.strokeStyle = context.fillStyle = colors[label];
    context.globalAlpha = 0.28;
    context.fill();
    context.globalAlpha = 0.8;
    context.stroke();
  });
  context.globalAlpha = 1;
  drawNames(context, { X, Y, loc, labels, size: width < 220 ? 13 : 17 }, ink);
  if (chosen !== null) {
    const i = chosen;
    oval(loc[2 * i], loc[2 * i + 1], scale[2 * i], scale[2 * i + 1]);
    context.strokeStyle = ink.q;
    context.lineWidth = 3;
    context.stroke();
    context.beginPath();
    for (let k = 0; line && k < line.length; k += 4) {
      context.moveTo(X(line[k]), Y(line[k + 1]));
      context.lineTo(X(line[k + 2]), Y(line[k + 3]));
    }
    context.strokeStyle = ink.posterior;
    context.stroke();
  }
  frame(context, { width, height, wide, named: ["z₁", "z₂"] }, ink);
}

function drawNames(context, { X, Y, loc, labels, size }, ink) {
  const classes = [...new Set(labels)].sort();
  const middles = classes.map((label) => {
    const mine = [...labels.keys()].filter((i) => labels[i] === label);
    const middle = (d) => mine.map((i) => loc[2 * i + d]).sort((a, b) => a - b)[mine.length >> 1];
    return [X(middle(0)), Y(middle(1))];
  });
  Object.assign(context, { textAlign: "center", textBaseline: "middle", fillStyle: ink.ink });
  const font = context.font;
  context.font = font.replace("12px", `bold ${size}px`);
  apart(middles, size + 2).forEach(([x, y], k) => context.fillText(classes[k], x, y));
  context.font = font;
}

/** The plane's edge, with what stands at it. */
function frame(context, { width, height, wide, named }, ink) {
  context.strokeStyle = ink.prior;
  context.lineWidth = 1;
  context.strokeRect(0.5, 0.5, width - 1, height - 1);
  if (!named) return;
  Object.assign(context, { fillStyle: ink.ink, textBaseline: "alphabetic", textAlign: "left" });
  context.fillText(`−${wide}`, 4, height - 5);
  context.fillText(named[1], 4, 14);
  context.textAlign = "right";
  context.fillText(`${named[0]}  ${wide}`, width - 4, height - 5);
}

// ---- the decoded plane ----

/** Images of 14 × 14 bytes, row by row from below, as one picture of grey: ink on the page. */
export function drawTiles(canvas, tiles, ink) {
  const { context, width, height } = cleared(canvas);
  const across = Math.round(Math.sqrt(tiles.length / SIDE ** 2));
  const side = across * SIDE;
  const picture = new ImageData(side, side);
  const [r, g, b] = rgb(ink.ink);
  for (let at = 0, v = 0; v < side; v += 1) {
    const row = (across - 1 - Math.floor(v / SIDE)) * across;
    for (let u = 0; u < side; u += 1, at += 4) {
      const tile = row + Math.floor(u / SIDE);
      picture.data[at] = r;
      picture.data[at + 1] = g;
      picture.data[at + 2] = b;
      picture.data[at + 3] = tiles[(tile * SIDE + (v % SIDE)) * SIDE + (u % SIDE)];
    }
  }
  small ??= document.createElement("canvas");
  small.width = small.height = side;
  small.getContext("2d").putImageData(picture, 0, 0);
  context.drawImage(small, 0, 0, width, height);
  frame(context, { width, height }, ink);
}
let small;  // as many pixels as are decoded

const rgb = (color) => color.match(/[\d.]+/g).slice(0, 3).map(Number);

// ---- the curves ----

/** The nats that the curves show: the last six, or more where runs end further apart. */
export function rangeOf(runs, top = -Infinity) {
  const settled = runs.map(({ points }) => points.at(-1)).filter((p) => p && p.seen >= 20_000);
  const highest = Math.max(top, ...settled.map((p) => p.log_p));
  if (highest === -Infinity) {  // early, and nothing is known of where it will end
    const last = runs.at(-1)?.points.at(-1)?.log_p ?? 0;
    return [last - 5.5, last + 0.5];
  }
  const above = settled.map((p) => p.computed).filter((v) => v > highest && v < highest + 8);
  const high = Math.max(highest, ...above) + 0.5;
  const ends = settled.flatMap((p) => (p.log_p - p.elbo < 6 ? [p.log_p, p.elbo] : [p.log_p]));
  const low = Math.min(high - 6, ...ends.map((v) => v - 1));
  return [Math.max(low, high - 40), high];
}

/**
 * Of each run the bound, log p(x), the gap between them, and, where it is another, the number that
 * training maximized (dashed). The last run is the present one; what was before it is pale.
 */
export function drawCurves(canvas, { runs, top }, ink) {
  const { context, width, height } = cleared(canvas);
  const [low, high] = rangeOf(runs, top);
  const longest = Math.max(0, ...runs.flatMap(({ points }) => points.map((p) => p.seen)));
  const end = [20_000, 50_000, 80_000, 120_000, 200_000].find((n) => n >= longest) ?? 400_000;
  const box = { left: 36, right: width - 126, top: 4, bottom: height - 20 };
  const X = (seen) => box.left + (seen / end) * (box.right - box.left);
  const Y = (nats) => box.bottom - ((nats - low) / (high - low)) * (box.bottom - box.top);
  drawAxes(context, { X, Y, box, low, high, end }, ink);
  context.save();
  context.beginPath();
  context.rect(box.left, box.top - 2, box.right - box.left, box.bottom - box.top + 2);
  context.clip();
  runs.forEach(({ points, apart: other }, i) => {
    const pale = i < runs.length - 1;
    const path = (key) => points.map((p) => [X(p.seen), Y(p[key])]);
    context.globalAlpha = pale ? 0.12 : 0.35;
    context.fillStyle = ink.gap;
    stroke(context, [...path("log_p"), ...path("elbo").reverse()]);
    context.fill();
    context.globalAlpha = pale ? 0.35 : 1;
    for (const [key, color] of [["log_p", ink.ink], ["elbo", ink.bound]]) {
      Object.assign(context, { strokeStyle: color, lineWidth: 2 });
      stroke(context, path(key));
      context.stroke();
    }
    if (other) {
      context.strokeStyle = ink.bound;
      context.setLineDash([5, 4]);
      stroke(context, path("computed"));
      context.stroke();
      context.setLineDash([]);
    }
  });
  context.restore();
  nameCurves(context, { run: runs.at(-1), Y, box }, ink);
}

function stroke(context, points) {
  context.beginPath();
  points.forEach(([x, y], i) => (i ? context.lineTo(x, y) : context.moveTo(x, y)));
}

function drawAxes(context, { X, Y, box, low, high, end }, ink) {
  Object.assign(context, { strokeStyle: ink.prior, fillStyle: ink.ink, lineWidth: 1 });
  stroke(context, [[box.left, box.top], [box.left, box.bottom], [box.right, box.bottom]]);
  context.stroke();
  Object.assign(context, { textAlign: "right", textBaseline: "middle" });
  const step = [1, 2, 5, 10, 20].find((n) => (high - low) / n <= 4);
  for (let v = Math.ceil(low / step) * step; v <= high; v += step) {
    if (Y(v) < box.bottom - 4) context.fillText(minus(String(v)), box.left - 5, Y(v));
  }
  Object.assign(context, { textAlign: "center", textBaseline: "top" });
  const narrow = box.right - box.left < 400;
  for (const share of narrow ? [0.5] : [0.25, 0.5, 0.75]) {
    context.fillText(grouped(share * end), X(share * end), box.bottom + 4);
  }
  context.textAlign = "right";
  context.fillText(narrow ? "images" : "images seen", box.right, box.bottom + 4);
}

/** Names at the curves' ends, with their numbers, one below the other. */
function nameCurves(context, { run, Y, box }, ink) {
  const last = run?.points.at(-1);
  if (!last) return;
  const names = [["log p(x)", last.log_p, ink.ink], ["ELBO", last.elbo, ink.bound]];
  if (run.apart) names.push(["computed", last.computed, ink.bound]);
  const places = names.map(([name, value, color]) => {
    const y = Y(value);
    const away = y > box.bottom ? " ↓" : y < box.top ? " ↑" : "";
    return { text: `${name} ${value.toFixed(1)}${away}`, color,
      y: Math.min(Math.max(y, box.top + 6), box.bottom - 4) };
  }).sort((a, b) => a.y - b.y);
  places.forEach((place, i) => {
    if (i) place.y = Math.max(place.y, places[i - 1].y + 14);
  });
  const over = Math.max(0, places.at(-1).y - box.bottom - 6);
  Object.assign(context, { textAlign: "left", textBaseline: "middle" });
  for (const { text, color, y } of places) {
    context.fillStyle = color;
    context.fillText(minus(text), box.right + 6, y - over);
  }
}
