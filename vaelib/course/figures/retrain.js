import { figure, append, button, choice, plot, slider, within } from "./figure.js";

// Recorded runs of VAEs, and the reader's own, by rate and distortion. Python trains when asked to;
// the recorded run that is nearest to the settings is found here, without it.

export function values({ beta, latent, seed, runs }) {
  const recorded = runs.filter((run) => run.source === "recorded");
  const nearest = least(recorded, (run) => 1e-6 * Math.abs(run.seed - seed) +
    Math.hypot(Math.log(run.beta / beta), Math.log(run.latent / latent)));
  const exact = nearest.beta === beta && nearest.latent === latent && nearest.seed === seed;
  const better = recorded.filter((run) => run.elbo > nearest.elbo).length;
  const own = runs.filter((run) => run.source !== "recorded");
  return { nearest, exact, better, recorded, own };
}

/** The first of the runs at which a function is least. */
const least = (runs, of) => runs.reduce((a, b) => (of(b) < of(a) ? b : a));

const BETAS = [0.1, 0.2, 0.3, 0.5, 1, 2, 3, 5, 10];
const LATENTS = [2, 4, 8, 16, 32, 64];
const signed = (v) => v.toFixed(1).replace("-", "−");
const name = (run) => `β = ${run.beta}, latent size ${run.latent}, seed ${run.seed}`;
// Rate and distortion to 0.01, so that they add up to minus the ELBO to 0.1.
const numbers = (run) =>
  `rate ${run.kl.toFixed(2)} + distortion ${run.distortion.toFixed(2)} nats per image, ` +
  `so ELBO = ${signed(run.elbo)} nats`;
const summary = (run) => `${name(run)}: ${numbers(run)}`;

function render({ model, el }) {
  const self = figure({ model, el }, {
    name: "Rate and distortion of a VAE trained again",
    hint: "Try: drag the ring away from β = 1. What does rate buy, and when is the ELBO best?",
  }, draw);
  let kernel = false;  // until somebody has answered
  const found = () => {
    const names = ["beta", "latent", "seed", "runs"];
    return values(Object.fromEntries(names.map((key) => [key, self.get(key)])));
  };
  const place = (run) => [within(run.kl, left.x), within(run.distortion, left.y)];
  const curveShown = () => kernel || self.get("curve").length > 0;
  self.redraws.push(() => { right.svg.remove(); if (curveShown()) self.stage.append(right.svg); });
  const left = plot(self, {
    x: [0, 58], y: [50, 180], height: 300, xlabel: "rate: KL (nats)", ylabel: "distortion (nats)",
  });
  const right = plot(self, {
    x: [0, 10], y: [0, 230], height: 300, xlabel: "epoch", ylabel: "distortion + rate (nats)",
  });

  left.handle("transparent", () => place(found().nearest), (rate) => {
    const { beta, latent, seed } = least(found().recorded, (run) => Math.abs(run.kl - rate));
    self.set({ beta, latent, seed });
  });
  choice(self, "beta", "β", BETAS.map((v) => [v, String(v)]));
  choice(self, "latent", "latent size", LATENTS.map((v) => [v, String(v)]));
  slider(self, "seed", { label: "seed", min: 0, max: 9, step: 1, show: String });
  const train = button(self, "Train", () => model.send({ type: "train" }));
  const stop = button(self, "Stop", () => model.send({ type: "stop" }));
  const label = append(self.others, "label");
  const words = append(label, "span");
  const bar = append(label, "progress", { max: 1, style: "width: 8rem" });
  const table = append(self.root, "table", {
    style: "margin-top: .5rem; border-spacing: .3rem 0; text-align: right" });
  const about = append(self.root, "p", { role: "status", style: "margin: .5rem 0 0" });
  const why = append(self.root, "p", { style: "margin: .5rem 0 0" });

  const answered = () => { kernel = true; self.later(); };
  model.on("msg:custom", answered);
  model.send({ type: "hello" });

  function draw() {
    const { nearest, exact, better, recorded, own } = found();
    const [curve, epochs] = [self.get("curve"), self.get("epochs")];
    plane(nearest, recorded, own, curve);
    if (curveShown()) history(curve, epochs, nearest);
    rows(own);

    const training = kernel && self.get("training");
    train.disabled = !kernel || training;
    train.textContent = kernel ? "Train" : "Train (needs a kernel)";
    stop.style.display = label.style.display = training ? "" : "none";
    bar.value = self.get("progress");
    words.textContent = `epoch ${Math.min(curve.length + 1, epochs)} of ${epochs}`;
    const last = own.length ? `Run ${own.length}, ${summary(own.at(-1))}.` : "";
    const news = training ? "" : self.get("note") || last;
    if (about.textContent !== news) about.textContent = news;  // a change is read aloud
    // The site's own button knows where the chapter runs, once the course has an address.
    const launch = document.querySelector('a[href*="colab.research.google.com"]');
    const link = self.get("link") || launch?.href;
    why.textContent = kernel
      ? `A run here is short: hidden layers of 128 and ${epochs} epochs; recorded: 400 and 24. ` +
        "Compare it with others made here. Unfinished training may favour a β below 1."
      : "Training another needs a running kernel, and none has answered. " +
        (link ? "" : "Open the chapter's notebook in Jupyter.");
    if (!kernel && link) {
      append(why, "a", { href: link }).textContent = "Run this chapter with a kernel.";
    }
    self.say(`${exact ? "Recorded run" : "Nearest recorded run"}, ${summary(nearest)}. ` +
      "Below the dashed line the ELBO is better: " +
      `${better} of the other ${recorded.length - 1} recorded runs.`);
  }

  /** All runs by rate and distortion, and a line along which the ELBO is the marked run's. */
  function plane(nearest, recorded, own, curve) {
    const ends = left.y.map((distortion) => within(-nearest.elbo - distortion, left.x));
    left.curve(ends.map((rate) => [rate, -nearest.elbo - rate]), "var(--grey)",
      { "stroke-dasharray": "6 4", "stroke-width": 1.6 });
    left.curve(recorded.filter((r) => r.latent === 16 && r.seed === 0).map(place), "var(--a)");
    for (const run of recorded) {
      const sweep = run.latent === 16;
      left.dot(place(run), sweep ? "var(--a)" : "var(--c)", 4);
      if (run.seed !== 0 || run.latent > 16) continue;
      if (sweep) left.text(place(run), `β = ${run.beta}`, { dx: 9, dy: -8 });
      else left.text(place(run), `${run.latent}-D`, { dx: 9 });
    }
    if (curve.length) left.curve(curve.map(place), "var(--b)", { "stroke-width": 1.4 });
    own.forEach((run, i) => {
      left.dot(place(run), "var(--b)", 6, { stroke: "currentColor" });
      left.text(place(run), String(i + 1), { dx: 9, dy: 4 });
    });
    left.describe(`Distortion against rate of ${recorded.length} recorded runs and ${own.length} ` +
      `trained here. Ringed: ${summary(nearest)}.`);
  }

  /** Distortion and, on top of it, the rate, after each epoch: together they are minus the ELBO. */
  function history(curve, epochs, nearest) {
    right.x = [0, epochs];
    const level = (height) => [[0, height], [epochs, height]];
    right.curve(level(-nearest.elbo), "currentColor", { "stroke-dasharray": "2 4" });
    right.text([0, -nearest.elbo], "−ELBO of the ringed run", { dx: 6, dy: 16 });
    const along = (height) => curve.map((at, i) => [i + 1, within(height(at), right.y)]);
    const line = (points, color, label, dy) => {
      for (const at of points) right.dot(at, color, 3);
      if (points.length > 1) right.curve(points, color);
      if (points.length) right.text(points.at(-1), label, { dy, "text-anchor": "end" });
    };
    line(along((at) => -at.elbo), "var(--b)", "−ELBO", -9);
    line(along((at) => at.distortion), "var(--a)", "distortion", 18);
    right.describe(curve.length
      ? `Held-out distortion and rate by epoch. After ${curve.length}: ${numbers(curve.at(-1))}.`
      : "No run yet: the curve of a new run appears here, epoch by epoch.");
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
