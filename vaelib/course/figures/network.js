import { append, linspace, logSumExp, sum } from "./figure.js";

// The page's network: an encoder and a decoder of linear layers, as vaelib.vae.VAE has them.

const ACTIVATIONS = {
  identity: (v) => v,
  relu: (v) => Math.max(v, 0),
  silu: (v) => v / (1 + Math.exp(-v)),
  sigmoid: (v) => 1 / (1 + Math.exp(-v)),
  softplus: (v) => softplus(v),
  tanh: Math.tanh,
};

/** log(1 + exp(v)), for any v. */
export const softplus = (v) => Math.max(v, 0) + Math.log1p(Math.exp(-Math.abs(v)));
export const sigmoid = (v) => 1 / (1 + Math.exp(-v));

/** From the reference that a figure's trait holds to the two networks. */
export async function loadNetwork(model) {
  const id = model.get("network").replace("IPY_MODEL_", "");
  return networkOf(await model.widget_manager.get_model(id));
}

export function networkOf(weights) {
  const numbers = read(weights.get("data"), weights.get("precision"));
  const { features, loc, logvar, decoder } = weights.get("layers");
  const run = (layers, x) =>
    layers.reduce((h, layer) => apply(numbers, layer, h), Float32Array.from(x));
  return {
    /** q(z | x) of an image of 784 pixels: loc and logvar, two numbers each. */
    encode(x) {
      const h = run(features, x);
      return { loc: [...run(loc, h)], logvar: [...run(logvar, h)] };
    },
    /** The logits of 784 pixels. */
    decode: (z) => run(decoder, z),
  };
}

function apply(numbers, { activation, inputs, outputs, offset }, x) {
  if (activation) return x.map(ACTIVATIONS[activation]);
  const y = new Float32Array(outputs);
  for (let o = 0; o < outputs; o += 1) {
    const at = offset + o * inputs;
    // Four sums at once: one alone would wait for each of its additions.
    let a = numbers[offset + outputs * inputs + o];  // the bias
    let b = 0, c = 0, d = 0, i = 0;
    for (; i + 3 < inputs; i += 4) {
      a += numbers[at + i] * x[i];
      b += numbers[at + i + 1] * x[i + 1];
      c += numbers[at + i + 2] * x[i + 2];
      d += numbers[at + i + 3] * x[i + 3];
    }
    for (; i < inputs; i += 1) a += numbers[at + i] * x[i];
    y[o] = a + b + c + d;
  }
  return y;
}

/** The numbers of a buffer, which in a live kernel may begin in the middle of another. */
function read(view, precision) {
  const bytes = view.buffer.slice(view.byteOffset, view.byteOffset + view.byteLength);
  if (precision === "float32") return new Float32Array(bytes);
  return Float32Array.from(new Uint16Array(bytes), half);
}

/** A float16 from its bits: sign, five bits of exponent, ten of mantissa. */
function half(bits) {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const mantissa = bits & 1023;
  if (exponent === 0) return sign * mantissa * 2 ** -24;
  if (exponent === 31) return mantissa ? NaN : sign * Infinity;
  return sign * (1 + mantissa / 1024) * 2 ** (exponent - 15);
}

// ---- probabilities ----

/** log p(x | z) of pixels 0 and 1, in nats, from logits. */
export const logLikelihood = (x, logits) =>
  logits.reduce((total, logit, i) => total + x[i] * logit - softplus(logit), 0);

const logPrior = ([u, v]) => -0.5 * (u * u + v * v) - Math.log(2 * Math.PI);

/**
 * The exact posterior over a part of the plane: the decoder at every cell, once, and then for each
 * image a product with its pixels. `cells` by `cells` of them, up to `reach` from the middle.
 */
export function posteriorTable(network, { cells, middle, reach }) {
  const width = (2 * reach) / cells;
  const offsets = linspace(-reach + width / 2, reach - width / 2, cells);
  const points = offsets.flatMap((v) => offsets.map((u) => [middle[0] + u, middle[1] + v]));
  const logits = [];
  const constants = [];
  return {
    cells, middle, reach, points,
    /** Decode some more cells, for `milliseconds`; whether all are done. */
    more(milliseconds) {
      const end = performance.now() + milliseconds;
      while (logits.length < points.length && performance.now() < end) {
        const found = network.decode(points[logits.length]);
        constants.push(logPrior(points[logits.length]) - found.reduce((t, v) => t + softplus(v), 0));
        logits.push(found);
      }
      return logits.length === points.length;
    },
    /** log p(x, z) in nats at each decoded cell, row by row from below. */
    logJoint(x) {
      const ink = [...x.keys()].filter((i) => x[i] > 0);
      return logits.map((row, c) => ink.reduce((total, i) => total + row[i] * x[i], constants[c]));
    },
    /** The logarithm of the sum of p(x, z) over those cells, times a cell's area. */
    logMass: (log_joint, kept = () => true) =>
      logSumExp(log_joint.filter((_, c) => kept(points[c]))) + 2 * Math.log(width),
  };
}

// Gauss and Hermite's five nodes and weights for a standard normal (the weights add up to 1).
const NODES = [-2.8569700138728056, -1.355626179974266, 0, 1.355626179974266, 2.8569700138728056];
const WEIGHTS = [0.011257411327720693, 0.2220759220056126, 0.5333333333333333,
  0.2220759220056126, 0.011257411327720693];

/** The ELBO's two terms in nats: E_q[log p(x | z)] by 25 nodes, and KL(q ‖ prior) exactly. */
export function elboTerms(network, x, { loc, logvar }) {
  const scale = logvar.map((v) => Math.exp(v / 2));
  let reconstruction = 0;
  NODES.forEach((a, i) => NODES.forEach((b, j) => {
    const z = [loc[0] + scale[0] * a, loc[1] + scale[1] * b];
    reconstruction += WEIGHTS[i] * WEIGHTS[j] * logLikelihood(x, network.decode(z));
  }));
  const kl = sum(loc.map((m, i) => 0.5 * (m * m + scale[i] ** 2 - 1 - logvar[i])));
  return { reconstruction, kl };
}

/** Draw 28 x 28 probabilities into a canvas, ink dark on white. */
export function paint(canvas, pixels, left = 0, top = 0) {
  const context = canvas.getContext("2d");
  const image = context.createImageData(28, 28);
  pixels.forEach((p, i) => {
    const grey = 255 * (1 - p);
    image.data.set([grey, grey, grey, 255], 4 * i);
  });
  context.putImageData(image, left, top);
}

// ---- the plane of codes ----

// The ten digits, as vaelib.course.plots has them.
const DIGITS = ["#1f77b4", "#ff7f0e", "#2ca02c", "#d62728", "#9467bd", "#8c564b", "#e377c2",
  "#7f7f7f", "#bcbd22", "#17becf"];

/** Places for texts near the points, in pixels, so that no two are closer than `least`. */
export function apart(points, least, rounds = 60) {
  const places = points.map((point) => [...point]);
  for (let round = 0; round < rounds; round += 1) {
    places.forEach((a, i) => places.slice(i + 1).forEach((b) => {
      const [u, v] = [b[0] - a[0], b[1] - a[1]];
      const far = Math.hypot(u, v);
      if (far >= least) return;
      const angle = far > 0 ? Math.atan2(v, u) : i;  // any way, the same each time
      const push = (least - far) / 2 + 0.01;
      a[0] -= push * Math.cos(angle);
      a[1] -= push * Math.sin(angle);
      b[0] += push * Math.cos(angle);
      b[1] += push * Math.sin(angle);
    }));
  }
  return places;
}

/** Codes as dots of ten colours, and over them the ten digits: colour alone tells nobody a class. */
export function drawClasses(plane, codes, labels, { opacity = 0.6, size = 18 } = {}) {
  const classes = [...new Set(labels)].sort().map((label) => {
    const mine = codes.filter((_, i) => labels[i] === label);
    append(plane.layer, "path", {
      d: mine.map(([u, v]) => `M${plane.X(u)} ${plane.Y(v)}h0`).join(""), stroke: DIGITS[label],
      "stroke-width": 4, "stroke-linecap": "round", "stroke-opacity": opacity,
    });
    const middle = (i) => [...mine.map((c) => c[i])].sort((a, b) => a - b)[mine.length >> 1];
    return { label, at: [plane.X(middle(0)), plane.Y(middle(1))] };
  });
  apart(classes.map(({ at }) => at), size + 4).forEach(([x, y], k) => {
    append(plane.layer, "text", {
      x, y: y + size / 3, "text-anchor": "middle", class: "class",
      style: `font-size: ${size}px; font-weight: 700`,
    }).textContent = classes[k].label;
  });
}
