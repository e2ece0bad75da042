// A table of float64 columns that grows by doubling and forgets its oldest rows beyond a limit.

export class Columns {
  length = 0;
  /** Rows forgotten so far. */
  forgotten = 0;
  private data: Float64Array[];

  constructor(
    width: number,
    private limit = 1_000_000,
  ) {
    this.data = Array.from({ length: width }, () => new Float64Array(64));
  }

  column(index: number): Float64Array {
    return this.data[index];
  }

  append(columns: Float64Array[]): void {
    const rows = columns[0]?.length ?? 0;
    if (this.length + rows > this.limit) this.forget(Math.ceil(this.limit / 4));
    const needed = this.length + rows;
    if (needed > this.data[0].length) {
      const capacity = Math.max(needed, this.data[0].length * 2);
      this.data = this.data.map((old) => {
        const grown = new Float64Array(capacity);
        grown.set(old.subarray(0, this.length));
        return grown;
      });
    }
    for (let i = 0; i < this.data.length; i++) this.data[i].set(columns[i], this.length);
    this.length = needed;
  }

  clear(): void {
    this.length = 0;
    this.forgotten = 0;
  }

  private forget(rows: number): void {
    const gone = Math.min(rows, this.length);
    for (const column of this.data) column.copyWithin(0, gone, this.length);
    this.length -= gone;
    this.forgotten += gone;
  }
}
