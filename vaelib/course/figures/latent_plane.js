import { append, choice, figure, linspace, minus, plot, reset, rounded, slider,
  within } from "./figure.js";
import { drawClasses, loadNetwork, paint, sigmoid } from "./network.js";

// The decoder over a plane: put z anywhere, and see p(x | z); walk from one encoded digit to another.

const LOG_2PI = Math.log(2 * Math.PI);

/** The probabilities of the pixels at z, and log p(z) of the prior N(0, I), in nats. */
export const values = ({ z }, network) => ({
  probabilities: network.decode(z).map(sigmoid),
  log_prior: -(z[0] ** 2 + z[1] ** 2) / 2 - LOG_2PI,
});

/** log p(z) as texts that add up: minus half the squared distance, minus log 2π, their sum. */
export function prior(z) {
  const parts = [(z[0] ** 2 + z[1] ** 2) / 2, LOG_2PI].map((v) => v.toFixed(2));
  return [...parts, (-Number(parts[0]) - Number(parts[1])).toFixed(2)];
}

/** The point at a share t of the way between two codes. */
export const between = (a, b, t) => [0, 1].map((i) => (1 - t) * a[i] + t * b[i]);

/** Whose codes the straight line from a to b passes: labels of the nearest code, in their order. */
export function passed(a, b, codes, labels) {
  const found = [];
  for (const t of linspace(0, 1, 101)) {
    const [u, v] = between(a, b, t);
    const far = codes.map((c) => (c[0] - u) ** 2 + (c[1] - v) ** 2);
    const label = labels[far.indexOf(Math.min(...far))];
    if (!found.includes(label)) found.push(label);
  }
  return found;
}

const RANGE = { min: -4, max: 4, step: 0.01 };
const PLACES = 9;  // pictures along the way

async function render({ model, el }) {
  const network = await loadNetwork(model);
  const codes = model.get("codes");
  const labels = model.get("labels");
  const options = labels.slice(0, 20).map((label, i) => [i, `image ${i + 1}, a ${label}`]);
  const self = figure({ model, el }, {
    name: "A latent plane, decoded",
    hint: options.length > 1
      ? `Try: from the ${labels[model.get("start")]}s to the ${labels[model.get("end")]}s in a `
        + "straight line: how many others do you pass? Click anywhere, drag the dot, or walk."
      : "Try: click anywhere in the plane, or drag the dot. What lies between two kinds of digits?",
  }, draw);
  const plane = plot(self, { x: [-4, 4], y: [-4, 4], xlabel: "z₁", height: 330, ylabel: "z₂" });
  const side = append(self.stage, "div");
  const large = append(side, "canvas", {
    role: "img", width: 28, height: 28, style: "width: 100%; max-width: 260px; aspect-ratio: 1",
  });
  const walk = append(side, "canvas", {
    role: "img", width: 28 * PLACES, height: 28, style: "width: 100%; margin-top: .75rem",
  });
  const moveTo = ([u, v]) => self.set({ z1: rounded(u), z2: rounded(v) });
  plane.handle("var(--q)", () => [self.get("z1"), self.get("z2")], (u, v) => moveTo([u, v]));
  // A click, and a tap, which is no scrolling.
  plane.svg.addEventListener("click", (event) => moveTo(plane.point(event)));
  plane.svg.style.cursor = "pointer";
  slider(self, "z1", { label: "z₁", ...RANGE });
  slider(self, "z2", { label: "z₂", ...RANGE });

  // The way between two encoded digits: a slider of its own, which sets z.
  if (options.length > 1) {
    choice(self, "start", "from", options);
    choice(self, "end", "to", options);
    const way = slider(self, "way", { label: "along the way", min: 0, max: 1, step: 0.01 });
    way.addEventListener("input", () => {
      const at = between(codes[self.get("start")], codes[self.get("end")], self.get("way"));
      moveTo([within(at[0], plane.x), within(at[1], plane.y)]);
    });
  }
  reset(self, ["z1", "z2", "start", "end", "way"]);

  function draw() {
    const z = [self.get("z1"), self.get("z2")];
    for (const radius of [1, 2]) {  // the prior, at one and two standard deviations
      const circle = linspace(0, 2 * Math.PI, 61).map((a) =>
        [radius * Math.cos(a), radius * Math.sin(a)]);
      plane.curve(circle, "var(--prior)", { "stroke-width": 1.5, "stroke-dasharray": "2 4" });
    }
    drawClasses(plane, codes, labels);
    let others = "";
    if (options.length > 1) {
      const [start, end] = [self.get("start"), self.get("end")];
      const [a, b] = [codes[start], codes[end]];
      plane.curve([a, b], "currentColor", { "stroke-width": 1.5, "stroke-dasharray": "5 4" });
      for (let k = 0; k < PLACES; k += 1) {
        const at = between(a, b, k / (PLACES - 1));
        paint(walk, network.decode(at).map(sigmoid), 28 * k);
      }
      walk.setAttribute("aria-label",
        `${PLACES} decodings on the way from a ${labels[start]} to a ${labels[end]}.`);
      const met = passed(a, b, codes, labels).filter((l) => ![labels[start], labels[end]].includes(l));
      others = `On the straight line from this ${labels[start]} to this ${labels[end]}, the nearest `
        + `of the ${codes.length} codes are also those of ${met.join(", ") || "no other digit"}. `;
    }
    const { probabilities } = values({ z }, network);
    paint(large, probabilities);
    const [half, constant, sum] = prior(z);
    self.equation([["log p(z)", "var(--data)"], ` = −½‖z‖² − log 2π = −${half} − ${constant} = `,
      [sum, "var(--data)"], " nats"]);
    const unsure = probabilities.filter((p) => p > 0.1 && p < 0.9).length;
    self.say(minus(`z = (${z[0].toFixed(2)}, ${z[1].toFixed(2)}): ${unsure} of 784 pixels are ` +
      `unsure, with a probability between 0.1 and 0.9. ${others}Dotted circles: the prior, at one ` +
      `and two standard deviations. ${self.get("about")}`));
    large.setAttribute("aria-label",
      `The decoded probabilities at z = (${z[0].toFixed(2)}, ${z[1].toFixed(2)}), dark where a ` +
      "pixel is likely to be black.");
    plane.describe(
      `The plane of z with ${codes.length} encoded digits and a dot at (${z[0]}, ${z[1]}).`);
  }
  return self.close;
}

export default { render };
