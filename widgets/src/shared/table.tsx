// A sortable table; long ones show their head and say how much is left out.
import type { ComponentChildren } from "preact";

export interface Column<Row, Key extends string> {
  key: Key;
  title: string;
  /** Longer title for the tooltip. */
  hint?: string;
  number?: boolean;
  cell: (row: Row) => ComponentChildren;
}

export function Table<Row, Key extends string>(props: {
  label: string;
  columns: Column<Row, Key>[];
  rows: Row[];
  rowKey: (row: Row, position: number) => string;
  sort?: { key: Key; down: boolean };
  onSort?: (key: Key) => void;
  selected?: (row: Row) => boolean;
  onPick?: (row: Row) => void;
  most?: number;
}) {
  const most = props.most ?? 200;
  return (
    <div class="lam-scroll">
      <table class="lam-table" aria-label={props.label}>
        <thead>
          <tr>
            {props.columns.map((column) => {
              const sorted = props.sort?.key === column.key;
              return (
                <th
                  key={column.key}
                  class={column.number ? "lam-num" : ""}
                  title={column.hint ?? column.title}
                  aria-sort={sorted ? (props.sort?.down ? "descending" : "ascending") : "none"}
                >
                  {props.onSort ? (
                    <button type="button" onClick={() => props.onSort?.(column.key)}>
                      {column.title}
                      {sorted ? (props.sort?.down ? " ▾" : " ▴") : ""}
                    </button>
                  ) : (
                    column.title
                  )}
                </th>
              );
            })}
          </tr>
        </thead>
        <tbody>
          {props.rows.slice(0, most).map((row, i) => (
            <tr
              key={props.rowKey(row, i)}
              class={`${props.selected?.(row) ? "lam-selected" : ""} ${props.onPick ? "lam-pick" : ""}`}
              tabIndex={props.onPick ? 0 : undefined}
              onClick={() => props.onPick?.(row)}
              onKeyDown={(event) => {
                if (event.key !== "Enter" && event.key !== " ") return;
                event.preventDefault();
                event.stopPropagation();
                props.onPick?.(row);
              }}
            >
              {props.columns.map((column) => (
                <td key={column.key} class={column.number ? "lam-num" : ""}>
                  {column.cell(row)}
                </td>
              ))}
            </tr>
          ))}
        </tbody>
      </table>
      {props.rows.length > most && <p class="lam-dim">and {props.rows.length - most} more</p>}
    </div>
  );
}
