import { figure, slider, button, reset, plot, append, linspace, logNormal, rounded, within } from "./figure.js";

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
  const compact = model.get("compact");  // without contours, and x stays
  const self = figure({ model, el }, {
    name: "The evidence is the ELBO plus a KL",
    hint: compact
      ? "Drag q. Can you push the orange past the black line?"
      : "Push the orange past the black line: you can’t. Then set x to 1. What moved?",
  }, draw);
  const first = values({ loc: 0, scale: 1, x: self.get("x") });
  const firstX = self.get("x");
  const tallest = () => Math.exp(logNormal(0, 0, self.get("scale")));
  self.redraws.push(() => {  // before anything is drawn: all of the ELBO, all of q is to be seen
    const { elbo } = values({ loc: self.get("loc"), scale: self.get("scale"), x: self.get("x") });
    bar.x = [-8, 0];
    while (elbo < bar.x[0]) bar.x[0] *= 2;
    bells.y = [0, Math.max(1.1, 1.12 * tallest())];
  });
  const bar = plot(self, { x: [-8, 0], y: [0, 1], height: compact ? 78 : 104, ticks: false });
  bar.svg.style.flexBasis = "100%";
  if (!compact) {
    const surface = plot(self, {
      x: [LOC.min, LOC.max], y: [SCALE.min, 1.3],
      height: 300, xlabel: "loc of q", ylabel: "scale of q" });
    surface.handle("var(--q)", () => [self.get("loc"), self.get("scale")], (loc, scale) => {
      self.set({
        loc: rounded(loc, LOC.step),
        scale: rounded(within(scale, [SCALE.min, SCALE.max]), SCALE.step),
      });
    });
    self.surface = surface;
  }
  const bells = plot(self, {
    x: [-2.5, 4.5], y: [0, 1.1], height: compact ? 112 : 300, xlabel: compact ? "" : "z",
    ylabel: compact ? "" : "density", ticks: compact ? "x" : true });
  if (compact) bells.svg.style.flexBasis = "100%";
  bells.handle("var(--q)", () => [self.get("loc"), tallest()], (z) => {
    self.set({ loc: rounded(within(z, [LOC.min, LOC.max]), LOC.step) });
  });
  const right = () => self.get("loc") + self.get("scale");
  bells.handle("var(--q)", () => [right(), tallest() * Math.exp(-0.5)], (z) => {
    const scale = within(z - self.get("loc"), [SCALE.min, SCALE.max]);
    self.set({ scale: rounded(scale, SCALE.step) });
  });
  slider(self, "loc", { label: "loc of q", ...LOC, show: (v) => nats(v, 2) });
  slider(self, "scale", { label: "scale of q", ...SCALE });
  if (!compact) slider(self, "x", { label: "x", min: 0, max: 5, step: 0.05 });
  button(self, "Make q the posterior", () => {
    const { posterior } = values({ loc: 0, scale: 1, x: self.get("x") });
    self.set(posterior);
  });
  reset(self, ["loc", "scale", "x"]);

  function draw() {
    const [loc, scale, x] = ["loc", "scale", "x"].map(self.get);
    const found = values({ loc, scale, x });
    // Rounded numbers add up too: the last is the difference of the first two as they are shown.
    const gap = Number(found.log_evidence.toFixed(3)) - Number(found.elbo.toFixed(3));
    drawBar({ ...found, kl: gap });
    if (!compact) drawSurface(found);
    drawBells({ loc, scale }, found.posterior);
    self.equation([
      [`log p(x) ${nats(found.log_evidence)}`, "var(--evidence)"], " = ",
      [`ELBO ${nats(found.elbo)}`, "var(--bound)"], " + ",
      [`KL(q ‖ posterior) ${nats(gap)}`, "var(--gap)"]]);
    const short = gap < 0.0005
      ? "q is the posterior: the orange reaches the line."
      : `q is ${nats(gap)} nats short of the line.`;
    if (compact) {
      self.say(short);
      return;
    }
    const line = nats(found.log_evidence);
    const cross = nats(found.posterior.loc, 2);
    if (Math.abs(x - firstX) > 1e-9) {
      self.say(
        `x = ${nats(x, 2)}: the line moved from ${nats(first.log_evidence)} to ${line}, ` +
        `the cross from ${nats(first.posterior.loc, 2)} to ${cross}.`);
    } else {
      self.say(`x has stayed ${nats(x, 2)}, and the line at ${line}, wherever q went. ${short}`);
    }
  }

  function drawBells(q, posterior) {
    const density = (of) =>
      linspace(...bells.x, 301).map((z) => [z, Math.exp(logNormal(z, of.loc, of.scale))]);
    bells.area(density(posterior), "var(--posterior)", 0.12);
    bells.curve(density(posterior), "var(--posterior)", { "stroke-dasharray": "7 4" });
    bells.area(density(q), "var(--q)", 0.15);
    bells.curve(density(q), "var(--q)");
    // Each name on the outer side of its curve, so that they never meet.
    const side = q.loc <= posterior.loc ? -1 : 1;
    const name = (of, text, color, away) => {
      const at = of.loc + away * 0.9 * of.scale;
      bells.text([at, Math.exp(logNormal(at, of.loc, of.scale))], text, {
        dx: 8 * away, dy: -2, "text-anchor": away > 0 ? "start" : "end",
        style: `fill: ${color}; font-weight: 600` });
    };
    name(q, "q", "var(--q)", side);
    name(posterior, "posterior", "var(--posterior)", -side);
    bells.describe(
      `Densities of q, at ${nats(q.loc, 2)} with scale ${nats(q.scale, 2)}, and of the posterior, ` +
      `at ${nats(posterior.loc, 2)} with scale ${nats(posterior.scale, 2)}.`);
  }

  function drawBar({ log_evidence, elbo, kl: gap }) {
    const [top, bottom] = [0.78, 0.36];
    const [low, high] = bar.x;
    bar.rect([low, bottom], [elbo, top], "var(--bound)", 0.45);
    bar.rect([elbo, bottom], [log_evidence, top], "var(--gap)", 0.55);
    const inside = { dy: 4, "text-anchor": "middle" };
    const middle = (bottom + top) / 2;
    // A number stands on its part if the part has room for it, else beside it.
    const wide = bar.X(elbo) - bar.X(low);
    if (wide > 95) bar.text([(low + elbo) / 2, middle], `ELBO ${nats(elbo)}`, inside);
    if (bar.X(log_evidence) - bar.X(elbo) > 62) {
      const words = (wide > 95 ? "" : `ELBO ${nats(elbo)}, `) + `KL ${nats(gap)}`;
      bar.text([(elbo + log_evidence) / 2, middle], words, inside);
    } else bar.text([log_evidence, middle], `KL ${nats(gap)}`, { dx: 8, dy: 4 });
    bar.curve([[log_evidence, 0], [log_evidence, 0.86]], "var(--evidence)", { "stroke-width": 3 });
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
    const { surface } = self;
    const scales = linspace(...surface.y, 401);
    const seen = ([u]) => u >= LOC.min && u <= LOC.max;
    for (const gap of GAPS) {
      const met = scales.filter((s) => half(gap, s, posterior) >= 0);  // NaN elsewhere
      const side = (sign) => met.map((s) => [posterior.loc + sign * half(gap, s, posterior), s]);
      const [left, right] = [side(-1), side(1)];
      const around = [...left, ...right.reverse()];
      surface.curve(around.map(([u, s]) => [within(u, surface.x), s]), "none",
        { style: "fill: var(--bound); fill-opacity: .11" });
      const closed = met.at(-1) < surface.y[1];
      const lines = closed ? [around] : [left, right];
      if (met[0] > surface.y[0]) lines.push([around.at(-1), around[0]]);
      for (const line of lines.flatMap((points) => runs(points, seen))) {
        surface.curve(line, "var(--bound)", { "stroke-width": 1.2 });
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
      d: `M${u - 7} ${v - 7}l14 14m0 -14l-14 14`, stroke: "var(--posterior)", "stroke-width": 3.5 });
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
