// Colours come from the host's variables at run time, so that a theme switch needs no reload.
// Categorical colours are those of Okabe and Ito; every use is paired with a glyph, a label or a pattern.

export interface Theme {
  dark: boolean;
  forced: boolean;
  background: string;
  raised: string;
  border: string;
  text: string;
  dim: string;
  accent: string;
  warn: string;
  font: string;
  mono: string;
}

const kOkabe = {
  orange: "#E69F00",
  sky: "#56B4E9",
  green: "#009E73",
  yellow: "#F0E442",
  blue: "#0072B2",
  red: "#D55E00",
  purple: "#CC79A7",
  grey: "#8C8C8C",
};

export const kKindColor: Record<string, string> = {
  map: kOkabe.sky,
  elementwise: kOkabe.sky,
  reduce: kOkabe.orange,
  row: kOkabe.yellow,
  call: kOkabe.blue,
  structured: kOkabe.blue,
  view: kOkabe.grey,
  alias: kOkabe.grey,
  leaf: kOkabe.green,
  scalar: kOkabe.grey,
  source: kOkabe.purple,
  module: kOkabe.grey,
};

/** Read beside the colour, never instead of it. */
export const kKindGlyph: Record<string, string> = {
  map: "ƒ",
  elementwise: "ƒ",
  reduce: "Σ",
  row: "≡",
  call: "▦",
  structured: "▦",
  view: "⇄",
  alias: "=",
  leaf: "●",
  scalar: "#",
  source: "✱",
  module: "▤",
};

/** By category code: temporary, parameter, gradient, optimizer, activation, input, arena, output. */
export const kCategoryColor = [
  kOkabe.grey,
  kOkabe.green,
  kOkabe.orange,
  kOkabe.purple,
  kOkabe.blue,
  kOkabe.yellow,
  kOkabe.sky,
  kOkabe.red,
];

/** By category code, read beside the colour. */
export const kCategoryGlyph = ["·", "θ", "∇", "μ", "a", "x", "▥", "y"];

export function themeOf(element: Element): Theme {
  const style = getComputedStyle(element);
  const read = (name: string, otherwise: string) =>
    style.getPropertyValue(name).trim() || otherwise;
  const forced = matchMedia("(forced-colors: active)").matches;
  if (forced) {
    return {
      dark: luminance(resolve(element, "Canvas")) < 0.5,
      forced,
      background: "Canvas",
      raised: "Canvas",
      border: "CanvasText",
      text: "CanvasText",
      dim: "CanvasText",
      accent: "Highlight",
      warn: "CanvasText",
      font: read("--lam-font", "sans-serif"),
      mono: read("--lam-mono", "monospace"),
    };
  }
  const background = resolve(element, read("--lam-bg", "#fff"));
  return {
    dark: luminance(background) < 0.5,
    forced,
    background,
    raised: resolve(element, read("--lam-raised", "#f5f5f5")),
    border: resolve(element, read("--lam-border", "#ccc")),
    text: resolve(element, read("--lam-text", "#111")),
    dim: resolve(element, read("--lam-dim", "#666")),
    accent: resolve(element, read("--lam-accent", "#1976d2")),
    warn: resolve(element, read("--lam-warn", "#b35900")),
    font: read("--lam-font", "sans-serif"),
    mono: read("--lam-mono", "monospace"),
  };
}

/** Turns any CSS colour, also one made of variables, into rgb(). */
function resolve(element: Element, color: string): string {
  const probe = document.createElement("span");
  probe.style.cssText = `position:absolute;visibility:hidden;color:${color}`;
  element.appendChild(probe);
  const value = getComputedStyle(probe).color;
  probe.remove();
  return value;
}

function channels(color: string): [number, number, number] {
  if (color.startsWith("#")) {
    const hex = Number.parseInt(color.slice(1), 16);
    return [(hex >> 16) & 255, (hex >> 8) & 255, hex & 255];
  }
  const parts = color.match(/[\d.]+/g)?.map(Number) ?? [255, 255, 255];
  return [parts[0], parts[1], parts[2]];
}

export function luminance(color: string): number {
  const [r, g, b] = channels(color);
  return (0.2126 * r + 0.7152 * g + 0.0722 * b) / 255;
}

/** `share` of `color` over `base`, opaque: cheaper on a canvas than alpha, and text stays readable. */
export function mix(color: string, base: string, share: number): string {
  const [a, b] = [channels(color), channels(base)];
  return `rgb(${a.map((value, i) => Math.round(value * share + b[i] * (1 - share))).join(",")})`;
}

/** Five steps from cold to warm, readable in both themes and with any colour vision. */
export function heat(share: number): string {
  const stops = ["#3b5a9d", "#4f8fb8", "#9db98a", "#e3b34a", "#d5602a"];
  const place = Math.min(1, Math.max(0, share)) * (stops.length - 1);
  const low = Math.min(stops.length - 2, Math.floor(place));
  return mix(stops[low + 1], stops[low], place - low);
}

/** Calls back when the host changes its theme; returns the disposer. */
export function watchTheme(changed: () => void): () => void {
  let late: ReturnType<typeof setTimeout> | undefined;
  const soon = () => {
    changed();
    // Hosts set the attribute first and load the style sheet after it.
    clearTimeout(late);
    late = setTimeout(changed, 400);
  };
  const observer = new MutationObserver(soon);
  for (const target of [document.documentElement, document.body]) {
    observer.observe(target, {
      attributes: true,
      attributeFilter: [
        "class",
        "data-jp-theme-light",
        "data-jp-theme-name",
        "data-theme",
        "style",
      ],
    });
  }
  const queries = ["(prefers-color-scheme: dark)", "(forced-colors: active)"].map((q) =>
    matchMedia(q),
  );
  for (const query of queries) query.addEventListener("change", soon);
  return () => {
    clearTimeout(late);
    observer.disconnect();
    for (const query of queries) query.removeEventListener("change", soon);
  };
}

export function reducedMotion(): boolean {
  return matchMedia("(prefers-reduced-motion: reduce)").matches;
}
