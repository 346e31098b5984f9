import {
  figure, slider, checkbox, button, reset, plot, linspace, normals, rounded, within, sum,
} from "./figure.js";

// One gradient, d/dμ E[(x − k)²] for x = μ + σε, from the same noise in two ways: by the slope of
// each cup's cost, and, where it is compared, by the score function. loc is μ, scale is σ.

const pathwise = (x, { k }) => 2 * (x - k);  // the slope of the cost at x
// The cost, times the slope of log q in loc: it needs no derivative of the cost.
const score = (x, { loc, scale, k }) => (x - k) ** 2 * ((x - loc) / scale ** 2);

export function values({ loc, scale, k, marked, samples, seed }) {
  const at = { loc, scale, k };
  const a = loc - k;
  const eps = normals(samples, seed);
  const x = eps.map((e) => loc + scale * e);
  const summary = (estimates, variance) => {
    const mean = sum(estimates) / samples;
    const spread = sum(estimates.map((g) => (g - mean) ** 2)) / (samples - 1);
    // A cost is never negative, so a score-function estimate has the sign of its own noise.
    const wrong = estimates.filter((g) => g * a < 0).length;
    return { estimates, mean, variance: spread, error: Math.sqrt(spread / samples), exact: variance,
      wrong };
  };
  const one = loc + scale * marked;
  return {
    eps, x,
    gradient: 2 * a,
    pathwise: summary(x.map((v) => pathwise(v, at)), 4 * scale ** 2),
    score: summary(x.map((v) => score(v, at)), a ** 4 / scale ** 2 + 14 * a ** 2 + 15 * scale ** 2),
    marked: { x: one, cost: (one - k) ** 2, pathwise: pathwise(one, at), score: score(one, at) },
  };
}

const LOC = { min: -3, max: 3, step: 0.1 };
const SCALE = { min: 0.4, max: 2, step: 0.05 };
const K = { min: -6, max: 6, step: 0.1 };
const MARKED = { min: -3, max: 3, step: 0.05 };
// Heights in the upper plot: noise, samples, and below them the cost, which is 60 at CEILING.
const NOISE = 0.9;
const SAMPLE = 0.54;
const CEILING = 0.44;
const level = (cost) => (CEILING * cost) / 60;
const BINS = 56;
const TALL = 0.8;  // of the lower plot, for the fullest of its bins

function render({ model, el }) {
  const self = figure({ model, el }, {
    name: "One gradient from one noise, pathwise and by the score",
    hint: "Try: k = −3, μ = σ = 1. Drag the marked noise ε from −1 to 1. What does its cup advise?",
  }, draw);
  self.root.querySelector(".equation").style.whiteSpace = "pre-line";
  const keys = ["loc", "scale", "k", "marked", "compare", "samples", "seed"];
  const settings = () => Object.fromEntries(keys.map((name) => [name, self.get(name)]));
  let found;
  self.redraws.push(() => {  // before the axes are drawn, for they depend on the estimates
    const at = settings();
    found = values(at);
    const shown = [found.pathwise, ...(at.compare ? [found.score] : [])];
    below.x = span([...shown.flatMap((g) => g.estimates), 0]);
    below.y = at.compare ? [-1, 1] : [0, 1];
  });
  const top = plot(self, { x: [-9, 9], y: [0, 1], height: 320, ticks: "x", xlabel: "level x" });
  const below = plot(self, { x: [-1, 1], y: [0, 1], height: 320, ticks: "x",
    xlabel: "advice of single cups (dashed: the truth)" });

  top.handle("currentColor", () => [self.get("marked"), NOISE], (u) => {
    self.set({ marked: rounded(within(u, [MARKED.min, MARKED.max]), MARKED.step) });
  });
  top.handle("var(--q)", () => [self.get("loc"), SAMPLE], (u) => {
    self.set({ loc: rounded(within(u, [LOC.min, LOC.max]), LOC.step) });
  });
  top.handle("var(--q)", () => [self.get("loc") + 2 * self.get("scale"), SAMPLE], (u) => {
    const scale = within((u - self.get("loc")) / 2, [SCALE.min, SCALE.max]);
    self.set({ scale: rounded(scale, SCALE.step) });
  });
  top.handle("var(--bound)", () => [self.get("k"), 0], (u) => {
    self.set({ k: rounded(within(u, [K.min, K.max]), K.step) });
  });
  slider(self, "loc", { label: "knob μ", ...LOC });
  slider(self, "scale", { label: "shaking σ", ...SCALE });
  slider(self, "k", { label: "order k", ...K });
  slider(self, "marked", { label: "marked noise ε", ...MARKED });
  checkbox(self, "compare", "and the score function");
  button(self, "New noise", () => self.set({ seed: self.get("seed") + 1 }));
  reset(self, keys);

  function draw() {
    const at = settings();
    drawSamples(top, at, found);
    drawEstimates(below, at, found);
    self.equation(equation(at, found));
    self.say(sentence(at, found));
  }
  return self.close;
}

/** The marked cup's line, its advice, and what is right, with their numbers. */
function equation({ loc, scale, k, marked, compare }, { gradient, marked: one }) {
  const less = (v) => (v < 0 ? `+ ${number(-v)}` : `− ${number(v)}`);
  const signed = (v) => (v < 0 ? `(${number(v)})` : number(v));
  return [
    `x = μ + σε = ${number(loc)} + ${number(scale)} · ${signed(marked)} = `,
    [number(one.x), "var(--q)"],
    `\nslope of its cost 2(x − k) = 2(${number(one.x)} ${less(k)}) = `,
    [number(one.pathwise), "var(--q)"],
    ...(compare ? [
      `\ncost · score (x − k)² ε/σ = ${number(one.cost)} · ${signed(marked)} / ${number(scale)} = `,
      [number(one.score), "var(--score)"],
    ] : []),
    `\nright: 2(μ − k) = 2(${number(loc)} ${less(k)}) = ${number(gradient)}`,
  ];
}

function drawSamples(top, { loc, scale, k }, { eps, x, marked }) {
  const inside = (u) => u >= top.x[0] && u <= top.x[1];
  const thin = { "stroke-width": 0.7, "stroke-opacity": 0.35 };
  eps.forEach((e, i) => {
    if (!inside(x[i])) return;
    top.curve([[e, NOISE], [x[i], SAMPLE]], "var(--prior)", thin);
    top.dot([e, NOISE], "var(--prior)", 2);
    top.dot([x[i], SAMPLE], "var(--q)", 2);
  });
  for (const height of [NOISE, SAMPLE]) {
    top.curve([[-9, height], [9, height]], "currentColor", { "stroke-width": 0.6 });
  }
  top.text([-9, NOISE], "noise ε", { dx: 4, dy: -7 });
  top.text([-9, SAMPLE], "cups x = μ + σε", { dx: 4, dy: -7 });
  top.text([loc, SAMPLE], "μ", { "text-anchor": "end", dx: 4, dy: 25 });
  top.text([loc + 2 * scale, SAMPLE], "+2σ", { dx: -8, dy: 25 });
  top.text([k, 0], "k", { "text-anchor": "middle", dy: -14 });
  const reach = Math.sqrt(60);
  const parabola = linspace(k - reach, k + reach, 121).filter(inside);
  top.curve(parabola.map((u) => [u, level((u - k) ** 2)]), "var(--bound)");

  // The marked noise falls to its cup, and on to its cost; the slope there is what it advises.
  const mine = { "stroke-width": 2 };
  const foot = level(marked.cost);
  if (inside(marked.x)) {
    const from = (marked.x - loc) / scale;
    const fall = [[from, NOISE], [marked.x, SAMPLE], [marked.x, Math.min(foot, SAMPLE)]];
    top.curve(fall, "currentColor", mine);
    top.dot([marked.x, SAMPLE], "currentColor", 4);
  }
  if (inside(marked.x) && foot < CEILING) {
    const slope = [-1.5, 1.5].map((d) => [d, marked.cost + marked.pathwise * d]);
    top.curve(slope.map(([d, cost]) => [marked.x + d, level(cost)]), "var(--q)",
      { "stroke-width": 3.5 });
    top.dot([marked.x, foot], "currentColor", 5);
    const side = marked.x > k ? { "text-anchor": "end", dx: -7 } : { dx: 7 };
    if (marked.cost > 4) {
      top.text([marked.x, foot], `cost ${number(marked.cost)}`, { ...side, dy: -16 });
    }
  }
  top.describe(
    `${eps.length} noises on the upper line, and below them the cups with knob ${loc} and ` +
    `shaking ${scale}. Under these is the cost, a parabola with its lowest point at ${k}. The ` +
    `marked cup is at ${number(marked.x)} and costs ${number(marked.cost)}.`);
}

function drawEstimates(below, at, found) {
  const [low, high] = below.x;
  const count = (estimates) => {
    const bins = Array(BINS).fill(0);
    for (const g of estimates) {
      bins[Math.min(BINS - 1, Math.floor(BINS * (g - low) / (high - low)))] += 1;
    }
    return bins;
  };
  const both = [["pathwise", found.pathwise, 1, "var(--q)"]];
  if (at.compare) both.push(["score function", found.score, -1, "var(--score)"]);
  // One scale for both: the fullest of all bins is as high as the plot allows.
  const fullest = Math.max(...both.flatMap(([, { estimates }]) => count(estimates)));
  const edge = (b) => low + ((high - low) * b) / BINS;
  for (const [name, { estimates, mean, variance }, sign, color] of both) {
    count(estimates).forEach((n, b) => {
      if (n) below.rect([edge(b), 0], [edge(b + 1), (sign * TALL * n) / fullest], color, 0.65);
    });
    const title = `${name}: mean ${number(mean)}, variance ${number(variance)}`;
    below.text([high, sign], title, { "text-anchor": "end", dy: sign > 0 ? 10 : -8 });
    below.curve([[mean, 0], [mean, sign * TALL]], color, { "stroke-width": 2.2 });
  }
  below.curve([[low, 0], [high, 0]], "currentColor", { "stroke-width": 1 });
  const exact = { "stroke-dasharray": "6 4", "stroke-width": 1.4 };
  const foot = at.compare ? -TALL : 0;
  below.curve([[found.gradient, foot], [found.gradient, TALL]], "currentColor", exact);
  below.dot([within(found.marked.pathwise, below.x), 0.05], "currentColor", 5);
  if (at.compare) below.dot([within(found.marked.score, below.x), -0.05], "currentColor", 5);
  const range = ({ estimates }) =>
    `from ${number(Math.min(...estimates))} to ${number(Math.max(...estimates))}`;
  below.describe(
    `A histogram of the pathwise estimates of ${at.samples} cups, ${range(found.pathwise)}` +
    (at.compare ? `, upwards, and of the score function's, ${range(found.score)}, downwards` : "") +
    `. A dashed line is at the exact gradient, ${number(found.gradient)}.`);
}

/** A range with room for all of the values, in round steps so that it changes rarely. */
function span(all) {
  const [low, high] = [Math.min(...all), Math.max(...all)];
  const step = 2 ** Math.ceil(Math.log2((high - low) / 8));
  return [Math.floor(low / step) * step, Math.ceil(high / step) * step];
}

const number = (v) => {
  const digits = Math.abs(v) >= 100 ? 0 : Math.abs(v) >= 10 ? 1 : 2;
  return String(Number(v.toFixed(digits))).replace("-", "−");
};

function sentence(at, { gradient, pathwise, score, marked }) {
  const one = (name, g) => {
    const wrong = gradient ? `; wrong sign: ${g.wrong}` : "";
    return `${name}: mean ${number(g.mean)} ± ${number(g.error)}, variance ` +
      `${number(g.variance)} (exactly ${number(g.exact)})${wrong}.`;
  };
  const other = at.compare ? ` ${one("Score function", score)}` : "";
  const mine = `Marked: ε = ${number(at.marked)}, x = ${number(marked.x)}, cost ` +
    `${number(marked.cost)}, slope ${number(marked.pathwise)}.`;
  return `${at.samples} cups, exact gradient ${number(gradient)}. ` +
    `${one("Pathwise", pathwise)}${other} ${mine}`;
}

export default { render };
