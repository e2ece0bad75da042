// Linear axes and their ticks.

export interface Axis {
  from: number;
  to: number;
  pixels: number;
}

export function toPixel(axis: Axis, value: number): number {
  return ((value - axis.from) / (axis.to - axis.from || 1)) * axis.pixels;
}

export function toValue(axis: Axis, pixel: number): number {
  return axis.from + (pixel / (axis.pixels || 1)) * (axis.to - axis.from);
}

/** Round steps of 1, 2 or 5 times a power of ten, at most `most` of them. */
export function ticks(from: number, to: number, most: number): number[] {
  const span = to - from;
  if (!(span > 0) || most < 1) return [];
  const rough = span / most;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * ([1, 2, 5, 10].find((factor) => factor * power >= rough) ?? 10);
  const values: number[] = [];
  for (let k = Math.ceil(from / step); k * step <= to; k++) values.push(k * step);
  return values;
}
