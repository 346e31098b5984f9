// Draws the course's figures on the static page, from the state that the notebook has stored.
//
// In a notebook anywidget does this. Here is no kernel: a setting lives in the page, and Python
// hears of nothing.

const STATE = 'script[type="application/vnd.jupyter.widget-state+json"]';
const stored = JSON.parse(document.querySelector(STATE).textContent).state;
const models = new Map();
const modules = new Map();

/** What a figure's `render` gets: the settings, and who wants to hear of a change. */
class Model {
  #state;
  #listeners = new Map();

  constructor({ state, buffers = [] }) {
    this.#state = { ...state };
    for (const { path, data } of buffers) {
      const bytes = Uint8Array.from(atob(data), (c) => c.charCodeAt(0));
      this.#state[path[0]] = new DataView(bytes.buffer);
    }
    this.widget_manager = { get_model: (id) => Promise.resolve(find(id)) };
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

function find(id) {
  if (!models.has(id)) models.set(id, new Model(stored[id]));
  return models.get(id);
}

function load(source) {
  if (!modules.has(source)) {
    const address = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
    modules.set(source, import(address));
  }
  return modules.get(source);
}

for (const place of document.querySelectorAll("[data-figure]")) {
  const model = find(place.dataset.figure);
  const el = document.createElement("div");
  el.className = "live";
  const { default: figure } = await load(model.get("_esm"));
  await figure.render({ model, el });
  place.append(el);
  place.classList.add("drawn");  // the still picture gives way, except in print
}
