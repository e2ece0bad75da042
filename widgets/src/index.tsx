// Entry point of the widget: one module for every view, told apart by the model's `view`.
import "./lamina.css";
import { render as mount } from "preact";
import { App } from "./app.tsx";
import { Store, type Tab } from "./shared/model.ts";
import { parseHeader, Sequencer, splitSnapshot } from "./shared/wire.ts";

/** What this module uses of the host's model. */
interface Model {
  get(name: string): unknown;
  on(event: string, callback: (...args: never[]) => void): void;
  off(event: string, callback: (...args: never[]) => void): void;
  send(content: unknown): void;
}

interface Context {
  model: Model;
  el: HTMLElement;
}

/** By the model's `uid`: hosts hand `initialize` and `render` different facades of one model. */
const kStores = new Map<string, Store>();
const kAskAgainMs = 1000;
let instances = 0;

function toView(value: unknown): DataView | null {
  if (value instanceof DataView) return value;
  if (value instanceof ArrayBuffer) return new DataView(value);
  if (ArrayBuffer.isView(value))
    return new DataView(value.buffer, value.byteOffset, value.byteLength);
  return null;
}

/** Attaches the listeners: before any view exists, or early messages would be lost. */
function connect(model: Model): { store: Store; stop: () => void } {
  const store = new Store();
  let asked = Number.NEGATIVE_INFINITY;
  const sequencer = new Sequencer(
    store.apply,
    (seq) => {
      if (performance.now() - asked < kAskAgainMs) return;
      asked = performance.now();
      model.send({ lamina: 1, resend_from: seq });
    },
    store.fail,
  );
  const receive = (content: { lamina?: number }, buffers: unknown[]) => {
    if (content?.lamina !== 1) return;
    for (const buffer of buffers ?? []) {
      const view = toView(buffer);
      try {
        if (view) sequencer.push(parseHeader(view));
      } catch (error) {
        store.fail(error);
      }
    }
  };
  const restore = () => {
    const view = toView(model.get("snapshot"));
    if (!view || view.byteLength === 0) return;
    try {
      for (const frame of splitSnapshot(view)) sequencer.push(frame);
    } catch (error) {
      store.fail(error);
    }
  };
  model.on("msg:custom", receive as never);
  model.on("change:snapshot", restore as never);
  restore();
  return {
    store,
    stop: () => {
      model.off("msg:custom", receive as never);
      model.off("change:snapshot", restore as never);
    },
  };
}

/** The static twin, an output of its own, stands in only where no model is alive. */
function hideTwin(uid: string): () => void {
  const style = document.createElement("style");
  const twin = `.lamina-twin-${CSS.escape(uid)}`;
  style.textContent = `.jp-OutputArea-child:has(${twin}), ${twin} { display: none !important; }`;
  document.head.appendChild(style);
  return () => style.remove();
}

function initialize({ model }: { model: Model }) {
  const { store, stop } = connect(model);
  const uid = String(model.get("uid"));
  kStores.set(uid, store);
  const unhide = hideTwin(uid);
  return () => {
    stop();
    unhide();
    kStores.delete(uid);
  };
}

function render({ model, el }: Context) {
  // A host without `initialize` still gets the snapshot and what follows it.
  let store = kStores.get(String(model.get("uid")));
  let stop = () => {};
  if (!store) ({ store, stop } = connect(model));
  const root = document.createElement("div");
  root.className = "lam-root";
  root.style.setProperty("--lam-height", `${Number(model.get("height")) || 520}px`);
  // The notebook's shortcuts (Enter, A, B, ...) look at the focused element itself, not around it.
  root.addEventListener("focusin", (event) => {
    (event.target as Element).setAttribute("data-lm-suppress-shortcuts", "true");
  });
  el.appendChild(root);
  const view = String(model.get("view") ?? "profile");
  const only = view === "profile" ? null : (view as Tab);
  mount(<App store={store} only={only} id={`lamina-${++instances}`} />, root);
  return () => {
    mount(null, root);
    root.remove();
    stop();
  };
}

export default { initialize, render };
