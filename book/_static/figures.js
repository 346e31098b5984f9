// Draws the course's figures on the static page, from the state that the notebook has stored.
//
// In a notebook anywidget does this. Here is no kernel: a setting lives in the page, and Python
// hears of nothing. A figure's script and numbers are fetched when the reader comes near.

const NEAR = "800px 0px";
const models = new Map();

/** What a figure's `render` gets: the settings, and who wants to hear of a change. */
class Model {
  #state;
  #listeners = new Map();

  constructor(state, find) {
    this.#state = state;
    this.widget_manager = { get_model: find };
  }
  get(name) {
    return this.#state[name];
  }
  set(name, value) {
    if (this.#state[name] === value) return;
    this.#state[name] = value;
    for (const event of [`change:${name}`, "change"]) {
      for (const listener of this.#listeners.get(event) ?? []) listener(this, value);
    }
  }
  on(event, listener) {
    this.#listeners.set(event, [...(this.#listeners.get(event) ?? []), listener]);
  }
  off(event, listener) {
    this.#listeners.set(event, (this.#listeners.get(event) ?? []).filter((l) => l !== listener));
  }
  save_changes() {}
  send() {}
}

async function fetched(address) {
  const answer = await fetch(address);
  if (!answer.ok) throw new Error(`${address}: ${answer.status}`);
  return answer;
}

/**
 * The model of this name, made once for all figures of the page that refer to it. What weighs much
 * can be a model of its own: it is fetched when a figure asks for it.
 */
function find(name, told, at) {
  if (!models.has(name)) {
    const model = made(told[name], (other) => find(other, told, at), at);
    model.catch(() => models.delete(name));  // another try may find it
    models.set(name, model);
  }
  return models.get(name);
}

async function made({ state, buffers }, find, at) {
  await Promise.all(buffers.map(async ({ path, file }) => {
    state[path[0]] = new DataView(await (await fetched(new URL(file, at))).arrayBuffer());
  }));
  return new Model(state, find);
}

async function draw(place) {
  const at = new URL(place.dataset.figure, document.baseURI);
  const { model: name, models: told } = await (await fetched(at)).json();
  const [model, { default: figure }] = await Promise.all([
    find(name, told, at), import(new URL(told[name].script, at)),
  ]);
  const el = document.createElement("div");
  el.className = "live";
  await figure.render({ model, el });
  const { bottom, height } = place.getBoundingClientRect();
  place.append(el);
  place.classList.add("drawn");  // the still picture gives way, except in print
  // What is being read stays where it is, also in a browser that does not see to it.
  if (bottom < 0 && !CSS.supports("overflow-anchor", "auto")) {
    scrollBy({ top: place.getBoundingClientRect().height - height, behavior: "instant" });
  }
}

const watch = new IntersectionObserver((seen) => {
  for (const { isIntersecting, target } of seen) {
    if (isIntersecting) {
      watch.unobserve(target);
      draw(target);
    }
  }
}, { rootMargin: NEAR });
for (const place of document.querySelectorAll("[data-figure]")) watch.observe(place);
