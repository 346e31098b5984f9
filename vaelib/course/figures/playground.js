import { append, button, checkbox, choice, figure, minus, reset, slider, within } from "./figure.js";
import { drawCurves, drawPlane, drawTiles, grouped, inks, scaleOf } from "./playground_draw.js";
import WORKER from "./playground_worker.js" with { type: "text" };

// A VAE that learns in the page: this is what the reader sees and touches; a worker does the rest.

const LAYOUT = `
.vf.playground { max-width: 60rem; container-type: inline-size; }
.vf.playground .all { display: grid; gap: .5rem .75rem; grid-template-columns: minmax(0, 1fr); }
.vf.playground :is(.hint, .equation, .said) { margin: 0; }
.vf.playground .stage { position: relative; display: grid; gap: .5rem; grid-template-columns: 1fr 1fr; }
.vf.playground .stage canvas { width: 100%; aspect-ratio: 1; box-sizing: border-box; }
.vf.playground .tiles { image-rendering: pixelated; }
.vf.playground .poster canvas { opacity: .4; }
.vf.playground .curves { width: 100%; height: 90px; }
.vf.playground .stage .begin { position: absolute; inset: 0; margin: auto; width: 5.5rem; height: 5.5rem;
  border: 0; border-radius: 50%; padding: 0 0 0 .4rem; font-size: 2.4rem; line-height: 1;
  background: var(--q); color: white; box-shadow: 0 2px 12px #0006; }
.vf.playground .stage .begin:disabled { opacity: .6; }
.vf.playground .stage:not(.poster) .begin { display: none; }
.vf.playground :is(.others, .sliders) { margin: 0; }
.vf.playground .others { gap: .4rem .6rem; align-items: center; margin-bottom: .4rem; }
.vf.playground .others button { min-height: 2.75rem; min-width: 5.5rem; }
.vf.playground .equation span { white-space: nowrap; }
.vf.playground .equation span:nth-child(even) { white-space: pre-wrap; }
.vf.playground .switches { display: grid; gap: .1rem; margin: .3rem 0; }
.vf.playground .task { margin: .35rem 0; }
.vf.playground .task p { margin: 0; }
.vf.playground summary { cursor: pointer; min-height: 1.5rem; }
.vf.playground .break > summary { font-weight: 600; min-height: 2.75rem; line-height: 2.75rem; }
@media (pointer: coarse) { .vf.playground :is(.switches label, summary) { min-height: 2.75rem; } }
@container (min-width: 34rem) {
  .vf.playground .all { grid-template-columns: minmax(0, 1fr) minmax(0, 1fr); }
  .vf.playground :is(.hint, .stage, .curves, .said) { grid-column: 1 / -1; }
  .vf.playground .curves { height: 110px; }
  .vf.playground .break > summary { display: none; }
}
@container (min-width: 54rem) {
  .vf.playground .all { grid-template-columns: 608px minmax(0, 1fr); grid-template-rows: auto auto 1fr; }
  .vf.playground .stage { grid-column: 1; grid-row: 2 / 4; align-self: start; }
  .vf.playground .curves { grid-row: 4; }
  .vf.playground .hand { grid-column: 2; grid-row: 2; }
  .vf.playground .break { grid-column: 2; grid-row: 3; }
}
`;

const SETTINGS = ["seed", "beta", "kl_off", "noise_off", "pixel_mean"];
const WAIT = 300;  // milliseconds after a setting's last change until it starts again

/** What the worker is told to do. */
export const settingsOf = (get) => ({
  seed: get("seed"), beta: get("kl_off") ? 0 : get("beta"), noise: !get("noise_off"),
  pixel_mean: get("pixel_mean"),
});

/** Whether training maximizes another number than the ELBO. */
export const differs = ({ beta, noise, pixel_mean }) => beta !== 1 || !noise || pixel_mean;

/** Texts that add up as they are shown: log p(x) = ELBO + gap. */
export function sums({ elbo, log_p }) {
  const [bound, whole] = [elbo, log_p].map((v) => Number(v.toFixed(1)));
  return [whole, bound, whole - bound].map((v) => v.toFixed(1).replace(/^-0\.0$/, "0.0"));
}

async function render({ model, el }) {
  const labels = model.get("labels");
  const colors = model.get("colors");
  const poster = unfolded(model.get("poster"));
  let shown = poster;  // the picture that is seen
  let runs = [poster.run];
  let [worker, run, chosen, line] = [null, 0, null, null];
  let state = "poster";  // then "loading", "running", "paused" or "failed"
  let [seen, later, note] = [true, null, ""];

  const self = figure({ model, el }, {
    name: "A VAE, learning in this page", hint: "A VAE, learning in this page",
  }, draw);
  self.root.classList.add("playground");
  append(self.root, "style").textContent = LAYOUT;
  const all = append(self.root, "div", { class: "all" });
  const [hint, equation, said] = ["hint", "equation", "said"].map((name) =>
    self.root.querySelector(`.${name}`));
  const plane = append(self.stage, "canvas", { class: "plot", tabindex: 0, role: "img" });
  const tiles = append(self.stage, "canvas", { class: "plot tiles", role: "img" });
  const begin = append(self.stage, "button", { class: "begin", type: "button" });
  Object.assign(begin, { textContent: "▶", onclick: toggle });
  begin.setAttribute("aria-label", "Train the network");
  const curves = append(all, "canvas", { class: "plot curves", role: "img" });
  const hand = append(all, "div", { class: "hand" });
  const fold = append(all, "details", { class: "break" });
  all.prepend(hint, self.stage);
  all.append(curves, hand, fold, said);

  const play = button(self, "", toggle);
  reset(self, SETTINGS).addEventListener("click", forget);
  hand.append(self.others, equation);
  append(fold, "summary").textContent = "Break it";
  fold.append(self.sliders);
  slider(self, "beta", { label: "β", min: 0, max: 4, step: 0.1, show: (v) => v.toFixed(1) });
  const switches = { ...self, others: append(fold, "div", { class: "switches" }) };
  checkbox(switches, "kl_off", "KL off");
  checkbox(switches, "noise_off", "mean instead of sample");
  checkbox(switches, "pixel_mean", "mean over pixels, not sum");
  choice(switches, "seed", "seed", Array.from({ length: 10 }, (_, i) => [i, String(i)]));
  for (const task of model.get("tasks")) addTask(fold, task);

  // ---- the worker ----

  /** Fetch the images, which nobody has fetched yet, and start the worker. */
  async function load() {
    state = "loading";
    self.later();
    try {
      const id = model.get("pixels").replace("IPY_MODEL_", "");
      const pixels = await model.widget_manager.get_model(id);
      const address = URL.createObjectURL(new Blob([WORKER], { type: "text/javascript" }));
      worker = new Worker(address);
      worker.onmessage = ({ data }) => answers[data.said](data);
      worker.onerror = (event) => fail(event.message);
      const still = matchMedia("(prefers-reduced-motion: reduce)").matches;
      worker.postMessage({ ask: "load", images: bytes(pixels.get("images")),
        held_out: bytes(pixels.get("held_out")), limit: model.get("limit"), frame: still ? 1000 : 80 });
    } catch (error) {
      fail(error.message);
    }
  }

  function fail(why) {
    worker?.terminate();
    worker = null;
    state = "failed";
    note = `This did not work: ${why ?? "the worker stopped"}. Press ▶ to try again. `;
    self.later();
  }

  const answers = {
    loaded: start,
    picture(picture) {
      if (picture.run !== run || state === "poster") return;
      shown = picture;
      const { measured, seen: images } = picture;
      const { points } = runs.at(-1);
      if (measured && points.at(-1)?.seen !== images) points.push({ ...measured, seen: images });
      self.later();
      requestAnimationFrame(() => worker?.postMessage({ ask: "drawn" }));
    },
    posterior(found) {
      if (found.run === run && found.image === chosen) ({ line } = found);
      self.later();
    },
    done(message) {
      if (message.run !== run) return;
      state = "paused";
      note = "It has seen enough. ";
      self.later();
    },
  };

  /** From the first step, with the settings as they are; the run before stays as a pale curve. */
  function start() {
    const settings = settingsOf(self.get);
    const before = runs.filter(({ points, first }) => !first && points.length > 1).at(-1);
    runs = [...(before ? [before] : []), { points: [], apart: differs(settings) }];
    run += 1;
    [state, line, note] = ["running", null, ""];
    worker.postMessage({ ask: "start", run, settings });
    attend();
  }

  function toggle() {
    if (state === "poster" || state === "failed") {
      if (worker) start();
      else load();
    } else if (state !== "loading") {
      state = state === "running" ? "paused" : "running";
      attend();
    }
    self.later();
  }

  /** It learns while it is wanted and looked at. */
  function attend() {
    const wanted = state === "running" && seen && !document.hidden;
    worker?.postMessage({ ask: wanted ? "play" : "pause" });
  }

  /** To the picture of the beginning; `reset` has put the settings back. */
  function forget() {
    clearTimeout(later);
    worker?.postMessage({ ask: "pause" });
    [state, shown, runs, line, chosen] = ["poster", poster, [poster.run], null, null];
    run += 1;
    self.later();
  }

  const changed = () => {
    clearTimeout(later);
    if (state === "running" || state === "paused") later = setTimeout(start, WAIT);
  };
  for (const key of SETTINGS) model.on(`change:${key}`, changed);
  const watch = new IntersectionObserver((entries) => {
    seen = entries.at(-1).isIntersecting;
    attend();
  });
  watch.observe(self.root);
  document.addEventListener("visibilitychange", attend);
  const theme = new MutationObserver(self.later);  // canvases do not follow the page by themselves
  theme.observe(document.documentElement, { attributeFilter: ["data-theme"] });

  // ---- which digit is looked at ----

  function look(image) {
    if (image === chosen) return;
    [chosen, line] = [image, null];
    if (state === "running" || state === "paused") worker.postMessage({ ask: "look", image });
    self.later();
  }
  /** The nearest ellipse, if one is near. */
  function point(event) {
    const box = plane.getBoundingClientRect();
    const { X, Y } = scaleOf(plane, shown.wide);
    const far = labels.map((_, i) => Math.hypot(X(shown.loc[2 * i]) - (event.clientX - box.left),
      Y(shown.loc[2 * i + 1]) - (event.clientY - box.top)));
    const nearest = far.indexOf(Math.min(...far));
    look(far[nearest] < 25 ? nearest : null);
  }
  plane.addEventListener("pointermove", (event) => { if (event.pointerType !== "touch") point(event); });
  plane.addEventListener("pointerleave", (event) => { if (event.pointerType !== "touch") look(null); });
  plane.addEventListener("click", point);  // a tap, which is no scrolling
  plane.addEventListener("keydown", (event) => {
    const step = { ArrowRight: 1, ArrowDown: 1, ArrowLeft: -1, ArrowUp: -1 }[event.key];
    if (!step) return;
    event.preventDefault();
    look(chosen === null ? 0 : within(chosen + step, [0, labels.length - 1]));
  });

  // ---- drawing ----

  let wide = null;
  let last = {};  // what was drawn
  function draw() {
    const now = self.root.clientWidth >= 568;
    if (now !== wide) fold.open = wide = now;  // beside the planes there is room for all
    self.stage.classList.toggle("poster", shown === poster);
    play.disabled = state === "loading";
    begin.disabled = !["poster", "failed"].includes(state);
    play.textContent = state === "running" ? "❚❚ Pause" : state === "loading" ? "…" : "▶ Play";
    const ink = inks(self.root);
    drawPlane(plane, { ...shown, labels, colors, chosen, line }, ink);
    // A pointer moves more often than these change.
    const look = [ink.ink, tiles.clientWidth, curves.clientWidth].join();
    if (last.tiles !== shown.tiles || last.look !== look) drawTiles(tiles, shown.tiles, ink);
    const points = runs.at(-1).points.length;
    if (last.runs !== runs || last.points !== points || last.look !== look) {
      drawCurves(curves, { runs, top: poster.run.points.at(-1)?.log_p }, ink);
    }
    last = { tiles: shown.tiles, runs, points, look };
    tell();
  }

  function tell() {
    const now = runs.at(-1).points.at(-1);
    if (!now) return;
    const [log_p, elbo, gap] = sums(now);
    self.equation([["log p(x)", "var(--evidence)"], ` ${log_p} = `, ["ELBO", "var(--bound)"],
      ` ${elbo} + `, ["KL(q ‖ posterior)", "var(--gap)"], ` ${gap}`]);
    const one = chosen === null || !now.elbos ? "" :
      oneOf(chosen, labels, { elbo: now.elbos[chosen], log_p: now.log_ps[chosen] });
    const images = grouped(shown.seen);
    self.say(`${note}${images} images seen. Mean of ${labels.length} held-out digits, in nats. ${one}`);
    plane.setAttribute("aria-label", `The plane of z after ${images} images: an ellipse for each of `
      + `${labels.length} held-out digits, coloured by digit. Arrow keys choose one.${one && ` ${one}`}`);
    tiles.setAttribute("aria-label", "What the decoder makes of 12 by 12 points of the same plane.");
    curves.setAttribute("aria-label", minus(`Curves against images seen: log p(x), now ${log_p}, and `
      + `the ELBO below it, now ${elbo}; between them a gap of ${gap} nats.`
      + (runs.at(-1).apart ? ` Dashed: what is computed, now ${now.computed.toFixed(1)}.` : "")
      + (runs.length > 1 ? " Pale: the run before." : "")));
  }

  return () => {
    clearTimeout(later);
    watch.disconnect();
    theme.disconnect();
    document.removeEventListener("visibilitychange", attend);
    for (const key of SETTINGS) model.off(`change:${key}`, changed);
    worker?.terminate();
    self.close();
  };
}

function oneOf(image, labels, found) {
  const [log_p, elbo, gap] = sums(found);
  return `Chosen: digit ${image + 1}, a ${labels[image]}, ${log_p} = ${elbo} + ${gap}: blue its q, `
    + "green its exact posterior.";
}

function addTask(fold, { task, answer, href, words }) {
  const box = append(fold, "div", { class: "task" });
  append(box, "p").textContent = task;
  const hidden = append(box, "details");
  append(hidden, "summary").textContent = "Answer";
  const text = append(hidden, "p");
  text.textContent = `${minus(answer)} `;
  // A link from page to page of the site; a notebook's front end has other addresses.
  if (href && location.pathname.endsWith(".html")) append(text, "a", { href }).textContent = words;
}

/** A buffer's bytes, which in a live kernel may lie in the middle of another. */
const bytes = (view) => new Uint8Array(view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength));

/** The poster as a picture of the worker is, from what Python wrote. */
function unfolded({ seen, loc, scale, wide, tiles, points }) {
  return { seen, loc, scale, wide, run: { points, apart: false, first: true },
    tiles: Uint8Array.from(tiles, (digit) => 17 * Number.parseInt(digit, 16)) };
}

export default { render };
