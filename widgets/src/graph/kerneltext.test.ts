import assert from "node:assert/strict";
import { test } from "node:test";
import { type Plan, type PlanGroup, PlanIndex } from "../shared/plan.ts";
import { about, countLines, isShort, numbers, sourcesOf, withoutText } from "./kerneltext.ts";

function group(more: Partial<PlanGroup> = {}): PlanGroup {
  const row = { id: 0, kind: "map", label: "exp+add", nodes: [], launch: 0, program: "" };
  return { ...row, reads: 0, writes: 0, flops: 0, scratch: 0, ...more };
}

function index(device: string, groups: PlanGroup[], texts?: string[]): PlanIndex {
  const plan = { plan: 1, device, nodes: [], groups, edges: [], launches: [], texts };
  return new PlanIndex(plan as unknown as Plan);
}

const kScan = group({
  kernel_text: {
    dialect: "Metal",
    compiled: "compiled in 12.3 ms",
    sources: [
      { title: "totals", text: 1 },
      { title: "", text: 0 },
    ],
  },
});

test("the parts of a group are looked up among the plan's texts", () => {
  const plan = index("soft_metal", [kScan], ["a\nb\n", "c"]);
  assert.deepEqual(sourcesOf(plan, kScan), [
    { title: "totals", text: "c", lines: 1 },
    { title: "exp+add", text: "a\nb\n", lines: 2 },
  ]);
  assert.equal(about(plan, kScan), "soft_metal, Metal · compiled in 12.3 ms");
});

test("a plan of an older stream has no texts", () => {
  const plan = index("cuda", [group()]);
  assert.deepEqual(sourcesOf(plan, group()), []);
  assert.deepEqual(sourcesOf(plan, kScan), [
    { title: "totals", text: "", lines: 0 },
    { title: "exp+add", text: "", lines: 0 },
  ]);
  assert.equal(about(plan, group()), "cuda");
});

test("lines are counted and numbered as an editor does", () => {
  assert.deepEqual(["", "a", "a\n", "a\nb", "\n\n"].map(countLines), [0, 1, 1, 2, 2]);
  assert.equal(numbers(3), "1\n2\n3");
  assert.equal(numbers(0), "");
  const source = (lines: number) => ({ title: "", text: "", lines });
  assert.deepEqual(
    [12, 13].map((lines) => isShort(source(lines))),
    [true, false],
  );
});

test("without a text the panel says what runs instead", () => {
  const cpu = index("cpu", []);
  assert.equal(
    withoutText(cpu, group(), "avx2"),
    "The CPU compiles no text: it runs this program, block by block, with loops compiled ahead of time for avx2.",
  );
  assert.equal(
    withoutText(cpu, group({ kind: "call" }), undefined),
    "The CPU compiles no text: it calls a function that was compiled ahead of time.",
  );
  assert.equal(
    withoutText(index("counting", []), group(), "avx2"),
    "counting compiles no text for this kernel.",
  );
});
