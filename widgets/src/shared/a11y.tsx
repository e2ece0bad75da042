// Tabs by the usual keyboard pattern, and a place where changes are read out.
import type { ReadonlySignal } from "@preact/signals";

export function Tabs<Name extends string>(props: {
  names: readonly Name[];
  current: Name;
  titles: Record<Name, string>;
  id: string;
  onChange: (name: Name) => void;
}) {
  const { names, current } = props;
  return (
    <div class="lam-tabs" role="tablist" aria-label="Views">
      {names.map((name, i) => (
        <button
          key={name}
          type="button"
          role="tab"
          id={`${props.id}-tab-${name}`}
          aria-controls={`${props.id}-panel`}
          aria-selected={name === current}
          tabIndex={name === current ? 0 : -1}
          onClick={() => props.onChange(name)}
          onKeyDown={(event) => {
            const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
            if (!step) return;
            event.preventDefault();
            event.stopPropagation();
            const next = names[(i + step + names.length) % names.length];
            props.onChange(next);
            const tabs = (event.currentTarget as HTMLElement).parentElement?.children;
            (tabs?.[names.indexOf(next)] as HTMLElement | undefined)?.focus();
          }}
        >
          {props.titles[name]}
        </button>
      ))}
    </div>
  );
}

export function Announcer(props: { text: ReadonlySignal<string> }) {
  return (
    <div class="lam-hidden" role="status" aria-live="polite">
      {props.text.value}
    </div>
  );
}
