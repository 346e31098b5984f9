import { figure, slider, plot, button, linspace, logNormal, normals, rounded, within, sum } from "./figure.js";

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

const END = 6.5;  // of the z that are shown: as far as the handles go

/** q · (log q − log p) over [−reach, reach], and axes that hold all of its area. */
export function integrand({ q_loc, q_scale, p_loc, p_scale }) {
  const needed = Math.abs(q_loc) + 4 * q_scale;
  const reach = [END, 9, 14].find((end) => end >= needed) ?? needed;
  const points = linspace(-reach, reach, 561).map((z) => {
    const log_q = logNormal(z, q_loc, q_scale);
    return [z, Math.exp(log_q) * (log_q - logNormal(z, p_loc, p_scale))];
  });
  const top = Math.max(...points.map(([, v]) => v));
  const high = [1.4, 3, 6, 12, 25, 50, 100, 200, 500].find((end) => end >= 1.05 * top) ?? 2 * top;
  return { points, x: [-reach, reach], y: [-0.6, high] };  // q log(q / p) ≥ −p / e > −0.5
}

const Z = linspace(-END, END, 261);
const LOC = { min: -4, max: 4, step: 0.05 };
const SCALE = { min: 0.3, max: 2.5, step: 0.05 };

function render({ model, el }) {
  const settings = () => Object.fromEntries(
    ["q_loc", "q_scale", "p_loc", "p_scale", "samples", "seed"].map((name) => [name, self.get(name)]));
  const self = figure({ model, el }, {
    name: "Two Gaussians and both KL divergences",
    hint: "Try: make q narrow and put it inside p. Then swap the two.",
  }, draw);
  let area;
  self.redraws.push(() => {  // before the axes are drawn, which must hold all of the area
    area = integrand(settings());
    [bottom.x, bottom.y] = [area.x, area.y];
  });
  const top = plot(self, { x: [-END, END], y: [0, 1.4], xlabel: "z", ylabel: "density" });
  const bottom = plot(self, { x: [-END, END], y: [-0.6, 1.4], xlabel: "z", ylabel: "q · (log q − log p)" });
  for (const [name, color] of [["q", "var(--a)"], ["p", "var(--b)"]]) {
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
  button(self, "New samples", () => self.set({ seed: self.get("seed") + 1 }));
  button(self, "Swap q and p", () => self.set({
    q_loc: self.get("p_loc"), q_scale: self.get("p_scale"),
    p_loc: self.get("q_loc"), p_scale: self.get("q_scale"),
  }));

  function draw() {
    const at = settings();
    const log_q = Z.map((z) => logNormal(z, at.q_loc, at.q_scale));
    const log_p = Z.map((z) => logNormal(z, at.p_loc, at.p_scale));
    const bell = (log_density) => Z.map((z, i) => [z, Math.exp(log_density[i])]);
    top.curve(bell(log_q), "var(--a)");
    top.curve(bell(log_p), "var(--b)", { "stroke-dasharray": "7 4" });
    top.text([at.q_loc, Math.exp(logNormal(0, 0, at.q_scale))], "q", { dx: 12, dy: -6 });
    top.text([at.p_loc, Math.exp(logNormal(0, 0, at.p_scale))], "p", { dx: 12, dy: -6 });

    bottom.area(area.points.map(([z, v]) => [z, Math.max(v, 0)]), "var(--c)", 0.45);
    bottom.area(area.points.map(([z, v]) => [z, Math.min(v, 0)]), "var(--d)", 0.45);
    bottom.curve(area.points, "currentColor", { "stroke-width": 1.2 });

    const found = values(at);
    const nats = (v) => v.toFixed(3);
    self.say(
      `KL(q ‖ p) = ${nats(found.forth)} nats, KL(p ‖ q) = ${nats(found.back)} nats. ` +
      `From ${at.samples} samples of q: KL(q ‖ p) ≈ ${nats(found.estimate)} ± ${nats(found.error)}.`);
    top.describe(
      `Densities of q, at ${at.q_loc} with scale ${at.q_scale}, and p, at ${at.p_loc} with scale ${at.p_scale}.`);
    bottom.describe(
      `The integrand of KL(q ‖ p): its positive area minus its negative one is ${nats(found.forth)} nats.`);
  }
  return self.close;
}

export default { render };
