// What a reader sees of a kernel's text: its parts, their lines, and why there is none.
import type { PlanGroup, PlanIndex } from "../shared/plan.ts";

export interface Source {
  title: string;
  text: string;
  lines: number;
}

/** Texts that need no scrolling open at once; beyond, the rest of the panel stays in sight. */
const kShort = 12;

/** The texts of a group, each once; empty where the device compiles none. */
export function sourcesOf(index: PlanIndex, group: PlanGroup): Source[] {
  return (group.kernel_text?.sources ?? []).map((source) => {
    const text = index.plan.texts?.[source.text] ?? "";
    return { title: source.title || group.label, text, lines: countLines(text) };
  });
}

export function isShort(source: Source): boolean {
  return source.lines <= kShort;
}

export function countLines(text: string): number {
  const breaks = text.split("\n").length - 1;
  return text === "" || text.endsWith("\n") ? breaks : breaks + 1;
}

/** `1` to `count`, a line each, to stand beside a text. */
export function numbers(count: number): string {
  return Array.from({ length: count }, (_, i) => i + 1).join("\n");
}

/** `soft_metal, Metal · compiled in 12.3 ms`. */
export function about(index: PlanIndex, group: PlanGroup): string {
  const { dialect = "", compiled = "" } = group.kernel_text ?? {};
  const device = [index.plan.device, dialect].filter(Boolean).join(", ");
  return [device, compiled].filter(Boolean).join(" · ");
}

/** Why a group has no text; `isa` is the CPU's instruction set where it is known. */
export function withoutText(index: PlanIndex, group: PlanGroup, isa: unknown): string {
  const { device } = index.plan;
  if (device !== "cpu") return `${device || "This device"} compiles no text for this kernel.`;
  const how = `compiled ahead of time${typeof isa === "string" && isa ? ` for ${isa}` : ""}`;
  return group.kind === "call"
    ? `The CPU compiles no text: it calls a function that was ${how}.`
    : `The CPU compiles no text: it runs this program, block by block, with loops ${how}.`;
}
