import {
  figure, append, button, choice, plot, reset, slider, within,
} from "./figure.js";

// Recorded runs of VAEs, and the reader's own, by rate and distortion. Python trains when asked to;
// the recorded run that is nearest to the settings is found here, without it. What only Python can
// do is not on the page until it has answered.

export function values({ beta, latent, seed, runs }) {
  const recorded = runs.filter((run) => run.source === "recorded");
  const nearest = least(recorded, (run) => 1e-6 * Math.abs(run.seed - seed) +
    Math.hypot(Math.log(run.beta / beta), Math.log(run.latent / latent)));
  const exact = nearest.beta === beta && nearest.latent === latent && nearest.seed === seed;
  const better = recorded.filter((run) => run.elbo > nearest.elbo).length;
  const own = runs.filter((run) => run.source !== "recorded");
  // What a run with the price β minimizes; the tangent is where it stays the same.
  const loss = nearest.distortion + nearest.beta * nearest.kl;
  return { nearest, exact, better, recorded, own, loss };
}

/** The first of the runs at which a function is least. */
const least = (runs, of) => runs.reduce((a, b) => (of(b) < of(a) ? b : a));

const BETAS = [0.1, 0.2, 0.3, 0.5, 1, 2, 3, 5, 10];
const LATENTS = [2, 4, 8, 16, 32, 64];
const SIZE = 16;  // of the runs at several β
const PICTURES = 6;
const signed = (v) => v.toFixed(1).replace("-", "−");
const name = (run) => `β = ${run.beta}, latent size ${run.latent}, seed ${run.seed}`;
// Rate and distortion to 0.01, so that they add up to minus the ELBO to 0.1.
const numbers = (run) =>
  `rate ${run.kl.toFixed(2)} + distortion ${run.distortion.toFixed(2)} nats per image, ` +
  `so ELBO = ${signed(run.elbo)} nats`;
const summary = (run) => `${name(run)}: ${numbers(run)}`;

function render({ model, el }) {
  const self = figure({ model, el }, {
    name: "Rate and distortion at five prices of a nat",
    hint: "Predict at which β rate + distortion is least. Then slide. And where do units begin to die?",
  }, draw);
  let kernel = false;  // until somebody has answered
  const found = () => {
    const names = ["beta", "latent", "seed", "runs"];
    return values(Object.fromEntries(names.map((key) => [key, self.get(key)])));
  };
  const swept = () => found().recorded.filter((run) => run.latent === SIZE);
  const firsts = () => swept().filter((run) => run.seed === 0).sort((a, b) => a.beta - b.beta);
  const place = (run) => [within(run.kl, left.x), within(run.distortion, left.y)];
  const curveShown = () => kernel && self.get("curve").length > 0;
  self.redraws.push(() => { right.svg.remove(); if (curveShown()) self.stage.append(right.svg); });
  const left = plot(self, {
    x: [0, 55], y: [50, 180], height: 300, xlabel: "rate R: the code's KL (nats)",
    ylabel: "distortion D (nats)",
  });
  const side = append(self.stage, "div");
  const right = plot(self, {
    x: [0, 10], y: [0, 230], height: 300, xlabel: "epoch", ylabel: "distortion + rate (nats)",
  });

  // Beside the curve: what such a model draws, and which of its units are alive.
  append(side, "p", { style: "margin: 0 0 .3rem" }).textContent = "six draws of the prior, decoded";
  const canvas = append(side, "canvas", {
    role: "img", width: 28 * 3, height: 28 * 2, style: "width: 100%; max-width: 300px",
  });
  const alive = append(side, "p", { style: "margin: .6rem 0 0" });
  const units = append(side, "svg", { height: 22, "aria-hidden": "true", style: "max-width: 300px" });

  left.handle("transparent", () => place(found().nearest), (rate) => {
    const { beta, latent, seed } = least(swept(), (run) => Math.abs(run.kl - rate));
    self.set({ beta, latent, seed });
  });
  const price = append(self.sliders, "label", { class: "slider" });
  append(price, "span").textContent = "price β";
  const input = append(price, "input", { type: "range", min: 0, max: firsts().length - 1, step: 1 });
  const output = append(price, "output");
  input.oninput = () => self.set({
    beta: firsts()[Number(input.value)].beta, latent: SIZE, seed: 0,
  });
  self.redraws.push(() => {
    const nearest = found().nearest.beta;
    input.value = firsts().findIndex((run) => run.beta === nearest);
    input.setAttribute("aria-valuetext", `β = ${nearest}`);
    output.textContent = String(nearest);
  });
  reset(self, ["beta", "latent", "seed"]);

  // With a kernel only: another run.
  const mine = append(self.root, "div");
  append(mine, "p", { style: "margin: .75rem 0 0; font-weight: 600" }).textContent =
    "Train another one";
  const there = Object.assign(Object.create(self), {
    sliders: append(mine, "div", { class: "sliders" }),
    others: append(mine, "div", { class: "others" }),
  });
  choice(there, "beta", "β", BETAS.map((v) => [v, String(v)]));
  choice(there, "latent", "latent size", LATENTS.map((v) => [v, String(v)]));
  slider(there, "seed", { label: "seed", min: 0, max: 9, step: 1, show: String });
  const train = button(there, "Train", () => model.send({ type: "train" }));
  const stop = button(there, "Stop", () => model.send({ type: "stop" }));
  const label = append(there.others, "label");
  const words = append(label, "span");
  const bar = append(label, "progress", { max: 1, style: "width: 8rem" });
  append(mine, "p", { style: "margin: .5rem 0 0" }).textContent =
    `A run here is short: hidden layers of 128 and ${self.get("epochs")} epochs; recorded: 400 ` +
    "and 24. Compare it with others made here. Unfinished training may favour a β below 1.";
  const table = append(mine, "table", {
    style: "margin-top: .5rem; border-spacing: .3rem 0; text-align: right" });
  const about = append(mine, "p", { role: "status", style: "margin: .5rem 0 0" });

  mine.remove();
  const answered = () => { kernel = true; self.root.append(mine); self.later(); };
  model.on("msg:custom", answered);
  model.send({ type: "hello" });

  function draw() {
    const { nearest, exact, own, loss } = found();
    const [curve, epochs] = [self.get("curve"), self.get("epochs")];
    plane(nearest, loss, own, curve);
    beside(nearest);
    const [d, r] = [nearest.distortion.toFixed(2), nearest.kl.toFixed(2)];
    self.equation([
      "minimized: D + βR = ", [d, "var(--gap)"], ` + ${nearest.beta} × `, [r, "var(--q)"],
      ` = ${loss.toFixed(2)}.  −ELBO: D + R = ` +
        `${(nearest.distortion + nearest.kl).toFixed(2)} nats`,
    ]);
    if (curveShown()) history(curve, epochs, nearest);
    rows(own);

    const training = kernel && self.get("training");
    train.disabled = training;
    stop.style.display = label.style.display = training ? "" : "none";
    bar.value = self.get("progress");
    words.textContent = `epoch ${Math.min(curve.length + 1, epochs)} of ${epochs}`;
    const last = own.length ? `Run ${own.length}, ${summary(own.at(-1))}.` : "";
    const news = training ? "" : self.get("note") || last;
    if (about.textContent !== news) about.textContent = news;  // a change is read aloud
    const counted = nearest.units === undefined ? "" :
      ` Active units: ${nearest.units} of ${nearest.latent}.`;
    self.say(`${exact ? "Recorded run" : "Nearest recorded run"}, ${summary(nearest)}.${counted}`);
  }

  /** The runs by rate and distortion; the marked one's tangent; and where R + D is the best one's. */
  function plane(nearest, loss, own, curve) {
    const straight = (total, slope) => left.x.map((rate) => [rate, total - slope * rate]);
    const best = Math.min(...firsts().map((run) => run.kl + run.distortion));
    left.curve(straight(best, 1), "var(--bound)", { "stroke-dasharray": "6 4", "stroke-width": 1.6 });
    left.text([1.5, 54], `R + D = ${best.toFixed(1)}, the least`, { style: "fill: var(--bound)" });
    left.curve(straight(loss, nearest.beta), "currentColor", { "stroke-width": 1.4 });
    left.curve(firsts().map(place), "var(--grey)");
    for (const run of swept()) {
      left.dot(place(run), "var(--grey)", 4, { "fill-opacity": run.seed === 0 ? 1 : 0.45 });
      if (run.seed === 0) left.text(place(run), `β = ${run.beta}`, { dx: 10, dy: -8 });
    }
    if (nearest.latent !== SIZE) left.dot(place(nearest), "var(--grey)", 4);
    left.dot(place(nearest), "none", 9, { stroke: "currentColor", "stroke-width": 2 });
    if (curve.length) left.curve(curve.map(place), "var(--score)", { "stroke-width": 1.4 });
    own.forEach((run, i) => {
      left.dot(place(run), "var(--score)", 6, { stroke: "currentColor" });
      left.text(place(run), String(i + 1), { dx: 9, dy: 4 });
    });
    left.describe(`Distortion against rate of ${swept().length} recorded runs and ${own.length} ` +
      `trained here. Ringed: ${summary(nearest)}. Its tangent falls by ${nearest.beta} nats of ` +
      "distortion for each nat of rate.");
  }

  /** Six decoded draws of the prior, and a dot for each unit. */
  function beside(nearest) {
    const shown = firsts().find((run) => run.beta === nearest.beta && nearest.latent === SIZE);
    const context = canvas.getContext("2d");
    context.clearRect(0, 0, canvas.width, canvas.height);
    side.style.display = shown ? "" : "none";
    if (!shown) return;
    const ink = getComputedStyle(self.root).color.match(/[\d.]+/g).slice(0, 3).map(Number);
    const bytes = atob(shown.pictures);
    for (let i = 0; i < PICTURES; i += 1) {
      const image = context.createImageData(28, 28);
      for (let p = 0; p < 784; p += 1) {
        image.data.set([...ink, bytes.charCodeAt(784 * i + p)], 4 * p);
      }
      context.putImageData(image, 28 * (i % 3), 28 * Math.floor(i / 3));
    }
    canvas.setAttribute("aria-label",
      `Decoder means at six draws of the prior, by the run with β = ${shown.beta}`);
    alive.textContent = `active units: ${nearest.units} of ${nearest.latent}`;
    units.replaceChildren();
    for (let i = 0; i < nearest.latent; i += 1) {
      append(units, "circle", { cx: 8 + 17 * i, cy: 11, r: 6, stroke: "var(--q)", "stroke-width": 1.5,
        fill: i < nearest.units ? "var(--q)" : "none" });
    }
    units.setAttribute("viewBox", `0 0 ${17 * nearest.latent} 22`);
  }

  /** Distortion and, on top of it, the rate, after each epoch: together they are minus the ELBO. */
  function history(curve, epochs, nearest) {
    right.x = [0, epochs];
    const level = (height) => [[0, height], [epochs, height]];
    right.curve(level(-nearest.elbo), "currentColor", { "stroke-dasharray": "2 4" });
    right.text([0, -nearest.elbo], "−ELBO of the ringed run", { dx: 6, dy: 16 });
    const along = (height) => curve.map((at, i) => [i + 1, within(height(at), right.y)]);
    const line = (points, color, text, dy) => {
      for (const at of points) right.dot(at, color, 3);
      if (points.length > 1) right.curve(points, color);
      if (points.length) right.text(points.at(-1), text, { dy, "text-anchor": "end" });
    };
    line(along((at) => -at.elbo), "var(--bound)", "−ELBO", -9);
    line(along((at) => at.distortion), "var(--gap)", "distortion", 18);
    right.describe(
      `Held-out distortion and rate by epoch. After ${curve.length}: ${numbers(curve.at(-1))}.`);
  }

  function rows(own) {
    table.replaceChildren();
    if (!own.length) return;
    append(table, "caption").textContent = "Trained here, nats per held-out image";
    const cells = (tag, texts) => {
      const row = append(table, "tr");
      for (const text of texts) append(row, tag).textContent = text;
    };
    cells("th", ["", "β", "latents", "seed", "rate", "distortion", "ELBO"]);
    own.forEach((run, i) => cells("td", [i + 1, run.beta, run.latent, run.seed,
      run.kl.toFixed(2), run.distortion.toFixed(2), signed(run.elbo)]));
  }

  return () => { model.off("msg:custom", answered); self.close(); };
}

export default { render };
