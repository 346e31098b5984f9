import { figure, slider, choice, plot, rounded, within, sum } from "./figure.js";

// Rain and sprinkler, two independent causes of a wet street: all four cases, weighed.

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
const CAUSES = [["rain", "var(--a)"], ["sprinkler", "var(--b)"]];
const WIDE = 0.32;  // of a bar
const place = (i, after) => i + 0.3 + (after ? 0.4 : 0);  // the middle of a bar

function render({ model, el }) {
  const self = figure({ model, el }, {
    name: "A wet street and its two causes",
    hint: "Try: the street is wet, so set the sprinkler to “on”. Then the same, street unseen.",
  }, draw);
  const square = plot(self, { x: [0, 1], y: [0, 1], height: 300, ticks: "x" });
  const bars = plot(self, { x: [0, 2], y: [0, 1.12], height: 300, ticks: "y" });
  CAUSES.forEach(([name, color], i) => {
    bars.handle(color, () => [place(i, false), self.get(`p_${name}`)], (_, p) => {
      self.set({ [`p_${name}`]: rounded(within(p, [P.min, P.max]), P.step) });
    });
    slider(self, `p_${name}`, { label: `p(${name})`, ...P });
  });
  const seen = (key, label, yes, no) =>
    choice(self, key, label, [["unseen", "unseen"], ["yes", yes], ["no", no]]);
  seen("street", "Street", "wet", "dry");
  seen("sprinkler", "Sprinkler", "on", "off");
  seen("rain", "Rain", "rain", "no rain");

  function draw() {
    const names = ["p_rain", "p_sprinkler", "p_wet", "street", "sprinkler", "rain"];
    const at = Object.fromEntries(names.map((name) => [name, self.get(name)]));
    const found = values(at);
    drawCases(square, at, found);
    drawBars(bars, at, found);
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
      const color = r ? "var(--a)" : "var(--grey)";
      square.rect([u0, v0], [u1, v1], color, 0.1);
      if (kept[r][s] > 0) {
        square.rect([u0, v0], [u1, v0 + kept[r][s] / (u1 - u0)], color, r ? 0.65 : 0.45);
      }
      const large = square.X(u1) - square.X(u0) > 40 && square.Y(v0) - square.Y(v1) > 20;
      if (large) {
        const middle = [(u0 + u1) / 2, (v0 + v1) / 2];
        square.text(middle, kept[r][s].toFixed(3), { "text-anchor": "middle", dy: 4 });
      }
    }
  }
  const line = { "stroke-width": 1.2 };
  square.curve([[at.p_rain, 0], [at.p_rain, 1]], "currentColor", line);
  square.curve([[0, at.p_sprinkler], [1, at.p_sprinkler]], "currentColor", line);
  const [right, left] = [{ "text-anchor": "end", dx: -6 }, { dx: 6, dy: 16 }];
  if (at.p_sprinkler < 0.93) square.text([1, 1], "sprinkler off", { ...right, dy: 16 });
  if (at.p_sprinkler > 0.07) square.text([1, 0], "sprinkler on", { ...right, dy: -7 });
  if (at.p_rain > 0.13) square.text([0, 1], "rain", left);
  if (at.p_rain < 0.5) square.text([at.p_rain, 1], "no rain", left);
  const total = seenWords(at) ? `p(${seenWords(at)}) = ` : "";
  const middle = { "text-anchor": "middle", dy: 37 };
  square.text([0.5, 0], `filled area: ${total}${evidence.toFixed(3)}`, middle);
  square.describe(
    `A unit square, cut at p(rain) = ${at.p_rain} and p(sprinkler) = ${at.p_sprinkler}. Its ` +
    `filled area, ${evidence.toFixed(3)}, agrees with what is seen; rain has ` +
    `${sum(kept[1]).toFixed(3)} of it.`);
}

function drawBars(bars, at, found) {
  CAUSES.forEach(([name, color], i) => {
    const bar = (after, p) => {
      const middle = place(i, after);
      bars.rect([middle - WIDE / 2, 0], [middle + WIDE / 2, p], color, after ? 0.75 : 0.3);
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
    bars.text([i + 0.5, 0], name, { "text-anchor": "middle", dy: 37, "font-weight": 600 });
  });
  const told = CAUSES.map(([name]) => found[name] === null
    ? `p(${name}) = ${at[`p_${name}`].toFixed(3)} before, nothing after`
    : `p(${name}) = ${at[`p_${name}`].toFixed(3)} before, ${found[name].toFixed(3)} after`);
  bars.describe(`Bars of prior and posterior probabilities: ${told.join("; ")}.`);
}

const looked = (at) => at.sprinkler !== "unseen" || at.rain !== "unseen";

const WORDS = { street: { yes: "wet", no: "dry" },
  sprinkler: { yes: "sprinkler", no: "no sprinkler" }, rain: { yes: "rain", no: "no rain" } };
const seenWords = (at) => Object.keys(WORDS).filter((name) => at[name] !== "unseen")
  .map((name) => WORDS[name][at[name]]).join(", ");

function sentence(at, found) {
  const seen = seenWords(at);
  const p = (v) => v.toFixed(3);
  // Of the cause that is in question: the rain, unless it is seen.
  const cause = at.rain === "unseen" ? "rain" : "sprinkler";
  const prior = `p(${cause}) = ${p(at[`p_${cause}`])}`;
  if (!seen) return `${prior}. Nothing is seen yet, so each posterior is its prior.`;
  if (found.evidence === 0) {
    return `${prior}; p(${seen}) = 0. By these tables that cannot be seen, so there is no ` +
      "posterior: its formula would divide by 0.";
  }
  const street = WORDS.street[at.street];
  const alone = `p(${cause} | ${street}) = ${p(found[`${cause}_by_street`])}`;
  const before = street && looked(at) ? ` (from the street alone, dashed: ${alone})` : "";
  const posterior = `p(${cause} | ${seen}) = ${p(found[cause])}`;
  const odds = `p(${seen}) = ${p(found.evidence)}, a surprise of ${p(found.surprise)} nats`;
  return `${prior}; ${posterior}${before}. ${odds}.`;
}

export default { render };
