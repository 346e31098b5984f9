import { append, button, choice, drag, figure, linspace, logSumExp, minus, plot, reset,
  within } from "./figure.js";
import { drawClasses, elboTerms, loadNetwork, paint, posteriorTable, sigmoid } from "./network.js";

// Draw a digit; see what the encoder believes of its z, and what is true.

const SIZE = 28;
const INK = 1.25;  // half the width of a line, in pixels of the small image
const INNER = 20;  // MNIST scales a digit to fit 20 x 20 pixels, then centres its mass in 28 x 28

/** How dark each pixel is under lines through the points, which are in pixels already. */
function coverage(lines) {
  return Float32Array.from({ length: SIZE * SIZE }, (_, i) => {
    const [u, v] = [(i % SIZE) + 0.5, Math.floor(i / SIZE) + 0.5];
    let nearest = Infinity;
    for (const line of lines) {
      line.forEach((point, k) => {
        nearest = Math.min(nearest, distance([u, v], line[Math.max(k - 1, 0)], point));
      });
    }
    return within(INK + 0.5 - nearest, [0, 1]);
  });
}

/** From a point to a segment. */
function distance([u, v], [u0, v0], [u1, v1]) {
  const length = (u1 - u0) ** 2 + (v1 - v0) ** 2;
  const t = length && within(((u - u0) * (u1 - u0) + (v - v0) * (v1 - v0)) / length, [0, 1]);
  return Math.hypot(u - u0 - t * (u1 - u0), v - v0 - t * (v1 - v0));
}

/** An image as MNIST has it, of 784 zeros and ones, from strokes: lists of points in any unit. */
export function asMnist(strokes) {
  const points = strokes.flat();
  if (points.length === 0) return new Float32Array(SIZE * SIZE);
  const range = (i) => [Math.min(...points.map((p) => p[i])), Math.max(...points.map((p) => p[i]))];
  const [[left, right], [top, bottom]] = [range(0), range(1)];
  const scale = (INNER - 2 * INK) / Math.max(right - left, bottom - top, 1e-6);
  const place = (u0, v0) => strokes.map((line) =>
    line.map(([u, v]) => [
      SIZE / 2 + (u - (left + right) / 2) * scale - u0,
      SIZE / 2 + (v - (top + bottom) / 2) * scale - v0,
    ]));
  const first = coverage(place(0, 0));
  const mass = first.reduce((total, p) => total + p, 0);
  const mean = (at) => first.reduce((total, p, i) => total + p * at(i), 0) / mass;
  const off = [mean((i) => (i % SIZE) + 0.5), mean((i) => Math.floor(i / SIZE) + 0.5)];
  const centred = coverage(place(off[0] - SIZE / 2, off[1] - SIZE / 2));
  return centred.map((p) => (p >= 0.5 ? 1 : 0));
}

/** The encoder's answer and the two terms of its ELBO, for 784 pixels. */
export function values({ x }, network) {
  const q = network.encode(x);
  return { ...q, ...elboTerms(network, x, q) };
}

/** log p(x): a fine grid where the mass is, and a coarse one for all the rest of the plane. */
export function evidence(coarse, far, fine, near) {
  const outside = ([u, v]) =>
    Math.max(Math.abs(u - fine.middle[0]), Math.abs(v - fine.middle[1])) > fine.reach;
  return logSumExp([coarse.logMass(far, outside), fine.logMass(near)]);
}

/**
 * What the picture shows as texts that add up, to the last digit that is seen: log p(x) is the
 * pixels, minus the KL, plus the gap. Each is its number to a tenth, or to the tenth beside it.
 */
export function sums({ reconstruction, kl, log_p }) {
  const [elbo, cost, evidence] = [reconstruction - kl, kl, log_p].map((v) => Number(v.toFixed(1)));
  const parts = { pixels: elbo + cost, kl: cost, elbo, gap: evidence - elbo, log_p: evidence };
  return Object.fromEntries(Object.entries(parts).map(([name, v]) =>
    [name, v.toFixed(1).replace(/^-0\.0$/, "0.0")]));
}

/** A piece of a ring, in hundredths of the pad; degrees are counted from its right side. */
const arc = (from, to) => linspace(from, to, 20).map((degrees) => {
  const a = (degrees * Math.PI) / 180;
  return [Math.round(50 + 26 * Math.cos(a)), Math.round(50 + 36 * Math.sin(a))];
});
const OPENINGS = [75, 60, 45, 0];  // degrees to each side

/** The strokes of a C that is closed in steps, until it is a 0: there are steps 0 to 3. */
export const closing = (step) => OPENINGS.slice(0, step + 1).flatMap((to, k) =>
  k === 0
    ? [arc(to, 360 - to)]
    : [arc(OPENINGS[k - 1], to), arc(-OPENINGS[k - 1], -to)]);

const EPS = [[0, 0], [1.2, 0.3], [-0.9, 0.8], [0.2, -1.3], [-0.5, -0.6], [0.7, 1.1]];

async function render({ model, el }) {
  const network = await loadNetwork(model);
  const self = figure({ model, el }, {
    name: "Draw a digit and see its posterior",
    hint: "Try: draw a C, then close it to a 0, stroke by stroke. When does the green ring jump, "
      + "and when does the blue ellipse follow?",
  }, draw);
  const table = posteriorTable(network, { cells: 50, middle: [0, 0], reach: 4 });
  let fine = null;
  let begun = false;  // the figure may not be in the page yet when its work begins

  // The pad, and beside it, on a phone too, what comes of the drawing.
  const hand = append(self.stage, "div", {
    style: "flex: 1 1 19rem; display: flex; gap: .75rem; align-items: flex-start",
  });
  const pad = append(hand, "canvas", {
    width: 260, height: 260, tabindex: 0, role: "img",
    style: "flex: 2 1 0; min-width: 0; max-width: 240px; aspect-ratio: 1; cursor: crosshair;"
      + " background: white; border: 1px solid var(--grey); image-rendering: auto;"
      + " box-sizing: border-box; touch-action: none",  // no pen may scroll either
    "aria-label": "Draw here. With the keyboard: arrows move the pen, space puts it down or lifts "
      + "it. Or choose a test digit below.",
  });
  const strip = append(hand, "canvas", {
    width: 2 * SIZE + 2, height: 4 * SIZE + 6, role: "img",
    style: "flex: 1 1 0; min-width: 0; max-width: 120px; aspect-ratio: 58 / 118",
    "aria-label": "First the image as the network sees it and the decoding of the middle of q, "
      + "then the decodings of six z from q.",
  });
  const tile = (pixels, k) =>
    paint(strip, pixels, (k % 2) * (SIZE + 2), Math.floor(k / 2) * (SIZE + 2));
  const plane = plot(self, { x: [-4, 4], y: [-4, 4], xlabel: "z₁", ylabel: "z₂" });
  const close = plot(self, { x: [-1, 1], y: [-1, 1], xlabel: "z₁", ylabel: "close up" });
  const bar = plot(self, { x: [-200, 0], y: [0, 1], height: 150, ticks: "x", xlabel: "nats" });
  for (const { svg } of [plane, close, bar]) Object.assign(svg.style, { flex: "1 1 19rem" });

  // A mouse, a finger or a pen. Strokes are in hundredths of the pad.
  drag(pad, (event, first) => {
    const box = pad.getBoundingClientRect();
    const at = [event.clientX - box.left, event.clientY - box.top].map(
      (v, i) => Math.round(within((100 * v) / (i ? box.height : box.width), [0, 100])));
    extend(at, first);
  });
  // The keyboard's pen.
  const pen = { at: [50, 50], down: false };
  const arrows = { ArrowLeft: [-3, 0], ArrowRight: [3, 0], ArrowUp: [0, -3], ArrowDown: [0, 3] };
  pad.addEventListener("keydown", (event) => {
    if (event.key === " ") {
      pen.down = !pen.down;
      if (pen.down) extend([...pen.at], true);
    } else if (arrows[event.key]) {
      pen.at = pen.at.map((v, i) => within(v + arrows[event.key][i], [0, 100]));
      if (pen.down) extend([...pen.at], false);
    } else return;
    event.preventDefault();
    self.later();
  });
  pad.addEventListener("blur", () => { pen.down = false; self.later(); });
  pad.addEventListener("focus", self.later);

  /** Add a point to the last stroke, or begin a new one; a drawing takes a test digit's place. */
  function extend(point, first) {
    const strokes = self.get("digit") < 0 ? self.get("strokes") : [];
    self.set({
      digit: -1,
      strokes: first || strokes.length === 0
        ? [...strokes, [point]]
        : [...strokes.slice(0, -1), [...strokes.at(-1), point]],
    });
  }

  const images = model.get("images");
  const [labels, codes] = [model.get("labels"), model.get("codes")];
  choice(self, "digit", "or take", [[-1, "your drawing"],
    ...images.map((_, i) => [i, `test image ${i + 1}, a ${labels[i]}`])]);
  let step = 0;
  const toStep = (next) => {
    step = next;
    self.set({ strokes: closing(step), digit: -1 });
  };
  button(self, "Draw a C for me", () => toStep(0));
  button(self, "Close it further", () => toStep(Math.min(step + 1, OPENINGS.length - 1)));
  button(self, "Clear", () => self.set({ strokes: [], digit: -1 }));
  reset(self, ["strokes", "digit"]);

  function image() {
    if (self.get("digit") < 0) return asMnist(self.get("strokes"));
    const bits = images[self.get("digit")];
    return Float32Array.from(bits, Number);
  }

  function draw() {
    const x = image();
    strip.getContext("2d").clearRect(0, 0, strip.width, strip.height);
    tile(x, 0);
    drawPad(x);
    if (!x.some((p) => p > 0)) {
      drawClasses(plane, codes, labels, { opacity: 0.35, size: 15 });
      self.say(`Draw a digit, or take one of the test images. ${self.get("about")}`);
      self.equation(["log p(x) = pixels − KL to the prior + gap"]);
      plane.describe("The plane of z, with the codes of held-out digits.");
      close.describe("A part of the plane, empty until something is drawn.");
      bar.describe("A bar of nats, empty until something is drawn.");
      return;
    }
    const q = values({ x }, network);
    const { loc, logvar } = q;
    const scale = logvar.map((v) => Math.exp(v / 2));
    let log_p = null;
    let mode = null;
    if (table.more(0)) {
      const far = table.logJoint(x);
      mode = table.points[far.indexOf(Math.max(...far))];
      shade(plane, far, table);
      lookCloser(x, { loc, scale }, mode);
      if (fine.table.more(0)) {
        const near = fine.table.logJoint(x);
        shade(close, near, fine.table);
        log_p = evidence(table, far, fine.table, near);
      }
    }
    drawClasses(plane, codes, labels, { opacity: 0.35, size: 15 });
    const ellipse = linspace(0, 2 * Math.PI, 61).map((a) =>
      [loc[0] + 2 * scale[0] * Math.cos(a), loc[1] + 2 * scale[1] * Math.sin(a)]);
    for (const view of [plane, close]) view.curve(ellipse, "var(--q)");
    // The posterior is small in the whole plane: a ring shows where it is.
    if (mode) {
      plane.dot(mode, "none", 9, { stroke: "var(--posterior)", "stroke-width": 2.5 });
    }
    tile(network.decode(loc).map(sigmoid), 1);
    EPS.forEach((eps, k) => {
      const z = [loc[0] + scale[0] * eps[0], loc[1] + scale[1] * eps[1]];
      close.dot(z, "var(--q)", 4);
      tile(network.decode(z).map(sigmoid), k + 2);
    });
    tell({ ...q, log_p });
    const words = `The encoder's ellipse around (${loc[0].toFixed(2)}, ${loc[1].toFixed(2)}), with ` +
      `scales ${scale[0].toFixed(3)} and ${scale[1].toFixed(3)}, over the exact posterior`;
    plane.describe(`${words}, in a plane of ${codes.length} encoded digits.`);
    close.describe(`${words}, enlarged.`);
  }

  /** The equation, and its bar: a bound, and a gap up to log p(x). */
  function tell(found) {
    const shown = sums({ ...found, log_p: found.log_p ?? 0 });
    const known = found.log_p !== null;
    self.equation([
      ["log p(x)", "var(--evidence)"], ` ${known ? shown.log_p : "…"} = `,
      ["pixels", "var(--data)"], ` ${shown.pixels} − `,
      ["KL to the prior", "var(--gap)"], ` ${shown.kl} + `,
      ["gap", "var(--gap)"], ` ${known ? shown.gap : "…"} nats`,
    ]);
    self.say(`ELBO = ${shown.pixels} − ${shown.kl} = ${shown.elbo}. Green: the exact posterior, ` +
      "ringed in the plane. Blue: the encoder's q at two standard deviations. Small pictures: " +
      `the image and the decoding of q's middle, then of six draws from q. ${self.get("about")}`);
    if (!known) {
      bar.describe("A bar of nats, empty until log p(x) has been computed.");
      return;
    }
    const [elbo, log_p] = [Number(shown.elbo), Number(shown.log_p)];
    const room = Math.max(12, 0.5 * (log_p - elbo));
    bar.range([elbo - 2 * room, log_p + room], [0, 1]);
    bar.rect([elbo - 2 * room, 0.3], [elbo, 0.75], "var(--bound)", 0.85);
    bar.rect([elbo, 0.3], [log_p, 0.75], "var(--gap)", 0.85);
    bar.curve([[log_p, 0.2], [log_p, 0.85]], "var(--evidence)", { "stroke-width": 3 });
    bar.text([elbo - room, 0.12], minus(`ELBO ${shown.elbo}`), { "text-anchor": "middle" });
    bar.text([log_p, 0.95], minus(`log p(x) ${shown.log_p}`), { "text-anchor": "middle" });
    const wide = log_p - elbo > room;  // its name fits below it
    bar.text([wide ? (elbo + log_p) / 2 : log_p, 0.12], `gap ${shown.gap}`,
      wide ? { "text-anchor": "middle" } : { dx: 5 });
    bar.describe(`A bar of nats: the ELBO ends at ${shown.elbo}, and the gap of ${shown.gap} ends ` +
      `at log p(x), ${shown.log_p}.`);
  }

  /** Decode a table's cells between the reader's strokes, as long as it is wanted; then draw. */
  function decodeAll(cells, wanted = () => true) {
    if (!self.root.isConnected && begun || !wanted()) return;
    begun = self.root.isConnected;
    if (cells.more(8)) self.later();
    else setTimeout(() => decodeAll(cells, wanted), 0);
  }

  /** A finer grid around q and the posterior's mode, decoded over some frames while x stays. */
  function lookCloser(x, { loc, scale }, mode) {
    const middle = [0, 1].map((i) => (loc[i] + mode[i]) / 2);
    const reach = Math.max(0.15, ...[0, 1].map((i) =>
      Math.max(4 * scale[i], 0.08) + Math.abs(loc[i] - mode[i]) / 2));
    const key = `${x.join("")} ${middle} ${reach}`;
    if (fine?.key !== key) {
      fine = { key, table: posteriorTable(network, { cells: 28, middle, reach }) };
      decodeAll(fine.table, () => fine.key === key);
    }
    close.range([middle[0] - reach, middle[0] + reach], [middle[1] - reach, middle[1] + reach]);
  }

  /** The posterior as shades of green behind the ellipse. */
  function shade(view, log_joint, { cells, middle, reach }) {
    const canvas = document.createElement("canvas");
    canvas.width = canvas.height = cells;
    const context = canvas.getContext("2d");
    const pixels = context.createImageData(cells, cells);
    const top = Math.max(...log_joint);
    const green = getComputedStyle(self.root).getPropertyValue("--posterior").match(/\w\w/g)
      .map((part) => Number.parseInt(part, 16));
    log_joint.forEach((value, c) => {
      const at = 4 * ((cells - 1 - Math.floor(c / cells)) * cells + (c % cells));
      pixels.data.set([...green, 255 * Math.exp((value - top) / 2)], at);
    });
    context.putImageData(pixels, 0, 0);
    const [x, y] = [view.X(middle[0] - reach), view.Y(middle[1] + reach)];
    append(view.layer, "image", {
      href: canvas.toDataURL(), preserveAspectRatio: "none", x, y,
      width: view.X(middle[0] + reach) - x, height: view.Y(middle[1] - reach) - y,
    });
  }

  function drawPad(x) {
    const context = pad.getContext("2d");
    context.clearRect(0, 0, pad.width, pad.height);
    if (self.get("digit") >= 0) {
      const small = document.createElement("canvas");
      small.width = small.height = SIZE;
      paint(small, x);
      context.imageSmoothingEnabled = false;
      context.drawImage(small, 0, 0, pad.width, pad.height);
    } else {
      context.lineWidth = pad.width / 12;
      context.lineCap = context.lineJoin = "round";
      for (const line of self.get("strokes")) {
        context.beginPath();
        const at = line.map((point) => point.map((v) => (v * pad.width) / 100));
        context.moveTo(...at[0]);
        for (const point of at) context.lineTo(...point);
        context.stroke();
      }
    }
    if (document.activeElement === pad) {
      context.fillStyle = pen.down ? "#c2477f" : "#2b7bba";
      context.fillRect(pen.at[0] * 2.6 - 4, pen.at[1] * 2.6 - 4, 8, 8);
    }
  }
  decodeAll(table);
  return self.close;
}

export default { render };
