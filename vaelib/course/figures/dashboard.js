import { append, button, choice, figure, minus, plot, reset } from "./figure.js";

// The history of a few trainings, epoch by epoch: what the model draws, and the numbers beside it.
// What is to the right of the chosen epoch can be covered, as it is while a run still goes on.

const LAYOUT = `
.vf.dashboard .controls { display: flex; flex-wrap: wrap; gap: .25rem 1.5rem; align-items: center; }
.vf.dashboard .controls > * { margin: 0; }
.vf.dashboard .controls .sliders { flex: 1 1 14rem; }
.vf.dashboard .stage { display: grid; gap: .25rem 1rem; margin-top: .5rem;
  grid-template-columns: repeat(auto-fit, minmax(min(100%, 18rem), 1fr)); }
.vf.dashboard .stage p { margin: 0; font-variant-numeric: tabular-nums; }
.vf.dashboard .stage .equation { font-size: 1.15rem; white-space: nowrap; }
.vf.dashboard .sheet { aspect-ratio: 1; max-width: 21rem; background: currentColor;
  forced-color-adjust: none; -webkit-mask: 0 0 / 100% no-repeat; mask: 0 0 / 100% no-repeat; }
.vf.dashboard .panels { grid-column: 1 / -1; display: grid; gap: .25rem .75rem;
  grid-template-columns: repeat(auto-fit, minmax(9.5rem, 1fr)); }
.vf.dashboard .said + details { margin-top: .5rem; }
.vf.dashboard summary { cursor: pointer; min-height: 1.75rem; }
.vf.dashboard details p { margin: 0 0 .5rem; }
/* The axis has epochs for its numbers, and no name below them. */
.vf.dashboard .stage svg { margin-bottom: -16px; }
.vf.dashboard .panels svg { margin-top: -8px; }
@media (pointer: coarse) { .vf.dashboard summary { min-height: 2.75rem; } }
`;

const LITTLE = 1;  // nat: what a run that has less than this ahead of it has ended in all but name
const WINDOW = 60;  // nats below the top that a plot shows; the first epochs are far below it
/** Where an epoch stands: each doubling of the training takes the same room. */
const at = (epoch) => Math.log2(1 + epoch);

/** All that is known of a run at one of its epochs, and what came after. In nats per image. */
export function values({ run, epoch, runs }) {
  const { history, latent } = runs.find(({ name }) => name === run);
  const bound = (entry) => entry.validation.elbo;
  const now = history.find((entry) => entry.epoch === epoch);
  const [last, best] = [history.at(-1), history.reduce((a, b) => (bound(b) > bound(a) ? b : a))];
  // From here on it stays without an active unit; and from here on little more is won.
  const alive = history.findLastIndex((entry) => entry.active_units > 0);
  return {
    now, last, best, latent,
    lost: bound(best) - bound(now),
    dead: history[alive + 1]?.epoch ?? null,
    settled: history.find((entry) => bound(best) - bound(entry) < LITTLE).epoch,
  };
}

/** The bound and its terms as texts that add up: ELBO = log p(x | z) − KL. */
export function sums({ elbo, kl }) {
  const [bound, cost] = [elbo, kl].map((v) => Number(v.toFixed(1)));
  return [bound, bound + cost, cost].map((v) => minus(v.toFixed(1)));
}

const nats = (v) => minus(v.toFixed(1));
const rate = (lr) => lr.toExponential().replace("e-", "e−");
const label = ({ name, lr }) => `${name}, learning rate ${rate(lr)}`;

function render({ model, el }) {
  const runs = model.get("runs");
  const self = figure({ model, el }, {
    name: "The dashboard of a training",
    hint: "Cover the curves, and slide on from epoch 0: when would you stop? Then uncover.",
  }, draw);
  self.root.classList.add("dashboard");
  append(self.root, "style").textContent = LAYOUT;
  const chosen = () => runs.find(({ name }) => name === self.get("run"));
  const stops = () => Object.keys(chosen().sheets).map(Number).sort((a, b) => a - b);
  const ends = Math.max(...runs.flatMap(({ history }) => history.map(({ epoch }) => epoch)));

  // Controls first: on a phone they and the pictures are seen together.
  const controls = append(self.root, "div", { class: "controls" });
  self.stage.before(controls);
  controls.append(self.sliders, self.others);
  const box = append(self.sliders, "label", { class: "slider" });
  append(box, "span").textContent = "epoch";
  const input = append(box, "input", { type: "range", min: 0, max: stops().length - 1, step: 1 });
  const output = append(box, "output");
  input.oninput = () => self.set({ epoch: stops()[Number(input.value)] });
  choice(self, "run", "run", runs.map((run) => [run.name, `${run.name}, ${rate(run.lr)}`]));
  const cover = button(self, "", () => self.set({ covered: !self.get("covered") }));
  reset(self, ["run", "epoch", "covered"]);

  const left = append(self.stage, "div");
  append(left, "p").textContent = "64 decoder means, always of the same noise";
  const sheet = append(left, "div", { class: "sheet", role: "img" });
  const right = append(self.stage, "div");
  right.append(self.root.querySelector(".equation"));
  const verdict = append(self.root, "p", { role: "status", class: "said" });
  const answers = [
    "Cover the curves and slide on from epoch 0: when would you stop? How many nats are lost?",
    "Switch to the other runs: which would you break off, and when?",
  ].map((task) => {
    const fold = append(self.root, "details");
    append(fold, "summary").textContent = task;
    return append(fold, "p");
  });

  const span = [0, at(ends)];
  const place = { ...self, stage: right };
  const bound = panel(place, { height: 300, marks: [0, 1, 2, 3, 5, 8, 13, 20, 40] });
  place.stage = append(self.stage, "div", { class: "panels" });
  const [fit, cost, units, norm] = Array.from({ length: 4 }, () =>
    panel(place, { height: 136, marks: [0, 5, 40] }));

  /** A plot over the epochs, headed by what it shows with its number. */
  function panel(where, { height, marks }) {
    const part = append(where.stage, "div");
    const head = append(part, "p");
    const made = plot({ ...where, stage: part },
      { x: span, y: [0, 1], height, ticks: "y" });
    return { ...made, plot: made, head, marks };
  }

  bound.plot.handle("var(--bound)", () => {
    const { now } = values(state());
    return [at(now.epoch), Math.max(now.validation.elbo, bound.plot.y[0])];
  }, (u) => {
    const far = stops().map((epoch) => Math.abs(at(epoch) - u));
    self.set({ epoch: stops()[far.indexOf(Math.min(...far))] });
  });
  const state = () => ({ run: self.get("run"), epoch: self.get("epoch"), runs });

  function draw() {
    const { history, sheets } = chosen();
    const covered = self.get("covered");
    const found = values(state());
    const { now, latent } = found;
    const [elbo, likelihood, kl] = sums(now.validation);

    input.value = stops().indexOf(now.epoch);
    input.setAttribute("aria-valuetext", `epoch ${now.epoch}: ELBO ${elbo}`);
    output.textContent = String(now.epoch);
    cover.textContent = covered ? "Uncover" : "Cover the curves";
    const picture = `url(data:image/png;base64,${sheets[now.epoch]})`;
    sheet.style.webkitMaskImage = sheet.style.maskImage = picture;
    sheet.setAttribute("aria-label", `64 pictures that the decoder makes of draws from the prior, `
      + `after epoch ${now.epoch} of ${ends}`);

    const heading = ({ head }, text, color) => {
      head.textContent = minus(text);
      head.style.color = `color-mix(in srgb, ${color} 85%, currentColor)`;
    };
    self.equation([["ELBO", "var(--bound)"], ` ${elbo} = `, [likelihood, "var(--gap)"], " − ",
      [kl, "var(--q)"]]);
    const rows = (key) => (entry) => entry.validation[key];
    // Axes know of no later epoch either.
    const seen = covered ? history.filter((e) => e.epoch <= now.epoch) : history;
    heading(bound, `validation ${elbo}, training ${nats(now.train.elbo)} (dashed)`, "var(--bound)");
    lines(bound, { seen, covered }, windowOf(seen, [(e) => e.train.elbo, rows("elbo")]), [
      { of: (e) => e.train.elbo, color: "var(--bound)", thin: true },
      { of: rows("elbo"), color: "var(--bound)" },
    ]);
    bound.plot.text([span[1], bound.plot.y[0]], "epoch, by doublings",
      { dx: -6, dy: -8, "text-anchor": "end" });
    heading(fit, `log p(x | z) ${likelihood}`, "var(--gap)");
    lines(fit, { seen, covered }, windowOf(seen, [rows("log_likelihood")]),
      [{ of: rows("log_likelihood"), color: "var(--gap)" }]);
    heading(cost, `KL ${kl}`, "var(--q)");
    lines(cost, { seen, covered }, upTo(seen, rows("kl")), [{ of: rows("kl"), color: "var(--q)" }]);
    heading(units, `active units ${now.active_units} of ${latent}`, "var(--posterior)");
    lines(units, { seen, covered }, [0, 1.08 * latent],
      [{ of: (e) => e.active_units, color: "var(--posterior)" }]);
    heading(norm, now.gradient_norm === null ? "gradient norm: no step yet"
      : `gradient norm ${now.gradient_norm.toFixed(0)}`, "currentColor");
    lines(norm, { seen, covered }, upTo(seen, (e) => 2 * e.gradient_norm), [
      { of: (e) => e.largest_norm, color: "currentColor", thin: true },
      { of: (e) => e.gradient_norm, color: "currentColor" },
    ]);
    tell(found, covered);
  }

  /** Curves up to the end, or to the chosen epoch if the rest is covered; and a mark there. */
  function lines({ plot: here, head, marks }, { seen, covered }, range, curves) {
    const epoch = self.get("epoch");
    here.range(span, range);
    for (const mark of marks.filter((m) => m <= ends)) {
      here.text([at(mark), range[0]], String(mark), { dy: 17, "text-anchor": "middle" });
    }
    here.curve([[at(epoch), range[0]], [at(epoch), range[1]]], "currentColor",
      { "stroke-width": 1.2, "stroke-dasharray": "3 3" });
    for (const { of, color, thin } of curves) {
      const points = seen.filter((e) => of(e) !== null);
      const style = thin ? { "stroke-width": 1.3, "stroke-dasharray": "6 3" } : {};
      if (points.length > 1) here.curve(points.map((e) => [at(e.epoch), of(e)]), color, style);
      const now = points.find((e) => e.epoch === epoch);
      if (now) here.dot([at(epoch), of(now)], color, thin ? 3 : 4.5);
    }
    if (covered && epoch < ends) {
      here.rect([at(epoch), range[0]], [span[1], range[1]], "var(--grey)", 0.3);
      here.text([(at(epoch) + span[1]) / 2, (range[0] + range[1]) / 2], "?",
        { "text-anchor": "middle", style: "font-size: 20px" });
    }
    const { of } = curves.at(-1);
    const points = seen.filter((e) => of(e) !== null);
    const told = [points[0], points.find((e) => e.epoch === epoch), points.at(-1)].filter(Boolean);
    const words = new Set(told.map((e) => `${of(e)} after epoch ${e.epoch}`));
    here.describe(minus(`${head.textContent}. A curve: ${[...words].join(", ")}.`
      + (covered ? " What came later is covered." : "")));
  }

  function tell({ now, best, lost, latent, settled }, covered) {
    const norms = now.gradient_norm === null ? ""
      : `, gradient norm ${now.gradient_norm.toFixed(0)} (the epoch's median; largest `
        + `${now.largest_norm.toFixed(0)})`;
    self.say(`After epoch ${now.epoch} of ${ends}, ${label(chosen())}: ELBO `
      + `${sums(now.validation)[0]} nats per held-out image, ${nats(now.train.elbo)} per image that `
      + `it learns from (dashed); ${now.active_units} of ${latent} units active${norms}.`);
    const news = covered ? "What came later is covered: slide on, or stop here and uncover."
      : lost === 0 ? "No epoch has a better ELBO than this one."
        : `Who stops here loses ${nats(lost)} nats per image: after epoch ${best.epoch} the ELBO `
          + `is ${sums(best.validation)[0]}.`;
    if (verdict.textContent !== news) verdict.textContent = news;

    const losses = stops().filter((epoch) => epoch > 2).map((epoch) =>
      `${nats(values({ ...state(), epoch }).lost)} after ${epoch}`);
    answers[0].textContent = `${label(chosen())}: nats lost by who stops there: `
      + `${losses.join(", ")}. From epoch ${settled} on less than ${LITTLE} nat is left to win.`;
    const top = Math.max(...runs.map(({ history }) =>
      Math.max(...history.map((entry) => entry.validation.elbo))));
    answers[1].textContent = runs.map((run) => {
      const of = values({ run: run.name, epoch: 1, runs });
      const ahead = top - of.best.validation.elbo;
      const behind = ahead > 0 ? `, ${nats(ahead)} nats behind the best run` : "";
      const alive = `${of.last.active_units} of ${latent} units are active`;
      const dead = `${of.dead ? `from epoch ${of.dead} on no` : "at no epoch a"} unit is active, `
        + `and all epochs after the first win ${nats(of.lost)} nats`;
      return `${run.name} ends at ${nats(of.last.validation.elbo)}${behind}: `
        + `${of.dead === null ? alive : dead}.`;
    }).join(" ");
  }

  return self.close;
}

/** From the highest number of these curves down to the lowest, or as far as a plot goes. */
function windowOf(history, curves) {
  const all = curves.flatMap((of) => history.map(of));
  const top = Math.max(...all);
  const low = Math.max(Math.min(...all), top - WINDOW);
  const rim = 0.06 * Math.max(top - low, 1);
  return [low - rim, top + rim];
}

/** From 0 to the highest number of a curve. */
const upTo = (history, of) => [0, 1.08 * Math.max(1, ...history.map(of))];

export default { render };
