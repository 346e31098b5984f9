import { append, figure, slider, plot, button, reset, linspace, logNormal, normals, rounded, within, sum } from "./figure.js";

// KL(q ‖ p) and KL(p ‖ q) of two normals in one dimension: in closed form, and by Monte Carlo.

export function values({ q_loc, q_scale, p_loc, p_scale, samples, seed }) {
  const forth = kl(q_loc, q_scale, p_loc, p_scale);
  const back = kl(p_loc, p_scale, q_loc, q_scale);
  const log_ratios = normals(samples, seed).map((eps) => {
    const z = q_loc + q_scale * eps;
    return logNormal(z, q_loc, q_scale) - logNormal(z, p_loc, p_scale);
  });
  const mean = sum(log_ratios) / samples;
  const variance = sum(log_ratios.map((r) => (r - mean) ** 2)) / (samples - 1);
  return { forth, back, estimate: mean, error: Math.sqrt(variance / samples) };
}

const kl = (loc, scale, to, width) =>
  Math.log(width / scale) + (scale ** 2 + (loc - to) ** 2) / (2 * width ** 2) - 0.5;

const END = 6.5;  // of the z that are shown at most, while no Gaussian reaches beyond

/** The first of some round ends that is large enough. */
const round = (needed, ends) => ends.find((end) => end >= needed) ?? needed;

/** q · (log q − log p) over [−reach, reach], and axes that hold all of its area, and little more. */
export function integrand({ q_loc, q_scale, p_loc, p_scale }) {
  const needed = Math.max(Math.abs(q_loc) + 4 * q_scale, Math.abs(p_loc) + 3 * p_scale);
  const reach = round(needed, [3, 4, 5, END, 9, 14]);
  const points = linspace(-reach, reach, 561).map((z) => {
    const log_q = logNormal(z, q_loc, q_scale);
    return [z, Math.exp(log_q) * (log_q - logNormal(z, p_loc, p_scale))];
  });
  const top = Math.max(...points.map(([, v]) => v));
  const bottom = Math.max(...points.map(([, v]) => -v));  // q log(q / p) ≥ −p / e > −0.5
  const high = round(1.15 * top,
    [0.02, 0.05, 0.1, 0.2, 0.4, 0.7, 1.2, 2, 3, 6, 12, 25, 50, 100, 200, 500]);
  const low = round(1.15 * bottom, [0.02, 0.05, 0.1, 0.2, 0.3, 0.4, 0.6]);
  // A signed area needs both its sides, but neither may shrink the other to a line.
  return { points, x: [-reach, reach], y: [-Math.max(low, high / 8), Math.max(high, low / 2)] };
}

const LOC = { min: -4, max: 4, step: 0.05 };
const SCALE = { min: 0.3, max: 2.5, step: 0.05 };
const COLORS = { q: "var(--q)", p: "var(--prior)" };

/** A pattern of rose stripes, for what is to be taken away. */
function stripes(svg) {
  const name = `vf-${Math.random().toString(36).slice(2)}`;
  const pattern = append(append(svg, "defs"), "pattern",
    { id: name, width: 6, height: 6, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" });
  append(pattern, "path", { d: "M3 0V6", stroke: "var(--gap)", "stroke-width": 2 });
  return `url(#${name})`;
}

function render({ model, el }) {
  const keys = ["q_loc", "q_scale", "p_loc", "p_scale", "samples", "seed"];
  const settings = () => Object.fromEntries(keys.map((name) => [name, self.get(name)]));
  const self = figure({ model, el }, {
    name: "Two Gaussians and both KL divergences",
    hint: "Give both the same centre and narrow q, until KL(p ‖ q) is over four times KL(q ‖ p). Then swap them.",
  }, draw);
  let area, dragged = false;
  self.redraws.push(() => {  // before the axes are drawn, which must hold all of the area
    area = integrand(settings());
    // Under a finger the place of a z does not move; sliders and buttons look for a scale anew.
    if (!dragged) top.x = area.x;
    bottom.x = area.x[1] > top.x[1] ? area.x : top.x;
    bottom.y = area.y;
    const high = Math.max(...["q", "p"].map((name) => 0.4 / self.get(`${name}_scale`)));
    top.y = [0, round(1.15 * high, [0.2, 0.3, 0.5, 0.7, 1, 1.6])];
  });
  const top = plot(self, { x: [-END, END], y: [0, 1.6], height: 230, xlabel: "z", ylabel: "density" });
  const bottom = plot(self, {
    x: [-END, END], y: [-0.6, 1.4], height: 230, xlabel: "z", ylabel: "q · (log q − log p)",
  });
  const hatched = stripes(bottom.svg);
  top.svg.addEventListener("pointerdown", () => { dragged = true; });
  for (const event of ["input", "click"]) {
    for (const controls of [self.sliders, self.others]) {
      controls.addEventListener(event, () => { dragged = false; }, true);
    }
  }
  for (const [name, color] of Object.entries(COLORS)) {
    const density = (z) => Math.exp(logNormal(z, self.get(`${name}_loc`), self.get(`${name}_scale`)));
    // The top of the bell moves it; the handle one scale to its right sets how wide it is.
    top.handle(color, () => [self.get(`${name}_loc`), density(self.get(`${name}_loc`))], (z) => {
      self.set({ [`${name}_loc`]: rounded(within(z, [LOC.min, LOC.max]), LOC.step) });
    });
    const right = () => self.get(`${name}_loc`) + self.get(`${name}_scale`);
    top.handle(color, () => [right(), density(right())], (z) => {
      const scale = within(z - self.get(`${name}_loc`), [SCALE.min, SCALE.max]);
      self.set({ [`${name}_scale`]: rounded(scale, SCALE.step) });
    });
    slider(self, `${name}_loc`, { label: `loc of ${name}`, ...LOC });
    slider(self, `${name}_scale`, { label: `scale of ${name}`, ...SCALE });
  }
  button(self, "Swap q and p", () => self.set({
    q_loc: self.get("p_loc"), q_scale: self.get("p_scale"),
    p_loc: self.get("q_loc"), p_scale: self.get("q_scale"),
  }));
  button(self, "New samples", () => self.set({ seed: self.get("seed") + 1 }));
  reset(self, keys);

  function draw() {
    const at = settings();
    for (const [name, color] of Object.entries(COLORS)) {
      const [loc, scale] = [at[`${name}_loc`], at[`${name}_scale`]];
      const bell = linspace(...top.x, 281).map((z) => [z, Math.exp(logNormal(z, loc, scale))]);
      top.curve(bell, color, name === "p" ? { "stroke-dasharray": "7 4" } : {});
      top.text([loc, Math.exp(logNormal(0, 0, scale))], name,
        name === "q" ? { dx: -13, dy: 2, "text-anchor": "end" } : { dx: 13, dy: 2 });
    }
    bottom.area(area.points.map(([z, v]) => [z, Math.max(v, 0)]), "var(--gap)", 0.6);
    bottom.area(area.points.map(([z, v]) => [z, Math.min(v, 0)]), hatched, 1);
    bottom.curve(area.points, "var(--gap)", { "stroke-width": 1.2 });
    bottom.curve([[area.x[0], 0], [area.x[1], 0]], "currentColor", { "stroke-width": 1 });

    const found = values(at);
    const nats = (v) => v.toFixed(3);
    const q = (v) => [v.toFixed(2), COLORS.q];
    const p = (v) => [v.toFixed(2), "currentColor"];  // grey text is too faint
    const terms = [
      Math.log(at.p_scale / at.q_scale),
      (at.q_scale ** 2 + (at.q_loc - at.p_loc) ** 2) / (2 * at.p_scale ** 2),
    ];
    self.equation([
      ["KL(q ‖ p)", "var(--gap)"], " = log(", p(at.p_scale), " / ", q(at.q_scale), ") − ½ + (",
      q(at.q_scale), "² + (", q(at.q_loc), " − ", p(at.p_loc), ")²) / (2 · ", p(at.p_scale), "²) = ",
      `${nats(terms[0])} − 0.5 + ${nats(terms[1])} = `, [`${nats(found.forth)} nats`, "var(--gap)"],
    ]);
    const ratio = found.back / found.forth;
    const times = Number.isFinite(ratio) ? `, ${ratio.toFixed(2)} times as much` : "";
    self.say(
      `KL(q ‖ p) = ${nats(found.forth)} nats, KL(p ‖ q) = ${nats(found.back)} nats${times}. ` +
      `From ${at.samples} samples of q: KL(q ‖ p) ≈ ${nats(found.estimate)} ± ${nats(found.error)}.`);
    top.describe(
      `Densities of q, at ${at.q_loc} with scale ${at.q_scale}, and p, at ${at.p_loc} with scale ${at.p_scale}.`);
    bottom.describe(
      `The integrand of KL(q ‖ p): its solid area above zero minus its hatched one below is ${nats(found.forth)} nats.`);
  }
  return self.close;
}

export default { render };
