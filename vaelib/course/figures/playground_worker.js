import { PIXELS, REACH, cells, decodings, evidence, exact, fresh, learn, logJoint, normals, terms,
  uniforms } from "./learning.js";

// The worker in which `Playground` trains: it learns while the page draws, and sends pictures as
// quickly as the page takes them, and measurements twice a second.

const SLICE = 12;  // milliseconds of learning between two looks at what the page asks for
const PAUSE = 500;  // milliseconds from a measurement to the next, at least; at first half of it
const FIRST = 20_000;  // images: the curves begin steeply
const SAMPLES = 8;  // of z for each image's ELBO
const REACHES = [3, 4, 6, 8, 12, 16, 24, 32];
export const TILES = 12;  // pictures along a side of the decoded plane
const INSIDE = 1 - Math.exp(-0.5);  // the mass of a normal within one standard deviation, in 2-D

const mean = (values) => values.reduce((total, v) => total + v, 0) / values.length;

// ---- what is measured of a network ----

/**
 * Of the network on the held-out images, in nats: the ELBO as it is defined, the number that
 * training with these settings maximizes, the exact log p(x), all as means, and each image's.
 */
export function measured(theta, x, settings, eps, reach) {
  const q = terms(theta, x, eps);
  const used = settings.noise ? q : terms(theta, x, null);
  const found = exact(theta, x, reach);
  const elbos = q.fit.map((fit, k) => fit - q.kl[k]);
  const fit = mean(used.fit) / (settings.pixel_mean ? PIXELS : 1);
  return {
    elbo: mean(elbos), log_p: mean(found.log_p), kl: mean(q.kl), fit: mean(q.fit),
    computed: fit - settings.beta * mean(q.kl), scale: mean(q.scale),
    elbos, log_ps: found.log_p, reach: found.reach,
  };
}

/** How far the plane goes each way that is shown: so that it holds 98 of 100 codes' coordinates. */
export function reachOf(loc) {
  const far = [...loc].map(Math.abs).sort((a, b) => a - b)[Math.floor(0.98 * loc.length)];
  return REACHES.find((reach) => reach > far) ?? REACHES.at(-1);
}

/** The exact posterior of one image as a curve that holds as much mass as the ellipse of its q. */
export function posterior(theta, x) {
  const { reach } = exact(theta, x);
  const coarse = cells(8 * reach, reach);
  const far = logJoint(theta, x, coarse);
  const top = far.reduce((a, b) => Math.max(a, b), -Infinity);
  const near = [[], []];
  far.forEach((v, c) => {
    if (v > top - 6) [0, 1].forEach((d) => near[d].push(coarse.z[2 * c + d]));
  });
  const ends = near.map((v) => [Math.min(...v), Math.max(...v)]);
  const middle = ends.map(([low, high]) => (low + high) / 2);
  const half = Math.max(...ends.map(([low, high]) => (high - low) / 2)) + 0.4;
  const fine = cells(48, half, middle);
  const joint = logJoint(theta, x, fine);
  const [log_p] = evidence(joint, fine);
  const order = joint.map((v) => v + fine.log_cell - log_p).sort().reverse();
  let mass = 0;
  const level = order.find((v) => { mass += Math.exp(v); return mass >= INSIDE; });
  return contour(joint, fine, level - fine.log_cell + log_p);
}

/** Where the values at cells pass a level: segments, each of four numbers u, v, u, v. */
export function contour(values, { z, points }, level) {
  const segments = [];
  for (let row = 0; row < points - 1; row += 1) {
    for (let column = 0; column < points - 1; column += 1) {
      const c = row * points + column;
      const corners = [c, c + 1, c + points + 1, c + points];
      const met = [];
      corners.forEach((a, i) => {
        const b = corners[(i + 1) % 4];
        if ((values[a] > level) === (values[b] > level)) return;
        const t = (level - values[a]) / (values[b] - values[a]);
        met.push(...[0, 1].map((d) => z[2 * a + d] + t * (z[2 * b + d] - z[2 * a + d])));
      });
      segments.push(...met);
    }
  }
  return Float32Array.from(segments);
}

/** What Python packed with zlib. */
async function unpacked(bytes) {
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

// ---- the conversation with the page ----

let grey, held_out, eps, state, settings, run, looked;
let [playing, waiting, limit, frame] = [false, false, Infinity, 0];
let [pictured, due, reach] = [0, 0, REACH];

const { port1: again, port2: soon } = new MessageChannel();  // a timer would wait for 4 ms each time
again.onmessage = tick;

const heard = {
  async load(message) {
    [grey, held_out] = await Promise.all([message.images, message.held_out].map(unpacked));
    eps = normals(2 * SAMPLES * (held_out.length / PIXELS), uniforms(1));
    ({ limit, frame } = message);
    postMessage({ said: "loaded" });
  },
  start(message) {
    ({ run, settings } = message);
    state = fresh(settings.seed);
    [reach, waiting, due] = [REACH, false, 0];
    show(true);
  },
  play() {
    if (playing || !state || state.seen >= limit) return;
    playing = true;
    soon.postMessage(0);
  },
  pause() {
    if (playing) show(true);
    playing = false;
  },
  drawn() { waiting = false; },
  look({ image }) {
    looked = image;
    if (state) look();
  },
};
onmessage = ({ data }) => heard[data.ask](data);

function tick() {
  if (!playing) return;
  const end = performance.now() + SLICE;
  do learn(state, grey, settings); while (performance.now() < end && state.seen < limit);
  show(state.seen >= limit);
  if (state.seen >= limit) {
    playing = false;
    postMessage({ said: "done", run });
  } else soon.postMessage(0);
}

/** Send a picture, if it is time or a must, and with it a measurement, if that is. */
function show(must) {
  const now = performance.now();
  if (!must && (waiting || now < pictured + frame)) return;
  const { loc, scale } = terms(state.theta, held_out, eps.subarray(0, 2 * (held_out.length / PIXELS)));
  const wide = reachOf(loc);
  const picture = { said: "picture", run, seen: state.seen, loc, scale, wide,
    tiles: decodings(state.theta, cells(TILES, wide)) };
  if (must || now >= due) {
    picture.measured = measured(state.theta, held_out, settings, eps, reach);
    ({ reach } = picture.measured);
    // Where a sum takes long, there are fewer of them.
    const pause = state.seen < FIRST ? PAUSE / 2 : PAUSE;
    due = performance.now() + Math.max(pause, 4 * (performance.now() - now));
  }
  [waiting, pictured] = [true, now];
  postMessage(picture);
  if (picture.measured) look();
}

function look() {
  if (looked === null || looked === undefined) return;
  const x = held_out.subarray(looked * PIXELS, (looked + 1) * PIXELS);
  postMessage({ said: "posterior", run, image: looked, line: posterior(state.theta, x) });
}
