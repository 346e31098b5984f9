import { figure, slider, choice, plot, reset, rounded, within, sum } from "./figure.js";

// Rain and sprinkler, two independent causes of a wet street: all four cases, weighed.

// Grey is what was thought beforehand, green what agrees with what is seen.

const VALUE = { no: 0, yes: 1 };  // "unseen" is neither: then both count

/** Prior and posterior of both causes; what is null cannot be said, because p(evidence) is 0. */
export function values({ p_rain, p_sprinkler, p_wet, street, sprinkler, rain }) {
  // kept[r][s]: the probability that the case occurs *and* everything seen is as it was seen.
  const weigh = (seen) => [0, 1].map((r) => [0, 1].map((s) => {
    const causes = (r ? p_rain : 1 - p_rain) * (s ? p_sprinkler : 1 - p_sprinkler);
    const effect = { unseen: 1, yes: p_wet[r][s], no: 1 - p_wet[r][s] }[street];
    const fits = (cause, value) => cause === "unseen" || VALUE[cause] === value;
    return seen && !(fits(rain, r) && fits(sprinkler, s)) ? 0 : causes * effect;
  }));
  const divide = (kept) => {
    const evidence = sum(kept.flat());
    if (!(evidence > 0)) return { evidence: 0, surprise: null, rain: null, sprinkler: null };
    return {
      evidence,
      surprise: Math.max(0, -Math.log(evidence)),
      rain: sum(kept[1]) / evidence,
      sprinkler: (kept[0][1] + kept[1][1]) / evidence,
    };
  };
  const kept = weigh(true);
  const by_street = divide(weigh(false));  // as if neither cause had been looked at
  return { ...divide(kept), kept, rain_by_street: by_street.rain,
    sprinkler_by_street: by_street.sprinkler };
}

const P = { min: 0, max: 1, step: 0.01 };
const NAMES = ["p_rain", "p_sprinkler", "p_wet", "street", "sprinkler", "rain"];
const CAUSES = ["rain", "sprinkler"];
const [PRIOR, POSTERIOR] = ["var(--prior)", "var(--posterior)"];
const WIDE = 0.32;  // of a bar
const place = (i, after) => i + 0.3 + (after ? 0.4 : 0);  // the middle of a bar

function render({ model, el }) {
  const self = figure({ model, el }, {
    name: "A wet street and its two causes",
    hint: "Set the sprinkler to “on”. Then hide the street: does the sprinkler still matter?",
  }, draw);
  const square = plot(self, { x: [0, 1], y: [0, 1], height: 168, ticks: false });
  const bars = plot(self, { x: [0, 2], y: [0, 1.25], height: 168, ticks: "y" });
  CAUSES.forEach((name, i) => {
    bars.handle(PRIOR, () => [place(i, false), self.get(`p_${name}`)], (_, p) => {
      self.set({ [`p_${name}`]: rounded(within(p, [P.min, P.max]), P.step) });
    });
    slider(self, `p_${name}`, { label: `p(${name})`, ...P });
  });
  const seen = (key, label, yes, no) =>
    choice(self, key, label, [["unseen", "unseen"], ["yes", yes], ["no", no]]);
  seen("street", "Street", "wet", "dry");
  seen("sprinkler", "Sprinkler", "on", "off");
  seen("rain", "Rain", "rain", "no rain");
  reset(self, NAMES);

  function draw() {
    const at = Object.fromEntries(NAMES.map((name) => [name, self.get(name)]));
    const found = values(at);
    drawCases(square, at, found);
    drawBars(bars, at, found);
    self.equation(division(at, found));
    self.say(sentence(at, found));
  }
  return self.close;
}

/** The four cases as areas: their sides are the priors, and what fits the evidence is filled. */
function drawCases(square, at, { kept, evidence }) {
  const columns = [[at.p_rain, 1], [0, at.p_rain]];  // no rain on the right, rain on the left
  const rows = [[at.p_sprinkler, 1], [0, at.p_sprinkler]];
  for (const r of [0, 1]) {
    for (const s of [0, 1]) {
      const [[u0, u1], [v0, v1]] = [columns[r], rows[s]];
      square.rect([u0, v0], [u1, v1], PRIOR, 0.1);
      if (kept[r][s] > 0) {
        const asked = question(at) === "rain" ? r : s;
        const top = v0 + kept[r][s] / (u1 - u0);
        square.rect([u0, v0], [u1, top], POSTERIOR, asked ? 0.75 : 0.4);
      }
      const large = square.X(u1) - square.X(u0) > 40 && square.Y(v0) - square.Y(v1) > 20;
      if (large) {
        const middle = [(u0 + u1) / 2, (v0 + v1) / 2];
        square.text(middle, kept[r][s].toFixed(3), { "text-anchor": "middle", dy: 4 });
      }
    }
  }
  const line = { "stroke-width": 1.5 };
  square.curve([[at.p_rain, 0], [at.p_rain, 1]], PRIOR, line);
  square.curve([[0, at.p_sprinkler], [1, at.p_sprinkler]], PRIOR, line);
  square.curve([[0, 0], [1, 0], [1, 1], [0, 1], [0, 0]], PRIOR, line);
  const [right, left] = [{ "text-anchor": "end", dx: -6 }, { dx: 6, dy: 16 }];
  if (at.p_sprinkler < 0.85) square.text([1, 1], "sprinkler off", { ...right, dy: 16 });
  if (at.p_sprinkler > 0.15) square.text([1, 0], "sprinkler on", { ...right, dy: -7 });
  if (at.p_rain > 0.13) square.text([0, 1], "rain", left);
  if (at.p_rain < 0.5) square.text([at.p_rain, 1], "no rain", left);
  square.describe(
    `A unit square, cut at p(rain) = ${at.p_rain} and p(sprinkler) = ${at.p_sprinkler}. Its ` +
    `green area, ${evidence.toFixed(3)}, agrees with what is seen; rain has ` +
    `${sum(kept[1]).toFixed(3)} of it.`);
}

function drawBars(bars, at, found) {
  CAUSES.forEach((name, i) => {
    const bar = (after, p) => {
      const middle = place(i, after);
      const color = after ? POSTERIOR : PRIOR;
      bars.rect([middle - WIDE / 2, 0], [middle + WIDE / 2, p], color, after ? 0.75 : 0.5);
      const label = { "text-anchor": "middle", dy: after ? -6 : -14 };
      bars.text([middle, p], p.toFixed(3), label);
      bars.text([middle, 0], after ? "posterior" : "prior", { "text-anchor": "middle", dy: 17 });
    };
    bar(false, at[`p_${name}`]);
    if (found[name] !== null) bar(true, found[name]);
    else bars.text([place(i, true), 0], "none", { "text-anchor": "middle", dy: -6 });
    const before = found[`${name}_by_street`];
    if (looked(at) && at.street !== "unseen" && found[name] !== null) {
      const middle = place(i, true);
      const ends = [[middle - WIDE / 2, before], [middle + WIDE / 2, before]];
      bars.curve(ends, "currentColor", { "stroke-dasharray": "5 3", "stroke-width": 1.6 });
    }
    bars.text([i + 0.5, 0], name, { "text-anchor": "middle", dy: 36, "font-weight": 600 });
  });
  const told = CAUSES.map((name) => found[name] === null
    ? `p(${name}) = ${at[`p_${name}`].toFixed(3)} before, nothing after`
    : `p(${name}) = ${at[`p_${name}`].toFixed(3)} before, ${found[name].toFixed(3)} after`);
  bars.describe(`Bars of prior and posterior probabilities: ${told.join("; ")}.`);
}

const looked = (at) => at.sprinkler !== "unseen" || at.rain !== "unseen";
/** The cause that is in question: the rain, unless it is seen. */
const question = (at) => (at.rain === "unseen" ? "rain" : "sprinkler");

const WORDS = { street: { yes: "wet", no: "dry" },
  sprinkler: { yes: "sprinkler", no: "no sprinkler" }, rain: { yes: "rain", no: "no rain" } };
const seenWords = (at) => Object.keys(WORDS).filter((name) => at[name] !== "unseen")
  .map((name) => WORDS[name][at[name]]).join(", ");

/** The posterior as what it is: the part of the green area with the cause, over all of it. */
function division(at, { kept, evidence, ...found }) {
  const cause = question(at);
  const part = cause === "rain" ? sum(kept[1]) : kept[0][1] + kept[1][1];
  const seen = seenWords(at);
  const left = `p(${cause}${seen && ` | ${seen}`}) = `;
  if (evidence === 0) return [left, "0 / 0"];
  return [left, [part.toFixed(4), POSTERIOR], " / ", [evidence.toFixed(4), POSTERIOR], " = ",
    [found[cause].toFixed(3), POSTERIOR]];
}

function sentence(at, found) {
  const seen = seenWords(at);
  const cause = question(at);
  const prior = `${at[`p_${cause}`].toFixed(3)}`;
  if (!seen) return `Nothing is seen yet, so p(${cause}) stays at its prior, ${prior}.`;
  if (found.evidence === 0) {
    return `By these tables p(${seen}) = 0: nobody can see that, and the posterior's formula ` +
      "would divide by 0.";
  }
  const green = `Green: p(${seen}) = ${found.evidence.toFixed(4)}`;
  if (!WORDS.street[at.street] || !looked(at)) {
    return `${green}, a surprise of ${found.surprise.toFixed(2)} nats.`;
  }
  return `${green}. Dashed: from the street alone, ${found[`${cause}_by_street`].toFixed(3)}.`;
}

export default { render };
