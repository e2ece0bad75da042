// Decodes the frames described in PROTOCOL.md. Nothing here knows what the columns mean.

export const kMagic = 0x464d414c;
export const kVersion = 1;
const kHeaderBytes = 16;
const kFlagZlib = 1;

export const Kind = {
  reset: 0,
  document: 1,
  runs: 2,
  launches: 3,
  spans: 4,
  buffers: 5,
  sums: 6,
  watermark: 7,
  counters: 8,
} as const;

const kColumns: Record<number, number> = {
  [Kind.reset]: 0,
  [Kind.runs]: 7,
  [Kind.launches]: 7,
  [Kind.spans]: 8,
  [Kind.buffers]: 7,
  [Kind.sums]: 8,
  [Kind.watermark]: 2,
  [Kind.counters]: 4,
};

export interface Frame {
  kind: number;
  seq: number;
  count: number;
  columns: Float64Array[];
  document: Record<string, unknown> | null;
}

export interface RawFrame {
  kind: number;
  flags: number;
  seq: number;
  count: number;
  body: Uint8Array;
}

/** Reads the header. Throws on a foreign magic or version. */
export function parseHeader(view: DataView): RawFrame {
  if (view.byteLength < kHeaderBytes) {
    throw new Error(`frame: too short: ${view.byteLength} bytes, header needs ${kHeaderBytes}`);
  }
  const magic = view.getUint32(0, true);
  if (magic !== kMagic) throw new Error(`frame: bad magic: 0x${magic.toString(16)}`);
  const version = view.getUint8(4);
  if (version !== kVersion)
    throw new Error(`frame: version ${version}, this view reads ${kVersion}`);
  return {
    kind: view.getUint8(5),
    flags: view.getUint16(6, true),
    seq: view.getUint32(8, true),
    count: view.getUint32(12, true),
    body: new Uint8Array(
      view.buffer,
      view.byteOffset + kHeaderBytes,
      view.byteLength - kHeaderBytes,
    ),
  };
}

async function inflate(body: Uint8Array): Promise<Uint8Array> {
  const stream = new Blob([body as Uint8Array<ArrayBuffer>])
    .stream()
    .pipeThrough(new DecompressionStream("deflate"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

function columnsOf(raw: RawFrame, body: Uint8Array): Float64Array[] {
  const width = kColumns[raw.kind] ?? 0;
  const bytes = width * raw.count * 8;
  if (body.byteLength < bytes) {
    throw new Error(
      `frame ${raw.seq}: body has ${body.byteLength} bytes, kind ${raw.kind} needs ${bytes}`,
    );
  }
  // Buffers from a comm may start anywhere; Float64Array wants multiples of 8.
  const aligned = body.byteOffset % 8 === 0 ? body : body.slice();
  const columns: Float64Array[] = [];
  for (let i = 0; i < width; i++) {
    columns.push(
      new Float64Array(aligned.buffer, aligned.byteOffset + i * raw.count * 8, raw.count),
    );
  }
  return columns;
}

/** Decodes one frame. Inflation is asynchronous, so callers must queue frames to keep their order. */
export async function decode(raw: RawFrame): Promise<Frame> {
  const body = raw.flags & kFlagZlib ? await inflate(raw.body) : raw.body;
  if (raw.kind === Kind.document) {
    const document = JSON.parse(new TextDecoder().decode(body)) as Record<string, unknown>;
    return { kind: raw.kind, seq: raw.seq, count: raw.count, columns: [], document };
  }
  return {
    kind: raw.kind,
    seq: raw.seq,
    count: raw.count,
    columns: columnsOf(raw, body),
    document: null,
  };
}

/** Splits a snapshot (frames padded to 8 bytes, each after a u64 length) into raw frames. */
export function splitSnapshot(view: DataView): RawFrame[] {
  const frames: RawFrame[] = [];
  let at = 0;
  while (at + 8 <= view.byteLength) {
    const bytes = Number(view.getBigUint64(at, true));
    at += 8;
    if (at + bytes > view.byteLength) throw new Error(`snapshot: cut off at byte ${at}`);
    frames.push(parseHeader(new DataView(view.buffer, view.byteOffset + at, bytes)));
    at += Math.ceil(bytes / 8) * 8;
  }
  return frames;
}

/**
 * Applies frames once and in order, whatever order and however often they arrive.
 * `missing` is called with the first absent number when a later frame came in.
 */
export class Sequencer {
  private next = 0;
  private held = new Map<number, RawFrame>();
  private chain: Promise<void> = Promise.resolve();

  constructor(
    private apply: (frame: Frame) => void,
    private missing: (seq: number) => void,
    private failed: (error: unknown) => void,
  ) {}

  get applied(): number {
    return this.next;
  }

  push(raw: RawFrame): void {
    if (raw.seq < this.next || this.held.has(raw.seq)) return;
    this.held.set(raw.seq, raw);
    if (raw.seq !== this.next) this.missing(this.next);
    for (let frame = this.held.get(this.next); frame; frame = this.held.get(this.next)) {
      this.held.delete(this.next);
      this.next++;
      const ready = frame;
      this.chain = this.chain
        .then(() => decode(ready))
        .then(this.apply)
        .catch(this.failed);
    }
  }

  /** Resolves when every frame pushed so far was applied. */
  settled(): Promise<void> {
    return this.chain;
  }
}
