import { figure, slider, button, plot, append, linspace, logNormal, rounded, within } from "./figure.js";

// The ELBO of a Gaussian q, and what it lacks to log p(x), where everything is a closed form:
// z ~ N(0, 1) and x | z ~ N(2z, 1).

const WEIGHT = 2;

export function values({ loc, scale, x }) {
  const precision = 1 + WEIGHT ** 2;  // of the posterior: the prior's, and what x adds
  const posterior = { loc: (WEIGHT * x) / precision, scale: 1 / Math.sqrt(precision) };
  const log_likelihood = logNormal(x, WEIGHT * loc, 1) - (WEIGHT * scale) ** 2 / 2;  // mean under q
  return {
    log_evidence: logNormal(x, 0, Math.sqrt(WEIGHT ** 2 + 1)),
    elbo: log_likelihood - kl(loc, scale, { loc: 0, scale: 1 }),
    kl: kl(loc, scale, posterior),
    posterior,
  };
}

const kl = (loc, scale, to) =>
  Math.log(to.scale / scale) + (scale ** 2 + (loc - to.loc) ** 2) / (2 * to.scale ** 2) - 0.5;

/**
 * Half the width of the contour where KL(q ‖ posterior) is `gap`, at each scale; none where it is
 * not met. Solve the closed form for loc: no search is needed.
 */
const half = (gap, scale, to) =>
  Math.sqrt(2 * to.scale ** 2 * (gap + 0.5 - Math.log(to.scale / scale)) - scale ** 2);

const LOC = { min: -1, max: 3, step: 0.01 };
const SCALE = { min: 0.2, max: 1.2, step: 0.01 };
const GAPS = [0.1, 0.5, 1, 2, 4];  // nats below the top
const nats = (v, digits = 3) => v.toFixed(digits).replace("-", "−");

function render({ model, el }) {
  const self = figure({ model, el }, {
    name: "The evidence is the ELBO plus a KL",
    hint: "Try to push the ELBO above log p(x) by moving q. Then move x: what changes now?",
  }, draw);
  self.redraws.push(() => {  // before the bar is drawn, which must hold all of the ELBO
    const { elbo } = values({ loc: self.get("loc"), scale: self.get("scale"), x: self.get("x") });
    bar.x = [-8, 0];
    while (elbo < bar.x[0]) bar.x[0] *= 2;
  });
  const bar = plot(self, { x: [-8, 0], y: [0, 1], height: 104, ticks: false });
  bar.svg.style.flexBasis = "100%";
  const surface = plot(self, {
    x: [LOC.min, LOC.max], y: [SCALE.min, 1.3],
    height: 310, xlabel: "loc of q", ylabel: "scale of q" });
  const bells = plot(self, {
    x: [-2.5, 4.5], y: [0, 2.6], height: 310, xlabel: "z", ylabel: "density" });
  surface.handle("var(--a)", () => [self.get("loc"), self.get("scale")], (loc, scale) => {
    self.set({
      loc: rounded(loc, LOC.step),
      scale: rounded(within(scale, [SCALE.min, SCALE.max]), SCALE.step),
    });
  });
  const height = () => Math.exp(logNormal(0, 0, self.get("scale")));
  bells.handle("var(--a)", () => [self.get("loc"), height()], (z) => {
    self.set({ loc: rounded(within(z, [LOC.min, LOC.max]), LOC.step) });
  });
  const right = () => self.get("loc") + self.get("scale");
  bells.handle("var(--a)", () => [right(), height() * Math.exp(-0.5)], (z) => {
    const scale = within(z - self.get("loc"), [SCALE.min, SCALE.max]);
    self.set({ scale: rounded(scale, SCALE.step) });
  });
  slider(self, "loc", { label: "loc of q", ...LOC, show: (v) => nats(v, 2) });
  slider(self, "scale", { label: "scale of q", ...SCALE });
  slider(self, "x", { label: "x", min: 0, max: 5, step: 0.05 });
  button(self, "Make q the posterior", () => {
    const { posterior } = values({ loc: 0, scale: 1, x: self.get("x") });
    self.set(posterior);
  });

  function draw() {
    const [loc, scale, x] = ["loc", "scale", "x"].map(self.get);
    const found = values({ loc, scale, x });
    // Rounded numbers add up too: the last is the difference of the first two as they are shown.
    const gap = Number(found.log_evidence.toFixed(3)) - Number(found.elbo.toFixed(3));
    drawBar({ ...found, kl: gap });
    drawSurface(found);
    const density = (q) =>
      linspace(...bells.x, 301).map((z) => [z, Math.exp(logNormal(z, q.loc, q.scale))]);
    bells.area(density({ loc, scale }), "var(--a)", 0.15);
    bells.curve(density({ loc, scale }), "var(--a)");
    bells.curve(density(found.posterior), "var(--b)", { "stroke-dasharray": "7 4" });
    for (const [row, name, color, dash] of [
      [0, "q", "var(--a)", "none"], [1, "posterior", "var(--b)", "7 4"]]) {
      const [u, v] = [bells.width - 105, 24 + 18 * row];
      append(bells.layer, "path", {
        d: `M${u} ${v - 4}h22`, stroke: color, "stroke-width": 2.2, "stroke-dasharray": dash });
      append(bells.layer, "text", { x: u + 28, y: v }).textContent = name;
    }

    self.say(
      `log p(x) ${nats(found.log_evidence)} = ELBO ${nats(found.elbo)} + KL(q ‖ posterior) ` +
      `${nats(gap)} nats.`);
    bells.describe(
      `Densities of q, at ${nats(loc, 2)} with scale ${nats(scale, 2)}, and of the posterior, at ` +
      `${nats(found.posterior.loc, 2)} with scale ${nats(found.posterior.scale, 2)}.`);
  }

  function drawBar({ log_evidence, elbo, kl: gap }) {
    const [top, bottom] = [0.78, 0.36];
    const [low, high] = bar.x;
    bar.rect([low, bottom], [elbo, top], "var(--a)", 0.45);
    bar.rect([elbo, bottom], [log_evidence, top], "var(--d)", 0.55);
    const inside = { dy: 4, "text-anchor": "middle" };
    const middle = (bottom + top) / 2;
    // A number stands on its part if the part has room for it, else beside it.
    const wide = bar.X(elbo) - bar.X(low);
    if (wide > 95) bar.text([(low + elbo) / 2, middle], `ELBO ${nats(elbo)}`, inside);
    if (bar.X(log_evidence) - bar.X(elbo) > 62) {
      const words = (wide > 95 ? "" : `ELBO ${nats(elbo)}, `) + `KL ${nats(gap)}`;
      bar.text([(elbo + log_evidence) / 2, middle], words, inside);
    } else bar.text([log_evidence, middle], `KL ${nats(gap)}`, { dx: 8, dy: 4 });
    bar.curve([[log_evidence, 0], [log_evidence, 0.86]], "currentColor", { "stroke-width": 3 });
    // Over the end of the bar, or a little to its left where the picture ends
    const aside = Math.min(0, bar.width - 55 - bar.X(log_evidence));
    bar.text([log_evidence, 0.9], `log p(x) ${nats(log_evidence)}`,
      { "text-anchor": "middle", dx: aside });
    for (let v = low; v <= high; v -= low / 8) {
      bar.curve([[v, 0], [v, 0.05]], "currentColor", { "stroke-width": 1 });
      if (v > low) bar.text([v, 0.06], nats(v, 0), { dy: -4, "text-anchor": "middle" });
    }
    bar.text([low, 0.9], "nats", { dx: 5 });
    bar.describe(
      `A bar: the ELBO, ${nats(elbo)}, and the KL, ${nats(gap)}, end together at log p(x), ` +
      `${nats(log_evidence)} nats.`);
  }

  function drawSurface({ log_evidence, posterior }) {
    const scales = linspace(...surface.y, 401);
    const seen = ([u]) => u >= LOC.min && u <= LOC.max;
    for (const gap of GAPS) {
      const met = scales.filter((s) => half(gap, s, posterior) >= 0);  // NaN elsewhere
      const side = (sign) => met.map((s) => [posterior.loc + sign * half(gap, s, posterior), s]);
      const [left, right] = [side(-1), side(1)];
      const around = [...left, ...right.reverse()];
      surface.curve(around.map(([u, s]) => [within(u, surface.x), s]), "none",
        { style: "fill: var(--a); fill-opacity: .11" });
      const closed = met.at(-1) < surface.y[1];
      const lines = closed ? [around] : [left, right];
      if (met[0] > surface.y[0]) lines.push([around.at(-1), around[0]]);
      for (const line of lines.flatMap((points) => runs(points, seen))) {
        surface.curve(line, "var(--a)", { "stroke-width": 1.2 });
      }
      // At the top of the contour, or at its side if the top is out of the picture.
      const label = nats(log_evidence - gap, 2);
      if (closed) {
        surface.text([posterior.loc, met.at(-1)], label, { dy: -3, "text-anchor": "middle" });
      } else {
        const away = posterior.loc > 1 ? -1 : 1;
        surface.text([posterior.loc + away * half(gap, 0.6, posterior), 0.6], label,
          { dx: 4 * away, "text-anchor": away > 0 ? "start" : "end" });
      }
    }
    const [u, v] = [surface.X(posterior.loc), surface.Y(posterior.scale)];
    append(surface.layer, "path", {
      d: `M${u - 7} ${v - 7}l14 14m0 -14l-14 14`, stroke: "currentColor", "stroke-width": 3 });
    surface.describe(
      `Contours of the ELBO over loc and scale of q. They close around its highest value, ` +
      `log p(x) = ${nats(log_evidence)}, at loc ${nats(posterior.loc, 2)} and scale ` +
      `${nats(posterior.scale, 2)}: the posterior. q is at ${nats(self.get("loc"), 2)} and ` +
      `${nats(self.get("scale"), 2)}.`);
  }
  return self.close;
}

/** The stretches of a line whose points are all to be seen. */
function runs(points, seen) {
  const found = [[]];
  for (const point of points) {
    if (seen(point)) found.at(-1).push(point);
    else if (found.at(-1).length) found.push([]);
  }
  return found.filter((line) => line.length > 1);
}

export default { render };
