// What all figures share: one redraw per frame, native controls, and plots in SVG.
//
// A figure is a function of its settings. The settings are the model's traits; controls, drags and
// Python set them; every change draws the whole figure anew. Nothing moves unless somebody moves it.

const STYLE = `
/* The colours of vaelib.course.plots, with its meanings; in the dark, what the page makes of them. */
.vf { --prior: #777777; --posterior: #108a63; --q: #2b7bba; --data: currentColor; --bound: #c0600a;
  --evidence: currentColor; --gap: #c2477f; --score: #7b52ab;
  --a: var(--q); --b: var(--bound); --c: var(--posterior); --d: var(--gap); --grey: var(--prior);
  max-width: 46rem; margin: 1rem 0; padding: .75rem; border: 1px solid var(--grey);
  border-radius: .5rem; color: inherit; font-size: .9rem; line-height: 1.35; }
.vf .hint { margin: 0 0 .5rem; font-weight: 600; }
html[data-theme="dark"] .vf { --prior: #888888; --posterior: #35af88; --q: #4d9ddc; --bound: #e2822c;
  --gap: #f77cb4; --score: #b88fe8; }
.vf .equation { margin: .5rem 0 0; font-size: 1.05rem; font-variant-numeric: tabular-nums; }
.vf .said { margin: .5rem 0 0; font-variant-numeric: tabular-nums; }
.vf .stage { display: flex; flex-wrap: wrap; gap: .75rem; }
.vf .stage > * { flex: 1 1 16rem; min-width: 0; }
.vf .sliders { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 17rem), 1fr));
  gap: .25rem 1.5rem; margin-top: .5rem; }
.vf .others { display: flex; flex-wrap: wrap; gap: .5rem .75rem; margin-top: .5rem; }
.vf label { display: flex; align-items: center; gap: .5rem; margin: 0; }
.vf label.slider span { flex: 0 0 auto; }
.vf input[type=range] { flex: 1 1 6rem; min-width: 5rem; min-height: 1.75rem; margin: 0;
  accent-color: var(--a); }
.vf input[type=checkbox] { width: 1.15rem; height: 1.15rem; accent-color: var(--a); }
.vf output { flex: 0 0 3.2rem; text-align: right; font-variant-numeric: tabular-nums; }
.vf button, .vf select { min-height: 2rem; padding: .2rem .7rem; border: 1px solid var(--grey);
  border-radius: .35rem; background: transparent; color: inherit; font: inherit; cursor: pointer; }
.vf select option { color: black; background: white; }
.vf :is(button, select, input, [tabindex]):focus-visible { outline: 3px solid var(--a);
  outline-offset: 2px; }
.vf svg { display: block; width: 100%; overflow: visible; color: inherit; }
.vf svg text { fill: currentColor; font-size: 13px; font-family: inherit; }
.vf svg .axis { stroke: currentColor; stroke-opacity: .6; fill: none; }
.vf svg .line { fill: none; }
.vf svg .handle { cursor: grab; }
.vf svg .handle:active { cursor: grabbing; }
.vf canvas { display: block; image-rendering: pixelated; }
@media (pointer: coarse) {
  .vf :is(button, select), .vf input[type=range], .vf .others label { min-height: 2.75rem; }
}
`;

// ---- the frame of a figure ----

/** Build the frame in `el`; `draw` is called with it whenever a setting or the width has changed. */
export function figure({ model, el }, { name, hint }, draw) {
  const root = append(el, "div", { class: "vf", role: "group", "aria-label": name });
  append(root, "style").textContent = STYLE;
  append(root, "p", { class: "hint" }).textContent = hint;
  const stage = append(root, "div", { class: "stage" });
  const equation = append(root, "p", { class: "equation", hidden: "" });
  const sliders = append(root, "div", { class: "sliders" });
  const others = append(root, "div", { class: "others" });
  const said = append(root, "p", { class: "said" });
  const redraws = [];
  let frame = null;
  const self = {
    model, root, stage, sliders, others, redraws,
    get: (key) => model.get(key),
    /** Set traits, as a hand on a control does: Python hears of it. */
    set(changes) {
      for (const [key, value] of Object.entries(changes)) model.set(key, value);
      model.save_changes();
    },
    /**
     * What the picture shows, as an equation with its numbers: texts, or pairs of a text and the
     * colour of what it names, as "var(--bound)".
     */
    equation(parts) {
      equation.hidden = false;
      equation.replaceChildren(...parts.map((part) => {
        const [text, color] = [part].flat();
        const made = document.createElement("span");
        made.textContent = minus(text);
        // A little of the ink, so that letters are dark enough on the page.
        const ink = `color-mix(in srgb, ${color} 85%, currentColor)`;
        if (color) Object.assign(made.style, { color: ink, fontWeight: 600 });
        return made;
      }));
    },
    /** The numbers of the figure in a sentence, for everybody. */
    say: (text) => { said.textContent = minus(text); },
    /** Draw before the next frame, once, however many changes there were. */
    later() {
      frame ??= requestAnimationFrame(() => {
        frame = null;
        for (const redraw of redraws) redraw();
        draw(self);
      });
    },
  };
  model.on("change", self.later);
  const watch = new ResizeObserver(self.later);
  watch.observe(stage);
  self.later();
  self.close = () => {
    model.off("change", self.later);
    watch.disconnect();
    cancelAnimationFrame(frame);
  };
  return self;
}

/** Append an element with attributes. */
export function append(parent, tag, attributes = {}) {
  const svg = tag === "svg" || parent.namespaceURI === "http://www.w3.org/2000/svg";
  const made = svg
    ? document.createElementNS("http://www.w3.org/2000/svg", tag)
    : document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  parent.append(made);
  return made;
}

// ---- controls: native, labelled, bound to a trait ----

export function slider(figure, key, { label, min, max, step, show = (v) => v.toFixed(2) }) {
  const box = append(figure.sliders, "label", { class: "slider" });
  append(box, "span").textContent = label;
  const input = append(box, "input", { type: "range", min, max, step });
  const output = append(box, "output");
  input.oninput = () => figure.set({ [key]: Number(input.value) });
  figure.redraws.push(() => {
    const value = figure.get(key);
    input.value = value;
    input.setAttribute("aria-valuetext", minus(show(value)));
    output.textContent = minus(show(value));
  });
  return input;
}

export function checkbox(figure, key, label) {
  const box = append(figure.others, "label");
  const input = append(box, "input", { type: "checkbox" });
  append(box, "span").textContent = label;
  input.onchange = () => figure.set({ [key]: input.checked });
  figure.redraws.push(() => { input.checked = figure.get(key); });
  return input;
}

/** A list to choose from; `options` are pairs of a value and its text. */
export function choice(figure, key, label, options) {
  const box = append(figure.others, "label");
  append(box, "span").textContent = label;
  const select = append(box, "select");
  for (const [value, text] of options) append(select, "option", { value }).textContent = text;
  select.onchange = () => {
    figure.set({ [key]: options.find(([value]) => String(value) === select.value)[0] });
  };
  figure.redraws.push(() => { select.value = figure.get(key); });
  return select;
}

export function button(figure, label, action) {
  const made = append(figure.others, "button", { type: "button" });
  made.textContent = label;
  made.onclick = action;
  return made;
}

/** A button that puts these settings back to what they were when the page was opened. */
export function reset(figure, keys) {
  const first = Object.fromEntries(keys.map((key) => [key, structuredClone(figure.get(key))]));
  return button(figure, "Reset", () => figure.set(structuredClone(first)));
}

// ---- plots ----

/**
 * Axes in the stage. `x` and `y` are the ranges; what is drawn in `layer` is cleared by `clear`.
 * `ticks` says which axes have numbers: true, false, "x" or "y".
 * The picture is as wide as its place, so that letters have one size on a phone and on a desk.
 */
export function plot(figure, { x, y, height = 260, xlabel = "", ylabel = "", ticks = true }) {
  const svg = append(figure.stage, "svg", { role: "img", height });
  // Of two figures on a page each has its copy of this script: a number would be there twice.
  const name = `vf-${Math.random().toString(36).slice(2)}`;
  const opening = append(append(svg, "clipPath", { id: name }), "rect");
  const inside = { "clip-path": `url(#${name})` };
  const axes = append(svg, "g", { "aria-hidden": "true" });
  const layer = append(svg, "g", { "aria-hidden": "true" });
  const handles = append(svg, "g", { "aria-hidden": "true" });
  const grips = [];
  const left = ylabel || (ticks && ticks !== "x") ? 46 : 10;
  const margin = { left, right: 12, top: 12, bottom: ticks ? 42 : 12 };
  const self = { svg, layer, x, y, width: 320 };
  const inner = () => self.width - margin.left - margin.right;
  const tall = height - margin.top - margin.bottom;
  self.X = (v) => margin.left + ((v - self.x[0]) / (self.x[1] - self.x[0])) * inner();
  self.Y = (v) => margin.top + ((self.y[1] - v) / (self.y[1] - self.y[0])) * tall;

  figure.redraws.push(() => {
    self.width = Math.max(200, svg.getBoundingClientRect().width);
    svg.setAttribute("viewBox", `0 0 ${self.width} ${height}`);
    layer.replaceChildren();
    drawAxes();
  });
  /** Other ranges, before anything is drawn. */
  self.range = (x1, y1) => {
    [self.x, self.y] = [x1, y1];
    drawAxes();
  };
  function drawAxes() {
    axes.replaceChildren();
    const [left, right] = [self.X(self.x[0]), self.X(self.x[1])];
    const [bottom, top] = [self.Y(self.y[0]), self.Y(self.y[1])];
    append(axes, "path", { class: "axis", d: `M${left} ${top}V${bottom}H${right}` });
    const edge = 6;  // so much of a dot or a line on the axis itself is seen
    const sides = { x: left - edge, y: top - edge,
      width: right - left + 2 * edge, height: bottom - top + 2 * edge };
    for (const [key, value] of Object.entries(sides)) opening.setAttribute(key, value);
    if (ticks && ticks !== "y") {
      for (const v of nice(self.x, inner() / 45)) {
        const at = { x: self.X(v), y: bottom + 17, "text-anchor": "middle" };
        append(axes, "path", { class: "axis", d: `M${at.x} ${bottom}v4` });
        append(axes, "text", at).textContent = minus(String(v));
      }
    }
    if (ticks && ticks !== "x") {
      for (const v of nice(self.y, tall / 45)) {
        const at = { x: left - 7, y: self.Y(v) + 4, "text-anchor": "end" };
        append(axes, "path", { class: "axis", d: `M${left} ${self.Y(v)}h-4` });
        append(axes, "text", at).textContent = minus(String(v));
      }
    }
    if (xlabel) {
      const at = { x: (left + right) / 2, y: height - 5, "text-anchor": "middle" };
      append(axes, "text", at).textContent = xlabel;
    }
    if (ylabel) append(axes, "text", { x: left + 5, y: top + 8 }).textContent = ylabel;
  }

  /** A curve through points [[x, y], …]; what is beyond the axes is not seen, as of areas, dots. */
  self.curve = (points, color, attributes = {}) =>
    append(layer, "path", { class: "line", stroke: color, "stroke-width": 2.2,
      d: path(self, points), ...inside, ...attributes });
  /** The area between the points and y = 0. */
  self.area = (points, color, opacity = 0.3) => {
    const closed = [[points[0][0], 0], ...points, [points.at(-1)[0], 0]];
    const d = path(self, closed) + "Z";
    return append(layer, "path", { d, fill: color, "fill-opacity": opacity, ...inside });
  };
  self.dot = ([u, v], color, radius = 3, attributes = {}) =>
    append(layer, "circle",
      { cx: self.X(u), cy: self.Y(v), r: radius, fill: color, ...inside, ...attributes });
  self.rect = ([u0, v0], [u1, v1], color, opacity = 1) =>
    append(layer, "rect", {
      x: Math.min(self.X(u0), self.X(u1)), y: Math.min(self.Y(v0), self.Y(v1)),
      width: Math.abs(self.X(u1) - self.X(u0)), height: Math.abs(self.Y(v1) - self.Y(v0)),
      fill: color, "fill-opacity": opacity,
    });
  self.text = ([u, v], text, attributes = {}) => {
    append(layer, "text", { x: self.X(u), y: self.Y(v), ...attributes }).textContent = text;
  };
  /** The picture in a sentence, for who cannot see it. */
  self.describe = (text) => svg.setAttribute("aria-label", text);

  /**
   * A handle that follows a mouse or a finger: `place` gives its point, `move` gets a new one.
   * Every setting that a handle moves also has a native control, which is for the keyboard.
   */
  self.handle = (color, place, move) => {
    const handle = append(handles, "g", { class: "handle" });
    append(handle, "circle", { r: 22, fill: "transparent" });  // as large as a finger
    append(handle, "circle", { r: 8, fill: color, stroke: "currentColor", "stroke-width": 1.5 });
    figure.redraws.push(() => {
      const [u, v] = place();
      handle.setAttribute("transform", `translate(${self.X(u)} ${self.Y(v)})`);
    });
    grips.push({ place, move });
    return handle;
  };
  // Handles may be closer to each other than a finger is wide: the nearest is meant.
  let held;
  drag(handles, (event, first) => {
    const at = self.point(event);
    const far = ({ place }) => {
      const [u, v] = place();
      return Math.hypot(self.X(u) - self.X(at[0]), self.Y(v) - self.Y(at[1]));
    };
    if (first) held = grips.reduce((a, b) => (far(b) <= far(a) ? b : a));  // the last is on top
    held.move(...at);
  });
  /** Where in the plot's own coordinates an event happened, kept within the axes. */
  self.point = (event) => {
    const box = svg.getBoundingClientRect();
    const u = (event.clientX - box.left) * (self.width / box.width);
    const v = (event.clientY - box.top) * (height / box.height);
    return [
      within(self.x[0] + ((u - margin.left) / inner()) * (self.x[1] - self.x[0]), self.x),
      within(self.y[1] - ((v - margin.top) / tall) * (self.y[1] - self.y[0]), self.y),
    ];
  };
  return self;
}

/**
 * Call `move` with each event from a press to its release, wherever the mouse or the finger goes.
 *
 * A browser lets a finger scroll the page, and cancels the drag, unless the first touch is refused.
 * CSS could say so too, by `touch-action`, but not of a part of an SVG.
 */
export function drag(element, move) {
  const refuse = (event) => { if (event.cancelable) event.preventDefault(); };
  element.addEventListener("touchstart", refuse, { passive: false });
  element.addEventListener("pointerdown", (event) => {
    if (!event.isPrimary || event.button !== 0) return;  // another finger, or a menu
    element.setPointerCapture(event.pointerId);
    event.preventDefault();
    move(event, true);
  });
  element.addEventListener("pointermove", (event) => {
    if (element.hasPointerCapture(event.pointerId)) move(event, false);
  });
}

export const within = (v, [low, high]) => Math.min(Math.max(v, low), high);
/** A number as the settings keep it: dragged values are rounded to the slider's step. */
export const rounded = (v, step = 0.01) => Number((Math.round(v / step) * step).toFixed(6));

function path(plot, points) {
  return "M" + points.map(([u, v]) => `${plot.X(u).toFixed(2)} ${plot.Y(v).toFixed(2)}`).join("L");
}

/** Round numbers in a range, about `count` of them. */
function nice([low, high], count) {
  const raw = (high - low) / Math.max(count, 1);
  const unit = 10 ** Math.floor(Math.log10(raw));
  const step = [1, 2, 5, 10].find((m) => m * unit >= raw) * unit;
  const found = [];
  for (let k = Math.ceil(low / step - 1e-9); k * step <= high + 1e-9 * step; k += 1) {
    found.push(Number((k * step).toFixed(10)));
  }
  return found;
}

// ---- numbers ----

/** A hyphen before a number is a minus sign. */
export const minus = (text) => text.replace(/-(?=[\d.])/g, "−");

/** `count` values from `low` to `high`, both included. */
export const linspace = (low, high, count) =>
  Array.from({ length: count }, (_, i) => low + ((high - low) * i) / (count - 1));

export const sum = (values) => values.reduce((total, v) => total + v, 0);

export const logSumExp = (values) => {
  const top = Math.max(...values);
  return top === -Infinity ? top : top + Math.log(sum(values.map((v) => Math.exp(v - top))));
};

export const logNormal = (x, loc, scale) =>
  -0.5 * ((x - loc) / scale) ** 2 - Math.log(scale) - 0.5 * Math.log(2 * Math.PI);

/** Standard normal numbers from a seed (mulberry32, then Box and Muller), the same everywhere. */
export function normals(count, seed) {
  let state = seed >>> 0;
  const uniform = () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return (((t ^ (t >>> 14)) >>> 0) + 0.5) / 4294967296;
  };
  return Array.from({ length: count }, () =>
    Math.sqrt(-2 * Math.log(uniform())) * Math.cos(2 * Math.PI * uniform()));
}
