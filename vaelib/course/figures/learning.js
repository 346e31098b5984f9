// A VAE of 196-64-2-64-196 with tanh, and all that it takes to train and to measure it: pure functions
// of typed arrays. The figure's worker runs them; the tests compare them with torch, line by line.
//
// Images are rows of 196 zeros and ones. All sums are per image, in nats, over pixels and over z.

export const PIXELS = 196;
const HIDDEN = 64;
const LATENT = 2;
export const BATCH = 20;
const LOG_2PI = Math.log(2 * Math.PI);
export const REACH = 5;  // of the plane over which log p(x) is summed, to each side
const LOG_EDGE = Math.log(1e-4);  // the share of a cell at its edge that asks for a larger one
const SHARP = 0.1;  // the relative error of cells twice as wide that asks for narrower ones
const WHOLE = 1e-5;  // the share of a cell that is not divided
const FINEST = 1e-6;  // the area of a cell that is not divided

// The weights lie in one array, in this order, each matrix [out, in] row by row as torch has it.
export const SHAPES = {
  encoder_weight: [HIDDEN, PIXELS], encoder_bias: [HIDDEN],
  loc_weight: [LATENT, HIDDEN], loc_bias: [LATENT],
  logvar_weight: [LATENT, HIDDEN], logvar_bias: [LATENT],
  decoder_weight: [HIDDEN, LATENT], decoder_bias: [HIDDEN],
  pixel_weight: [PIXELS, HIDDEN], pixel_bias: [PIXELS],
};
export const SIZE = Object.values(SHAPES).reduce((total, shape) => total + length(shape), 0);

function length(shape) {
  return shape.reduce((product, n) => product * n, 1);
}

/** Views into the array of weights, or of their gradient, by name. */
export function parts(theta) {
  let at = 0;
  return Object.fromEntries(Object.entries(SHAPES).map(([name, shape]) => {
    at += length(shape);
    return [name, theta.subarray(at - length(shape), at)];
  }));
}

// ---- randomness ----

/** Numbers in (0, 1) from a seed (mulberry32), the same in every browser. */
export function uniforms(seed) {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return (((t ^ (t >>> 14)) >>> 0) + 0.5) / 4294967296;
  };
}

/** So many standard normal numbers (Box and Muller). */
export function normals(count, uniform) {
  const found = new Float64Array(count);
  for (let i = 0; i < count; i += 2) {
    const radius = Math.sqrt(-2 * Math.log(uniform()));
    const angle = 2 * Math.PI * uniform();
    found[i] = radius * Math.cos(angle);
    if (i + 1 < count) found[i + 1] = radius * Math.sin(angle);
  }
  return found;
}

/** Weights as torch.nn.Linear draws them: uniform within ±1/√inputs, biases too. */
export function initial(uniform) {
  const theta = new Float64Array(SIZE);
  let inputs = 1;
  for (const [name, part] of Object.entries(parts(theta))) {
    if (name.endsWith("weight")) inputs = SHAPES[name][1];
    for (let i = 0; i < part.length; i += 1) part[i] = (2 * uniform() - 1) / Math.sqrt(inputs);
  }
  return theta;
}

/** Images drawn from grey ones: each pixel is 1 with probability grey / 255, afresh at each call. */
export function drawn(grey, rows, uniform) {
  const x = new Uint8Array(rows.length * PIXELS);
  rows.forEach((row, k) => {
    for (let i = 0; i < PIXELS; i += 1) {
      const chance = grey[row * PIXELS + i];
      if (chance > 0 && 255 * uniform() < chance) x[k * PIXELS + i] = 1;
    }
  });
  return x;
}

// ---- the two networks, one image at a time ----

/** Which pixels of image k are 1: the others add nothing to a product. */
function ink(x, k) {
  const found = [];
  for (let i = 0; i < PIXELS; i += 1) if (x[k * PIXELS + i]) found.push(i);
  return found;
}

function encode(w, black, hidden, q) {
  for (let h = 0; h < HIDDEN; h += 1) {
    let a = w.encoder_bias[h];
    for (let j = 0; j < black.length; j += 1) a += w.encoder_weight[h * PIXELS + black[j]];
    hidden[h] = Math.tanh(a);
  }
  for (let d = 0; d < LATENT; d += 1) {
    let [loc, logvar] = [w.loc_bias[d], w.logvar_bias[d]];
    for (let h = 0; h < HIDDEN; h += 1) {
      loc += w.loc_weight[d * HIDDEN + h] * hidden[h];
      logvar += w.logvar_weight[d * HIDDEN + h] * hidden[h];
    }
    q.loc[d] = loc;
    q.logvar[d] = logvar;
  }
}

function decode(w, z, hidden, logits) {
  for (let h = 0; h < HIDDEN; h += 1) {
    hidden[h] = Math.tanh(
      w.decoder_bias[h] + w.decoder_weight[2 * h] * z[0] + w.decoder_weight[2 * h + 1] * z[1]);
  }
  for (let i = 0; i < PIXELS; i += 1) {
    const at = i * HIDDEN;
    let [a, b] = [w.pixel_bias[i], 0];  // two sums at once: one would wait for itself
    for (let h = 0; h < HIDDEN; h += 2) {
      a += w.pixel_weight[at + h] * hidden[h];
      b += w.pixel_weight[at + h + 1] * hidden[h + 1];
    }
    logits[i] = a + b;
  }
}

const room = () => ({
  loc: new Float64Array(LATENT), logvar: new Float64Array(LATENT), z: new Float64Array(LATENT),
  first: new Float64Array(HIDDEN), second: new Float64Array(HIDDEN),
  logits: new Float64Array(PIXELS),
});

// ---- the loss and its gradient ----

/**
 * The gradient of the loss of a batch: the mean over its images of
 *
 *   −( weight · Σᵢ log p(xᵢ | z) − β · KL(q(z | x) ‖ N(0, I)) ),   z = μ + σ ε.
 *
 * `eps` has two numbers for each image. Without `noise`, z is μ; with `pixel_mean` the weight is
 * 1/196, else 1. The result lies as the weights do.
 */
export function gradient(theta, x, eps, { beta = 1, noise = true, pixel_mean = false } = {}) {
  const slope = new Float64Array(SIZE);
  const [w, g, r] = [parts(theta), parts(slope), room()];
  const count = x.length / PIXELS;
  const weight = (pixel_mean ? 1 / PIXELS : 1) / count;
  const [to_second, to_first] = [new Float64Array(HIDDEN), new Float64Array(HIDDEN)];
  for (let k = 0; k < count; k += 1) {
    const black = ink(x, k);
    encode(w, black, r.first, r);
    for (let d = 0; d < LATENT; d += 1) {
      r.z[d] = r.loc[d] + (noise ? Math.exp(r.logvar[d] / 2) * eps[2 * k + d] : 0);
    }
    decode(w, r.z, r.second, r.logits);

    to_second.fill(0);
    for (let i = 0; i < PIXELS; i += 1) {
      const error = weight * (1 / (1 + Math.exp(-r.logits[i])) - x[k * PIXELS + i]);
      g.pixel_bias[i] += error;
      for (let h = 0, at = i * HIDDEN; h < HIDDEN; h += 1, at += 1) {
        g.pixel_weight[at] += error * r.second[h];
        to_second[h] += error * w.pixel_weight[at];
      }
    }
    const to_z = [0, 0];
    for (let h = 0; h < HIDDEN; h += 1) {
      const back = to_second[h] * (1 - r.second[h] ** 2);
      g.decoder_bias[h] += back;
      for (let d = 0; d < LATENT; d += 1) {
        g.decoder_weight[2 * h + d] += back * r.z[d];
        to_z[d] += back * w.decoder_weight[2 * h + d];
      }
    }
    to_first.fill(0);
    for (let d = 0; d < LATENT; d += 1) {
      const variance = Math.exp(r.logvar[d]);
      const through = noise ? to_z[d] * eps[2 * k + d] * 0.5 * Math.sqrt(variance) : 0;
      const to_loc = to_z[d] + (beta / count) * r.loc[d];
      const to_logvar = through + (beta / count) * 0.5 * (variance - 1);
      g.loc_bias[d] += to_loc;
      g.logvar_bias[d] += to_logvar;
      for (let h = 0, at = d * HIDDEN; h < HIDDEN; h += 1, at += 1) {
        g.loc_weight[at] += to_loc * r.first[h];
        g.logvar_weight[at] += to_logvar * r.first[h];
        to_first[h] += to_loc * w.loc_weight[at] + to_logvar * w.logvar_weight[at];
      }
    }
    for (let h = 0; h < HIDDEN; h += 1) {
      const back = to_first[h] * (1 - r.first[h] ** 2);
      g.encoder_bias[h] += back;
      for (let j = 0; j < black.length; j += 1) g.encoder_weight[h * PIXELS + black[j]] += back;
    }
  }
  return slope;
}

/** One step of Adam, as torch.optim.Adam makes it: ε is added to the root, and not inside it. */
export function adam(state, slope, { rate = 0.005, betas = [0.9, 0.999], epsilon = 1e-8 } = {}) {
  state.steps += 1;
  const [rest, sharp] = betas.map((b) => 1 - b ** state.steps);
  const { theta, mean, square } = state;
  for (let i = 0; i < SIZE; i += 1) {
    mean[i] += (1 - betas[0]) * (slope[i] - mean[i]);
    square[i] += (1 - betas[1]) * (slope[i] * slope[i] - square[i]);
    theta[i] -= (rate / rest) * mean[i] / (Math.sqrt(square[i] / sharp) + epsilon);
  }
}

/** A network before its first step. */
export function fresh(seed) {
  const uniform = uniforms(seed);
  return {
    theta: initial(uniform), mean: new Float64Array(SIZE), square: new Float64Array(SIZE),
    steps: 0, seen: 0, order: [], uniform,
  };
}

/** The next batch of grey images, in a new order in each pass: a draw of pixels, and of noise. */
export function next(state, grey) {
  if (state.order.length < BATCH) {
    const order = Array.from({ length: grey.length / PIXELS }, (_, i) => i);
    for (let i = order.length - 1; i > 0; i -= 1) {
      const j = Math.floor(state.uniform() * (i + 1));
      [order[i], order[j]] = [order[j], order[i]];
    }
    state.order = order;
  }
  const rows = state.order.splice(-BATCH);
  return { x: drawn(grey, rows, state.uniform), eps: normals(2 * BATCH, state.uniform) };
}

/** One step: learn from the next batch. */
export function learn(state, grey, settings) {
  const { x, eps } = next(state, grey);
  adam(state, gradient(state.theta, x, eps, settings));
  state.seen += BATCH;
}

// ---- what is measured ----

const softplus = (v) => Math.max(v, 0) + Math.log1p(Math.exp(-Math.abs(v)));

/**
 * The two terms of each image's ELBO: log p(x | z), as the mean over z = μ + σε for the `samples`
 * rows of `eps` [samples, images, 2], and KL(q ‖ prior); and its q. With `eps` null, z is μ.
 */
export function terms(theta, x, eps) {
  const [w, r] = [parts(theta), room()];
  const count = x.length / PIXELS;
  const samples = eps ? eps.length / (2 * count) : 1;
  const found = { fit: new Float64Array(count), kl: new Float64Array(count),
    loc: new Float64Array(2 * count), scale: new Float64Array(2 * count) };
  for (let k = 0; k < count; k += 1) {
    const black = ink(x, k);
    encode(w, black, r.first, r);
    for (let d = 0; d < LATENT; d += 1) {
      const variance = Math.exp(r.logvar[d]);
      found.loc[2 * k + d] = r.loc[d];
      found.scale[2 * k + d] = Math.sqrt(variance);
      found.kl[k] += 0.5 * (r.loc[d] ** 2 + variance - 1 - r.logvar[d]);
    }
    for (let s = 0; s < samples; s += 1) {
      for (let d = 0; d < LATENT; d += 1) {
        const e = eps ? eps[2 * (s * count + k) + d] : 0;
        r.z[d] = r.loc[d] + Math.exp(r.logvar[d] / 2) * e;
      }
      decode(w, r.z, r.second, r.logits);
      found.fit[k] += logLikelihood(black, r.logits) / samples;
    }
  }
  return found;
}

function logLikelihood(black, logits) {
  let total = 0;
  for (let i = 0; i < PIXELS; i += 1) total -= softplus(logits[i]);
  for (let j = 0; j < black.length; j += 1) total += logits[black[j]];
  return total;
}

/** Middles of `points` × `points` equal cells of the plane, row by row, up to `reach` each way. */
export function cells(points, reach, middle = [0, 0]) {
  const width = (2 * reach) / points;
  const z = new Float64Array(2 * points * points);
  for (let c = 0; c < points * points; c += 1) {
    z[2 * c] = middle[0] - reach + width * ((c % points) + 0.5);
    z[2 * c + 1] = middle[1] - reach + width * (Math.floor(c / points) + 0.5);
  }
  return { z, points, reach, middle, log_cell: 2 * Math.log(width) };
}

/** log p(x, z) of each image at each cell, [images, cells], in nats. */
export function logJoint(theta, x, { z }) {
  const [w, r] = [parts(theta), room()];
  const [count, size] = [x.length / PIXELS, z.length / 2];
  const blacks = Array.from({ length: count }, (_, k) => ink(x, k));
  const joint = new Float64Array(count * size);
  for (let c = 0; c < size; c += 1) {
    const at = z.subarray(2 * c, 2 * c + 2);
    decode(w, at, r.second, r.logits);
    const constant = -0.5 * (at[0] ** 2 + at[1] ** 2) - LOG_2PI + logLikelihood([], r.logits);
    blacks.forEach((black, k) => {
      let total = constant;
      for (let j = 0; j < black.length; j += 1) total += r.logits[black[j]];
      joint[k * size + c] = total;
    });
  }
  return joint;
}

/** log p(x) of each image: the logarithm of the sum of p(x, z) over all cells, times their area. */
export function evidence(joint, { z, log_cell }) {
  const size = z.length / 2;
  return Float64Array.from({ length: joint.length / size }, (_, k) =>
    logSumExp(joint.subarray(k * size, (k + 1) * size)) + log_cell);
}

function logSumExp(row) {
  const top = row.reduce((a, b) => Math.max(a, b), -Infinity);
  return top + Math.log(row.reduce((total, v) => total + Math.exp(v - top), 0));
}

/**
 * log p(x) of each image on 50 × 50 cells over [−5, 5]², on as many more cells of that width as the
 * mass needs, and on narrower ones where a posterior is sharp: without the KL, codes go where the
 * prior hardly is, and so do posteriors; without the noise, they are narrower than a cell.
 * Begins with `reach`; one that was enough before is a good guess.
 */
export function exact(theta, x, reach = REACH) {
  const window = cells(10 * reach, reach);
  const joint = logJoint(theta, x, window);
  const log_p = evidence(joint, window);
  const edge = reach - 0.3;
  const size = window.z.length / 2;
  const outer = Array.from({ length: size }, (_, c) => c).filter((c) =>
    Math.abs(window.z[2 * c]) > edge || Math.abs(window.z[2 * c + 1]) > edge);
  const beyond = log_p.some((total, k) =>
    outer.some((c) => joint[k * size + c] + window.log_cell - total > LOG_EDGE));
  if (beyond && reach < 14) return exact(theta, x, reach + 3);
  return { reach, log_p: log_p.map((_, k) => refined(theta, x.subarray(k * PIXELS, (k + 1) * PIXELS),
    window, joint.subarray(k * size, (k + 1) * size))) };
}

/**
 * log p(x) of one image: the sum over the window's cells, and over quarters of those that hold it
 * while cells twice as wide give another sum. Four of those lie in four cells, one for each corner,
 * and where they agree with the sum its own error is far smaller than the largest of theirs.
 */
function refined(theta, x, window, joint) {
  const top = joint.reduce((a, b) => Math.max(a, b));
  let [area, z, whole] = [Math.exp(window.log_cell), window.z, 0];  // whole: of cells not divided
  let corner = (c) => (c % window.points) % 2 + 2 * (Math.floor(c / window.points) % 2);
  for (let masses = joint; ; masses = logJoint(theta, x, { z })) {
    masses = masses.map((v) => area * Math.exp(v - top));
    const four = [0, 0, 0, 0];
    masses.forEach((mass, c) => { four[corner(c)] += mass; });
    const sum = four.reduce((a, b) => a + b);
    const total = whole + sum;
    const wrong = Math.max(...four.map((one) => Math.abs(4 * one - sum))) / total;
    if (!(wrong > SHARP) || area < FINEST) return top + Math.log(total);
    const [quarters, shift] = [[], Math.sqrt(area) / 4];
    masses.forEach((mass, c) => {
      if (mass < WHOLE * total) { whole += mass; return; }
      for (const [right, up] of [[-1, -1], [1, -1], [-1, 1], [1, 1]]) {
        quarters.push(z[2 * c] + right * shift, z[2 * c + 1] + up * shift);
      }
    });
    [z, area, corner] = [Float64Array.from(quarters), area / 4, (c) => c % 4];
  }
}

/** Probabilities of the pixels at each cell, as bytes: 255 is certain ink. */
export function decodings(theta, { z }) {
  const [w, r] = [parts(theta), room()];
  const found = new Uint8Array((z.length / 2) * PIXELS);
  for (let c = 0; c < z.length / 2; c += 1) {
    decode(w, z.subarray(2 * c, 2 * c + 2), r.second, r.logits);
    r.logits.forEach((v, i) => { found[c * PIXELS + i] = Math.round(255 / (1 + Math.exp(-v))); });
  }
  return found;
}
