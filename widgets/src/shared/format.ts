// Numbers as people read them. One spelling for every view, equal to that of the static twin.

const kByteUnits = ["B", "kB", "MB", "GB", "TB"];

/** Three digits, no trailing zeros. */
function trim(value: number): string {
  return String(Number(value.toPrecision(3)));
}

/** Decimal units: 1 kB = 1000 bytes, as memory bandwidth is quoted. */
export function bytes(value: number): string {
  const sign = value < 0 ? "-" : "";
  let size = Math.abs(value);
  let unit = 0;
  while (size >= 999.5 && unit < kByteUnits.length - 1) {
    size /= 1000;
    unit++;
  }
  return `${sign}${unit === 0 ? size.toFixed(0) : trim(size)} ${kByteUnits[unit]}`;
}

/** Nanoseconds to ns, us, ms or s. */
export function time(ns: number): string {
  const size = Math.abs(ns);
  if (size < 1e3) return `${trim(ns)} ns`;
  if (size < 1e6) return `${trim(ns / 1e3)} us`;
  if (size < 1e9) return `${trim(ns / 1e6)} ms`;
  return `${trim(ns / 1e9)} s`;
}

export function count(value: number): string {
  if (value < 1e4) return String(Math.round(value));
  if (value < 1e6) return `${trim(value / 1e3)} k`;
  if (value < 1e9) return `${trim(value / 1e6)} M`;
  return `${trim(value / 1e9)} G`;
}

/** bytes over ns is GB/s. */
export function rate(byteCount: number, ns: number): string {
  return ns > 0 ? `${trim(byteCount / ns)} GB/s` : "-";
}

export function percent(part: number): string {
  if (!Number.isFinite(part)) return "-";
  return `${(part * 100).toFixed(1)}%`;
}

export function shape(dims: readonly number[] | undefined): string {
  return dims ? `(${dims.join(", ")}${dims.length === 1 ? "," : ""})` : "";
}

/** Last two parts of a path: enough to recognise a file, short enough for a table. */
export function shortFile(file: string): string {
  const cell = /ipykernel_\d+\/(\d+)\.py$/.exec(file);
  if (cell) return "cell";
  return file.split("/").slice(-2).join("/");
}

export function elide(text: string, length: number): string {
  return text.length <= length ? text : `${text.slice(0, Math.max(1, length - 1))}…`;
}

/** `1 run`, `2 runs`. */
export function counted(value: number, noun: string): string {
  return `${count(value)} ${noun}${value === 1 ? "" : "s"}`;
}
