// The layout of a large scene, off the main thread; on it where the host allows no worker.
import source from "worker:./layout.worker.ts";
import type { PlanEdge } from "../shared/plan.ts";
import { buildScene, type Scene } from "./scene.ts";
import type { Tree } from "./tree.ts";
import { type Packed, unpack } from "./wirescene.ts";

export interface Job {
  items: Tree["items"];
  itemOfNode: Tree["itemOfNode"];
  edges: readonly PlanEdge[];
  open: ReadonlySet<string>;
}

type Done = (scene: Scene) => void;

/** One worker a view; a newer job makes the one under way pointless, so its worker is ended. */
export class Refiner {
  private worker: Worker | null = null;
  private timer: ReturnType<typeof setTimeout> | undefined;
  /** Whether the last job ran in a worker. */
  apart = false;

  start(tree: Tree, edges: readonly PlanEdge[], open: ReadonlySet<string>, done: Done): void {
    this.stop();
    const job: Job = { items: tree.items, itemOfNode: tree.itemOfNode, edges, open };
    const here = () => {
      this.stop();
      this.apart = false;
      // After the next frames, so that its beginning is on screen by then.
      this.timer = setTimeout(() => done(buildScene(tree, edges, open)), 50);
    };
    let address = "";
    try {
      address = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
      const worker = new Worker(address);
      this.worker = worker;
      this.apart = true;
      // A content security policy may refuse the worker only once it starts.
      worker.onerror = (event) => {
        event.preventDefault();
        if (this.worker === worker) here();
      };
      worker.onmessage = (event: MessageEvent<Packed>) => {
        if (this.worker !== worker) return;
        this.stop();
        done(unpack(event.data, tree.items));
      };
      worker.postMessage(job);
    } catch {
      here();
    } finally {
      URL.revokeObjectURL(address);
    }
  }

  stop(): void {
    clearTimeout(this.timer);
    this.worker?.terminate();
    this.worker = null;
  }
}
