// The text of a kernel in the side panel: numbered, to be scrolled and copied.
import "./source.css";
import { useRef, useState } from "preact/hooks";
import * as format from "../shared/format.ts";
import type { PlanGroup, PlanIndex } from "../shared/plan.ts";
import { about, isShort, numbers, type Source, sourcesOf, withoutText } from "./kerneltext.ts";
import type { GraphState } from "./state.ts";

/** Whether the reader wants texts open, kept from one kernel to the next; null: not said yet. */
const kOpen = "kernel text open";
const kSaidMs = 2000;

/** Copies through the clipboard, or, where a page may not use it, through a selection. */
async function copy(text: string, shown: Element): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const selection = getSelection();
    selection?.selectAllChildren(shown);
    return document.execCommand("copy");
  }
}

function SourceText(props: { state: GraphState; source: Source }) {
  const { state, source } = props;
  const { store } = state;
  const shown = useRef<HTMLPreElement>(null);
  const [copied, setCopied] = useState<boolean | null>(null);
  const chosen = store.kept.get(kOpen) as boolean | undefined;
  const onCopy = async () => {
    if (!shown.current) return;
    const done = await copy(source.text, shown.current);
    setCopied(done);
    if (done) setTimeout(() => setCopied(null), kSaidMs);
    store.announcement.value = done
      ? `text of ${source.title} copied`
      : `text of ${source.title} selected`;
  };
  const remember = (event: Event) => {
    // After the toggle: what is open now is what was asked for.
    const details = (event.currentTarget as HTMLElement).parentElement as HTMLDetailsElement;
    store.kept.set(kOpen, !details.open);
  };
  return (
    <details open={chosen ?? isShort(source)} class="lam-source">
      {/* biome-ignore lint/a11y/noStaticElementInteractions: a summary is a button; its details tell of the first drawing too */}
      <summary onClick={remember}>
        {source.title}{" "}
        <span class="lam-dim">
          {format.counted(source.lines, "line")}, {format.bytes(source.text.length)}
        </span>
      </summary>
      <button type="button" class="lam-button" onClick={onCopy}>
        {copied === null ? "copy" : copied ? "copied" : "selected: copy it with the keyboard"}
      </button>
      {/* biome-ignore lint/a11y/noNoninteractiveTabindex: what scrolls is reached by keyboard */}
      <section class="lam-lines" tabIndex={0} aria-label={`Text of ${source.title}`}>
        <pre aria-hidden="true">{numbers(source.lines)}</pre>
        <pre ref={shown}>{source.text}</pre>
      </section>
    </details>
  );
}

export function KernelText(props: { state: GraphState; index: PlanIndex; group: PlanGroup }) {
  const { state, index, group } = props;
  const sources = sourcesOf(index, group);
  return (
    <section class="lam-kernel-text" aria-label="Kernel text">
      <h5>Kernel text</h5>
      <p class="lam-dim">
        {sources.length > 0
          ? about(index, group)
          : withoutText(index, group, state.store.meta.machine.isa)}
      </p>
      {sources.map((source, i) => (
        <SourceText key={i} state={state} source={source} />
      ))}
    </section>
  );
}
