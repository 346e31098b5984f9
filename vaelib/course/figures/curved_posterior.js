import { figure, slider, checkbox, choice, button, reset, plot, append, linspace, logNormal, logSumExp, minus, normals, rounded, within, sum } from "./figure.js";

// One observed x and a curve x = f(z): the row p(x, z), its sum p(x), the exact posterior that is
// their quotient, and two Gaussians in the posterior's place, Laplace's and a network's.

// f, its first two derivatives, which Laplace needs, and where it is x
const MODELS = {
  bend: {
    text: "a bowl, x = ½ z² + 0.3 z", f: (z) => 0.5 * z * z + 0.3 * z, df: (z) => z + 0.3,
    d2f: () => 1, solve: (x) => [-1, 1].map((sign) => -0.3 + sign * Math.sqrt(0.09 + 2 * x)),
  },
  line: { text: "a line, x = 2 z", f: (z) => 2 * z, df: () => 2, d2f: () => 0,
    solve: (x) => [x / 2] },
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

  const peak = log_posterior.indexOf(Math.max(...log_posterior));
  return {
    log_evidence, log_joint, log_posterior, mean, stddev, positive,
    peak: Z[peak], row: Math.exp(log_joint[peak]), density: Math.exp(log_posterior[peak]),
    humps: log_joint.filter((v, i) => v > log_joint[i - 1] && v >= log_joint[i + 1]).length,
    entropy: -mean_under(log_posterior),
    ...guessed(samples, seed, log_likelihood),
    // as a part of the highest weight that any z could have
    weight: (z) => Math.exp(-0.5 * ((x - f(z)) / scale) ** 2),
    laplace: judged(laplace(MODELS[model], x, scale, Z[peak])),
    network: judged(interpolated(network, x)),
  };
}

/** What samples of the prior, whose weights are p(x | z), say of the evidence. */
function guessed(samples, seed, log_likelihood) {
  const drawn = normals(samples, seed);
  if (!samples) return { drawn };
  const log_w = drawn.map(log_likelihood);
  const estimate = logSumExp(log_w) - Math.log(samples);
  const relative = log_w.map((v) => Math.exp(v - estimate));  // w / mean(w): its mean is 1
  const spread = Math.sqrt(sum(relative.map((r) => (r - 1) ** 2)) / (samples - 1));
  return {
    drawn, estimate, error: spread / Math.sqrt(samples),
    effective: samples ** 2 / sum(relative.map((r) => r * r)),
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
const CHEAP = 0.1;  // nats: what the task asks of the network
const signed = (v, digits = 2) => minus(v.toFixed(digits).replace(/^-(?=0\.?0*$)/, ""));
const short = (v) => String(Number(v.toPrecision(3)));

function render({ model, el }) {
  const has_network = model.get("network").length > 0;
  const self = figure({ model, el }, {
    name: "The posterior of a curved model",
    hint: has_network
      ? `Try: for which x does the network cost less than ${CHEAP} nats?`
      : "Try: drag x up from 0. At which x does one hump become two?",
  }, draw);
  let at, found;
  self.redraws.push(() => {  // before the axes are drawn, which must hold the highest curve
    at = Object.fromEntries(NAMES.map((name) => [name, self.get(name)]));
    found = values(at);
    const top = Math.max(found.density, ...gaussians().map(({ q }) => 0.4 / q.scale));
    lower.y = [0, 1.25 * ([0.8, 1.2, 1.6, 2.4, 4, 6, 8, 12, 16].find((v) => v >= top) ?? 24)];
  });
  const place = { x: [-3.5, 3.5], xlabel: "z" };
  const upper = plot(self, { ...place, y: [-1.5, 6.8], ylabel: "x", height: 250 });
  const lower = plot(self, { ...place, y: [0, 1], height: 210 });
  for (const { svg } of [upper, lower]) svg.style.flexBasis = "100%";  // one z axis under the other
  upper.handle("var(--data)", () => [3.3, self.get("x")], (_, x) => {
    self.set({ x: rounded(within(x, [X.min, X.max]), X.step) });
  });
  slider(self, "x", { label: "observed x", ...X, show: (v) => signed(v) });
  if (!has_network) {  // which was trained for one model and one σ
    slider(self, "scale", { label: "noise σ", min: 0.1, max: 1, step: 0.01 });
    choice(self, "model", "Model", Object.entries(MODELS).map(([key, { text }]) => [key, text]));
    choice(self, "samples", "Guesses from the prior",
      [[0, "none"], ...[10, 100, 1000].map((n) => [n, String(n)])]);
    const again = button(self, "New guesses", () => self.set({ seed: self.get("seed") + 1 }));
    self.redraws.push(() => { again.hidden = !self.get("samples"); });
  }
  checkbox(self, "show_laplace", "Laplace");
  if (has_network) checkbox(self, "show_network", "Network");
  reset(self, NAMES.filter((name) => name !== "network"));

  const gaussians = () => [
    { name: "network", q: at.show_network && found.network, color: "var(--q)" },
    { name: "Laplace", q: at.show_laplace && found.laplace, color: "var(--q)", dash: "7 4" },
  ].filter(({ q }) => q);

  function draw() {
    drawCurve();
    drawDensities();
    const [judged] = gaussians();
    self.equation(judged ? surplus(judged) : quotient());
    self.say(gaussians().map(({ name, q }) =>
      `${capital(name)} ${signed(q.loc)} ± ${signed(q.scale)} costs ${signed(q.kl)} nats`)
      .concat(found.drawn.length ? [guesses()] : judged ? [] : [humps()]).join("; ") + ".");
  }

  /** The row at the observed x, divided by its area, where the posterior is highest. */
  function quotient() {
    return [
      ["p(z | x)", "var(--posterior)"], " = p(x, z) ÷ p(x), at the peak: ",
      `${short(found.row)} ÷ ${short(Math.exp(found.log_evidence))} = `,
      [short(found.density), "var(--posterior)"],
    ];
  }

  /** The surprise of one who believes q, less that of one who knows. As printed, it adds up. */
  function surplus({ q }) {
    const [own, extra] = [found.entropy, q.kl].map((v) => Number(v.toFixed(2)));
    return [
      "extra surprise = ", ["E[−log q]", "var(--q)"], " − ",
      ["E[−log p(z | x)]", "var(--posterior)"],
      ` = ${signed(own + extra)} − ${own < 0 ? `(${signed(own)})` : signed(own)} = `,
      [`${signed(extra)} nats`, "var(--gap)"], q.kl < CHEAP ? ` ✓ under ${CHEAP}` : "",
    ];
  }

  const humps = () =>
    `${found.humps === 1 ? "One hump" : "Two humps"}; ${(100 * found.positive).toFixed(0)} % of ` +
    `the posterior lies right of z = 0`;
  const guesses = () =>
    `${at.samples} guesses: log p(x) ≈ ${signed(found.estimate)} ± ${signed(found.error)}, ` +
    `exact ${signed(found.log_evidence)}; they count as ${signed(found.effective, 1)}`;

  function drawCurve() {
    const { f } = MODELS[at.model];
    const seen = Z.filter((z) => Math.abs(z) < 3.5 && f(z) - 2 * at.scale < CUT);
    const kept = (v) => within(v, [upper.y[0], CUT]);
    const area = (left, right, color) =>
      upper.curve([...left, ...right.reverse()], "none",
        { style: `fill: ${color}; fill-opacity: .2` });
    area(seen.map((z) => [z, kept(f(z) + 2 * at.scale)]),
      seen.map((z) => [z, kept(f(z) - 2 * at.scale)]), "var(--prior)");
    upper.curve(seen.filter((z) => f(z) < CUT).map((z) => [z, f(z)]), "var(--prior)");
    if (gaussians().some(({ name }) => name === "network")) {  // at every x
      const edge = (sign) => at.network.map(([x, loc, scale]) => [loc + sign * 2 * scale, x]);
      area(edge(-1), edge(1), "var(--q)");
    }
    upper.curve([[-3.5, at.x], [3.5, at.x]], "var(--data)", { "stroke-width": 1.5 });
    gaussians().forEach(({ q, color, dash = "none" }, row) => {
      upper.curve([-2, 2].map((k) => [q.loc + k * q.scale, at.x]), color,
        { "stroke-width": 5, "stroke-dasharray": dash, transform: `translate(0 ${8 * row})` });
    });
    // Straight down from where the line cuts the curve, to the densities
    for (const z of MODELS[at.model].solve(at.x).filter((z) => Math.abs(z) < 3.5)) {
      const line = { "stroke-width": 1, "stroke-dasharray": "2 3" };
      upper.curve([[z, at.x], [z, upper.y[0]]], "var(--data)", line);
      lower.curve([[z, 0.8 * lower.y[1]], [z, 0]], "var(--data)", line);
    }
    let hits = 0;
    for (const z of found.drawn) {
      const weight = found.weight(z);
      const hit = weight > COUNTS;
      hits += hit;
      if (f(z) > CUT || Math.abs(z) > 3.5) continue;
      const radius = hit ? 2.5 + 4 * Math.sqrt(weight) : 2.5;
      const color = hit ? "var(--posterior)" : "var(--prior)";
      upper.dot([z, f(z)], color, radius, { "fill-opacity": 0.6 });
    }
    legend(upper, [
      { name: "f(z) ± 2σ", color: "var(--prior)" },
      { name: "observed x", color: "var(--data)" },
      ...gaussians().map(({ name, ...one }) => ({ name: `${name} ± 2 scales`, ...one })),
      ...(at.samples ? [
        { name: `${hits} guesses count`, color: "var(--posterior)", dot: 5 },
        { name: `${at.samples - hits} miss`, color: "var(--prior)", dot: 2.5 },
      ] : []),
    ]);
    upper.describe(
      `The model is ${MODELS[at.model].text} with noise σ = ${signed(at.scale)}, the observed ` +
      `x = ${signed(at.x)}` +
      (at.samples ? `, and ${at.samples} guesses from the prior: ${hits} near x count.` : "."));
  }

  function drawDensities() {
    const near = Z.map((z, i) => [z, i]).filter(([z]) => Math.abs(z) < 3.5);
    const bell = ({ loc, scale }) => near.map(([z]) => [z, Math.exp(logNormal(z, loc, scale))]);
    const exact = near.map(([z, i]) => [z, Math.exp(found.log_posterior[i])]);
    const row = near.map(([z, i]) => [z, Math.exp(found.log_joint[i])]);
    lower.curve(bell({ loc: 0, scale: 1 }), "var(--prior)", { "stroke-width": 1.5 });
    if (gaussians().length) lower.area(exact, "var(--posterior)", 0.25);
    else lower.area(row, "var(--posterior)", 0.35);
    lower.curve(exact, "var(--posterior)", { "stroke-width": 3 });
    for (const { q, color, dash = "none" } of gaussians()) {
      lower.curve(bell(q), color, { "stroke-dasharray": dash });
    }
    legend(lower, [
      { name: "prior", color: "var(--prior)" },
      ...(gaussians().length ? [] : [
        { name: "row p(x, z)", color: "var(--posterior)", wide: 10, faint: 0.35 },
      ]),
      { name: "posterior p(z | x)", color: "var(--posterior)" },
      ...gaussians(),
    ]);
    lower.describe(
      `Densities over z: the prior, the posterior with mean ${signed(found.mean)} and standard ` +
      `deviation ${signed(found.stddev)}` + gaussians().map(({ name, q }) =>
        `, ${name} at ${signed(q.loc)} with scale ${signed(q.scale)}`).join("") + ".");
  }
  return self.close;
}

const capital = (text) => text[0].toUpperCase() + text.slice(1);

/** Names of what is drawn, in rows along the top. */
function legend(place, entries) {
  const left = 66;
  let [u, v] = [left, 20];
  for (const { name, color, dash = "none", dot, wide: thick = 2.5, faint = 1 } of entries) {
    const group = append(place.layer, "g");
    if (dot) append(group, "circle", { cx: 8, cy: -4, r: dot, fill: color });
    else {
      append(group, "path",
        { d: "M0 -4h18", stroke: color, "stroke-width": thick, "stroke-opacity": faint,
          "stroke-dasharray": dash });
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
