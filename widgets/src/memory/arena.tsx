// Inside the arena of one evaluation: which launch keeps which bytes, by address. From the plan alone.
import { useState } from "preact/hooks";
import { Tooltip, useCanvas } from "../shared/canvas.tsx";
import * as format from "../shared/format.ts";
import type { Store } from "../shared/model.ts";
import { type PlanBuffer, titleOf } from "../shared/plan.ts";
import { kCategoryColor, mix } from "../shared/theme.ts";

const kMargin = 56;
const kFoot = 18;

export function ArenaView(props: { store: Store; plan: number }) {
  const { store } = props;
  const index = store.plans.get(props.plan);
  const [hover, setHover] = useState<{ x: number; y: number; buffer: PlanBuffer } | null>(null);
  const buffers = (index?.plan.memory.buffers ?? []).filter((buffer) => buffer.storage === "arena");
  const steps = Math.max(1, index?.plan.launches.length ?? 1);
  const size = Math.max(1, index?.plan.memory.arena_bytes ?? 1);
  const rect = (buffer: PlanBuffer, width: number, height: number) => {
    const across = (width - kMargin) / steps;
    const up = (height - kFoot) / size;
    return {
      x: kMargin + buffer.first * across,
      w: (buffer.last - buffer.first + 1) * across,
      y: height - kFoot - (buffer.offset + buffer.bytes) * up,
      h: buffer.bytes * up,
    };
  };
  const canvas = useCanvas(({ context, width, height, theme }) => {
    context.font = `10px ${theme.font}`;
    context.textBaseline = "middle";
    context.fillStyle = theme.dim;
    context.textAlign = "right";
    context.fillText(format.bytes(size), kMargin - 5, 6);
    context.fillText("0", kMargin - 5, height - kFoot - 5);
    context.textAlign = "left";
    context.fillText(`launch 0 to ${steps - 1}, address upwards`, kMargin, height - 8);
    for (const buffer of buffers) {
      const { x, y, w, h } = rect(buffer, width, height);
      const category = index?.nodes.get(buffer.node)?.category ?? 0;
      context.fillStyle = theme.forced
        ? theme.background
        : mix(kCategoryColor[category], theme.background, 0.5);
      context.strokeStyle =
        hover?.buffer === buffer
          ? theme.text
          : theme.forced
            ? theme.text
            : mix(kCategoryColor[category], theme.text, 0.7);
      context.lineWidth = hover?.buffer === buffer ? 2 : 0.8;
      context.fillRect(x, y, w, h);
      context.strokeRect(x + 0.5, y + 0.5, Math.max(0.5, w - 1), Math.max(0.5, h - 1));
      const node = index?.nodes.get(buffer.node);
      const op = node ? titleOf(node) : "";
      if (w > 40 && h > 12) {
        context.fillStyle = theme.text;
        context.fillText(format.elide(op, Math.floor(w / 6.5)), x + 4, y + h / 2);
      }
    }
  });
  if (!index || buffers.length === 0) return null;
  const find = (event: MouseEvent) => {
    const box = (event.currentTarget as HTMLElement).getBoundingClientRect();
    const [x, y] = [event.clientX - box.left, event.clientY - box.top];
    const buffer = buffers.find((candidate) => {
      const r = rect(candidate, box.width, box.height);
      return x >= r.x && x <= r.x + r.w && y >= r.y && y <= r.y + Math.max(2, r.h);
    });
    return buffer ? { x, y, buffer } : null;
  };
  const node = hover && index.nodes.get(hover.buffer.node);
  const origin = node ? store.originOf(props.plan, node.id) : null;
  return (
    <details class="lam-arena" open>
      <summary>
        Inside the arena of plan {props.plan}: {buffers.length} temporaries share{" "}
        {format.bytes(size)}
      </summary>
      <div class="lam-stage">
        <canvas
          ref={canvas.ref}
          class="lam-canvas"
          style={{ height: "130px" }}
          role="img"
          aria-label={`Memory plan: ${buffers.length} buffers in an arena of ${format.bytes(size)}`}
          onMouseMove={(event) => setHover(find(event))}
          onMouseLeave={() => setHover(null)}
          onClick={(event) => {
            const hit = find(event);
            if (!hit) return;
            if (store.plan.value !== props.plan) store.choosePlan(props.plan);
            store.selection.value = { what: "node", node: hit.buffer.node };
          }}
        />
        <Tooltip at={hover} width={canvas.ref.current?.clientWidth ?? 500} height={130}>
          {hover && node && (
            <>
              <strong>{titleOf(node)}</strong>
              <div>{store.category(node.category)}</div>
              <div>
                {format.shape(node.shape)} {node.dtype} · {format.bytes(hover.buffer.bytes)} at{" "}
                {format.bytes(hover.buffer.offset)}
              </div>
              <div>
                launch {hover.buffer.first} to {hover.buffer.last}
              </div>
              {origin?.file && (
                <div>
                  {store.where(props.plan, node.id)} {origin.module}
                </div>
              )}
            </>
          )}
        </Tooltip>
      </div>
    </details>
  );
}
