import { figure, slider, checkbox, choice, button, plot, append, linspace, logNormal, logSumExp, normals, rounded, within, sum } from "./figure.js";

// One observed x and a curve x = f(z): the exact posterior of z on a grid, what samples of the prior
// say of the evidence, and two Gaussians in the posterior's place, Laplace's and a network's.

// f, its first two derivatives, which Laplace needs, and where it is x
const MODELS = {
  bend: {
    text: "x = ½ z² + 0.3 z", f: (z) => 0.5 * z * z + 0.3 * z, df: (z) => z + 0.3, d2f: () => 1,
    solve: (x) => [-1, 1].map((sign) => -0.3 + sign * Math.sqrt(0.09 + 2 * x)),
  },
  exp: { text: "x = exp z", f: Math.exp, df: Math.exp, d2f: Math.exp, solve: (x) => [Math.log(x)] },
};
const CELL = 0.01;
const Z = linspace(-6 + CELL / 2, 6 - CELL / 2, 1200);  // midpoints, as vaelib.latent.grid has them

export function values({ model, x, scale, samples, seed, network }) {
  const { f } = MODELS[model];
  const log_likelihood = (z) => logNormal(x, f(z), scale);
  const log_joint = Z.map((z) => logNormal(z, 0, 1) + log_likelihood(z));
  const log_evidence = logSumExp(log_joint) + Math.log(CELL);
  const log_posterior = log_joint.map((v) => v - log_evidence);
  const mean_under = (terms) => sum(terms.map((v, i) => Math.exp(log_posterior[i]) * v)) * CELL;
  const mean = mean_under(Z);
  const stddev = Math.sqrt(mean_under(Z.map((z) => (z - mean) ** 2)));
  const positive = mean_under(Z.map((z) => (z > 0 ? 1 : 0)));
  // KL(posterior ‖ q): the mean extra surprise, in nats, for believing a Gaussian q
  const judged = (q) => q && {
    ...q, kl: mean_under(Z.map((z, i) => log_posterior[i] - logNormal(z, q.loc, q.scale))) };

  const drawn = normals(samples, seed);  // of the prior; their weights are p(x | z)
  const log_w = drawn.map(log_likelihood);
  const estimate = logSumExp(log_w) - Math.log(samples);
  const relative = log_w.map((v) => Math.exp(v - estimate));  // w / mean(w): its mean is 1
  const spread = Math.sqrt(sum(relative.map((r) => (r - 1) ** 2)) / (samples - 1));
  return {
    log_evidence, log_posterior, mean, stddev, positive, drawn, estimate,
    error: spread / Math.sqrt(samples),
    effective: samples ** 2 / sum(relative.map((r) => r * r)),
    // as a part of the highest weight that any z could have
    weights: drawn.map((z) => Math.exp(-0.5 * ((x - f(z)) / scale) ** 2)),
    laplace: judged(laplace(MODELS[model], x, scale, Z[log_joint.indexOf(Math.max(...log_joint))])),
    network: judged(interpolated(network, x)),
  };
}

/** Newton's climb to the top of log p(x, z) from the highest cell, and the curvature there. */
function laplace({ f, df, d2f }, x, scale, start) {
  const slope = (z) => -z + ((x - f(z)) * df(z)) / scale ** 2;
  const curvature = (z) => -1 + ((x - f(z)) * d2f(z) - df(z) ** 2) / scale ** 2;
  let loc = start;
  for (let i = 0; i < 20; i += 1) loc -= slope(loc) / curvature(loc);
  return { loc, scale: Math.sqrt(-1 / curvature(loc)) };
}

/** The network's loc and scale at x, between the rows [x, loc, scale] of its table. */
function interpolated(table, x) {
  if (!table.length) return null;
  const next = Math.max(1, table.findIndex((row) => row[0] >= x));
  const [low, high] = x > table.at(-1)[0] ? table.slice(-2) : table.slice(next - 1, next + 1);
  const part = within((x - low[0]) / (high[0] - low[0]), [0, 1]);
  const [, loc, scale] = low.map((v, i) => v + part * (high[i] - v));
  return { loc, scale };
}

const NAMES =
  ["model", "x", "scale", "samples", "seed", "network", "show_laplace", "show_network"];
const X = { min: -1, max: 5, step: 0.05 };
const CUT = 5.5;  // above it is the legend
const COUNTS = 0.05;  // a sample with less than this part of the highest weight misses
const signed = (v, digits = 2) => v.toFixed(digits).replace("-", "−");

function render({ model, el }) {
  const has_network = model.get("network").length > 0;
  const self = figure({ model, el }, {
    name: "The posterior of a curved model",
    hint: has_network
      ? "Try: drag x from 4 down to 0. Which Gaussian keeps up with the posterior?"
      : model.get("show_laplace")
        ? "Try: drag x. Where the line cuts the curve twice, how many of the two does Laplace see?"
        : "Try: drag x down to 0, then below the curve. Where does the second bump go?",
  }, draw);
  let at, found;
  self.redraws.push(() => {  // before the axes are drawn, which must hold the highest curve
    at = Object.fromEntries(NAMES.map((name) => [name, self.get(name)]));
    found = values(at);
    const top = Math.max(
      ...found.log_posterior.map(Math.exp), ...gaussians().map(({ q }) => 0.4 / q.scale));
    lower.y = [0, 1.25 * ([0.8, 1.2, 1.6, 2.4, 4, 6, 8, 12, 16].find((v) => v >= top) ?? 24)];
  });
  const place = { x: [-3.5, 3.5], xlabel: "z" };
  const upper = plot(self, { ...place, y: [-1.5, 6.8], ylabel: "x", height: 260 });
  const lower = plot(self, { ...place, y: [0, 1], height: 230 });
  for (const { svg } of [upper, lower]) svg.style.flexBasis = "100%";  // one z axis under the other
  upper.handle("var(--d)", () => [3.3, self.get("x")], (_, x) => {
    self.set({ x: rounded(within(x, [X.min, X.max]), X.step) });
  });
  slider(self, "x", { label: "x", ...X, show: (v) => signed(v) });
  if (!has_network) {  // which was trained for one model and one σ
    slider(self, "scale", { label: "noise σ", min: 0.1, max: 1, step: 0.01 });
    choice(self, "model", "Model", Object.entries(MODELS).map(([key, { text }]) => [key, text]));
  }
  choice(self, "samples", "Samples", [10, 100, 1000].map((n) => [n, String(n)]));
  button(self, "New samples", () => self.set({ seed: self.get("seed") + 1 }));
  checkbox(self, "show_laplace", "Laplace");
  if (has_network) checkbox(self, "show_network", "Network");

  const gaussians = () => [
    { name: "Laplace", q: at.show_laplace && found.laplace, color: "var(--b)", dash: "7 4" },
    { name: "network", q: at.show_network && found.network, color: "var(--c)", dash: "2 3" },
  ].filter(({ q }) => q);

  function draw() {
    drawCurve();
    drawDensities();
    const words = gaussians().map(({ name, q }) =>
      ` ${name[0].toUpperCase() + name.slice(1)}: ${signed(q.loc)} ± ${signed(q.scale)}, ` +
      `extra surprise ${signed(q.kl, 3)} nats.`);
    self.say(
      `Exact: p(x) = ${Number(Math.exp(found.log_evidence).toPrecision(3))}, ` +
      `log p(x) = ${signed(found.log_evidence, 3)} nats; ` +
      `z = ${signed(found.mean)} ± ${signed(found.stddev)}, ` +
      `P(z > 0 | x) = ${signed(found.positive)}.${words.join("")} ` +
      `${at.samples} samples of the prior: log p(x) ≈ ${signed(found.estimate)} ± ` +
      `${signed(found.error)}, effective sample size ${signed(found.effective, 1)}.`);
  }

  function drawCurve() {
    const { f } = MODELS[at.model];
    const seen = Z.filter((z) => Math.abs(z) < 3.5 && f(z) - 2 * at.scale < CUT);
    const kept = (v) => within(v, [upper.y[0], CUT]);
    const band = [
      ...seen.map((z) => [z, kept(f(z) + 2 * at.scale)]),
      ...seen.map((z) => [z, kept(f(z) - 2 * at.scale)]).reverse(),
    ];
    upper.curve(band, "none", { style: "fill: var(--grey); fill-opacity: .2" });
    upper.curve(seen.filter((z) => f(z) < CUT).map((z) => [z, f(z)]), "currentColor");
    upper.curve([[-3.5, at.x], [3.5, at.x]], "var(--d)", { "stroke-dasharray": "9 4" });
    // Straight down from where the line cuts the curve, to the densities
    for (const z of MODELS[at.model].solve(at.x).filter((z) => Math.abs(z) < 3.5)) {
      upper.curve([[z, at.x], [z, upper.y[0]]], "var(--d)", { "stroke-width": 1 });
      lower.curve([[z, 0.8 * lower.y[1]], [z, 0]], "var(--d)", { "stroke-width": 1 });
    }
    let hits = 0;
    found.drawn.forEach((z, i) => {
      const hit = found.weights[i] > COUNTS;
      hits += hit;
      if (f(z) > CUT || Math.abs(z) > 3.5) return;
      const radius = hit ? 2.5 + 4 * Math.sqrt(found.weights[i]) : 2.5;
      upper.dot([z, f(z)], hit ? "var(--a)" : "var(--grey)", radius, { "fill-opacity": 0.6 });
    });
    legend(upper, [
      { name: "f(z) ± 2σ", color: "currentColor" },
      { name: "observed x", color: "var(--d)", dash: "9 4" },
      { name: `${hits} samples count`, color: "var(--a)", dot: 5 },
      { name: `${at.samples - hits} miss`, color: "var(--grey)", dot: 2.5 },
    ]);
    upper.describe(
      `The curve ${MODELS[at.model].text} with noise σ = ${signed(at.scale)}, the observed ` +
      `x = ${signed(at.x)}, and ${at.samples} samples of the prior: ${hits} near x count.`);
  }

  function drawDensities() {
    const near = Z.map((z, i) => [z, i]).filter(([z]) => Math.abs(z) < 3.5);
    const bell = ({ loc, scale }) => near.map(([z]) => [z, Math.exp(logNormal(z, loc, scale))]);
    const exact = near.map(([z, i]) => [z, Math.exp(found.log_posterior[i])]);
    lower.curve(bell({ loc: 0, scale: 1 }), "var(--grey)", { "stroke-width": 1.5 });
    lower.area(exact, "var(--a)", 0.25);
    lower.curve(exact, "var(--a)", { "stroke-width": 3 });
    for (const { q, color, dash } of gaussians()) {
      lower.curve(bell(q), color, { "stroke-dasharray": dash });
    }
    legend(lower, [
      { name: "prior", color: "var(--grey)" }, { name: "posterior", color: "var(--a)" },
      ...gaussians(),
    ]);
    lower.describe(
      `Densities over z: the prior, the posterior with mean ${signed(found.mean)} and standard ` +
      `deviation ${signed(found.stddev)}` + gaussians().map(({ name, q }) =>
        `, ${name} at ${signed(q.loc)} with scale ${signed(q.scale)}`).join("") + ".");
  }
  return self.close;
}

/** Names of what is drawn, in rows along the top. */
function legend(place, entries) {
  const left = 66;
  let [u, v] = [left, 20];
  for (const { name, color, dash = "none", dot } of entries) {
    const group = append(place.layer, "g");
    if (dot) append(group, "circle", { cx: 8, cy: -4, r: dot, fill: color });
    else {
      append(group, "path",
        { d: "M0 -4h18", stroke: color, "stroke-width": 2.5, "stroke-dasharray": dash });
    }
    const text = append(group, "text", { x: dot ? 17 : 23 });
    text.textContent = name;
    const wide = (dot ? 17 : 23) + text.getComputedTextLength();
    if (u + wide > place.width) [u, v] = [left, v + 17];
    group.setAttribute("transform", `translate(${u} ${v})`);
    u += wide + 12;
  }
}

export default { render };
