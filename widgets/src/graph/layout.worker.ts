// Runs in a worker: lays out one scene and sends it back.
import type { Job } from "./refine.ts";
import { buildScene } from "./scene.ts";
import { buffersOf, pack } from "./wirescene.ts";

interface Scope {
  onmessage: ((event: MessageEvent<Job>) => void) | null;
  postMessage(message: unknown, transfer: ArrayBuffer[]): void;
}
const scope = globalThis as unknown as Scope;

scope.onmessage = ({ data }) => {
  const tree = { items: data.items, itemOfNode: data.itemOfNode, byKey: new Map<string, number>() };
  const packed = pack(buildScene(tree, data.edges, data.open));
  scope.postMessage(packed, buffersOf(packed));
};
