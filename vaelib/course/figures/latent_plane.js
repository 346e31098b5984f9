import { append, choice, figure, plot, rounded, slider, within } from "./figure.js";
import { loadNetwork, paint, sigmoid } from "./network.js";

// The decoder over a plane: drag z, and see p(x | z); walk from one encoded digit to another.

/** The probabilities of the pixels at z. */
export const values = ({ z }, network) => ({ probabilities: network.decode(z).map(sigmoid) });

/** The point at a share t of the way between two codes. */
export const between = (a, b, t) => [0, 1].map((i) => (1 - t) * a[i] + t * b[i]);

const RANGE = { min: -4, max: 4, step: 0.01 };
const PLACES = 7;  // pictures along the way

async function render({ model, el }) {
  const network = await loadNetwork(model);
  const self = figure({ model, el }, {
    name: "A latent plane, decoded",
    hint: "Try: drag the dot from one kind of digit to another. What lies between them?",
  }, draw);
  const plane = plot(self, { x: [-4, 4], y: [-4, 4], xlabel: "z₁", height: 330, ylabel: "z₂" });
  const side = append(self.stage, "div");
  const large = append(side, "canvas", {
    role: "img", width: 28, height: 28, style: "width: 100%; max-width: 260px; aspect-ratio: 1",
  });
  const walk = append(side, "canvas", {
    role: "img", width: 28 * PLACES, height: 28, style: "width: 100%; margin-top: .75rem",
  });
  plane.handle("var(--a)", () => [self.get("z1"), self.get("z2")], (u, v) => {
    self.set({ z1: rounded(u), z2: rounded(v) });
  });
  slider(self, "z1", { label: "z₁", ...RANGE });
  slider(self, "z2", { label: "z₂", ...RANGE });

  // The way between two encoded digits: a slider of its own, which sets z.
  const codes = model.get("codes");
  const labels = model.get("labels");
  const options = labels.slice(0, 20).map((label, i) => [i, `image ${i + 1}, a ${label}`]);
  if (options.length > 1) {
    choice(self, "start", "from", options);
    choice(self, "end", "to", options);
    const way = slider(self, "way", { label: "along the way", min: 0, max: 1, step: 0.01 });
    way.addEventListener("input", () => {
      const [u, v] = between(codes[self.get("start")], codes[self.get("end")], self.get("way"));
      self.set({ z1: rounded(within(u, plane.x)), z2: rounded(within(v, plane.y)) });
    });
  }

  function draw() {
    const z = [self.get("z1"), self.get("z2")];
    for (let label = 0; label < 10; label += 1) {
      const mine = codes.filter((_, i) => labels[i] === label);
      const d = mine.map(([u, v]) => `M${plane.X(u)} ${plane.Y(v)}h0`).join("");
      append(plane.layer, "path", {
        d, stroke: `hsl(${label * 36} 65% 45%)`, "stroke-width": 4, "stroke-linecap": "round",
        "stroke-opacity": 0.65,
      });
    }
    for (let label = 0; label < 10; label += 1) {  // on top: colour alone tells nobody a class
      const mine = codes.filter((_, i) => labels[i] === label);
      if (mine.length === 0) continue;
      const middle = (i) => [...mine.map((c) => c[i])].sort((a, b) => a - b)[mine.length >> 1];
      plane.text([middle(0), middle(1)], label, {
        "text-anchor": "middle", dy: 6, style: "font-size: 18px; font-weight: 700",
      });
    }
    if (options.length > 1) {
      const [a, b] = [codes[self.get("start")], codes[self.get("end")]];
      plane.curve([a, b], "currentColor", { "stroke-width": 1.5, "stroke-dasharray": "5 4" });
      for (let k = 0; k < PLACES; k += 1) {
        const at = between(a, b, k / (PLACES - 1));
        paint(walk, network.decode(at).map(sigmoid), 28 * k);
      }
      walk.setAttribute("aria-label",
        `${PLACES} decodings on the way from a ${labels[self.get("start")]} ` +
        `to a ${labels[self.get("end")]}.`);
    }
    const { probabilities } = values({ z }, network);
    paint(large, probabilities);
    const ink = probabilities.reduce((total, p) => total + p, 0);
    const unsure = probabilities.filter((p) => p > 0.1 && p < 0.9).length;
    self.say(`z = (${z[0].toFixed(2)}, ${z[1].toFixed(2)}): ${ink.toFixed(0)} black pixels are ` +
      `expected, and ${unsure} of 784 are unsure, with a probability between 0.1 and 0.9. ` +
      self.get("about"));
    large.setAttribute("aria-label",
      `The decoded probabilities at z = (${z[0].toFixed(2)}, ${z[1].toFixed(2)}), dark where a ` +
      "pixel is likely to be black.");
    plane.describe(
      `The plane of z with ${codes.length} encoded digits and a dot at (${z[0]}, ${z[1]}).`);
  }
  return self.close;
}

export default { render };
