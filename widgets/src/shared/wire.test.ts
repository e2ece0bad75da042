import assert from "node:assert/strict";
import { test } from "node:test";
import { deflateSync } from "node:zlib";
import { decode, type Frame, Kind, kMagic, parseHeader, Sequencer, splitSnapshot } from "./wire.ts";

function header(kind: number, seq: number, count: number, flags = 0, body = 0): DataView {
  const view = new DataView(new ArrayBuffer(16 + body));
  view.setUint32(0, kMagic, true);
  view.setUint8(4, 1);
  view.setUint8(5, kind);
  view.setUint16(6, flags, true);
  view.setUint32(8, seq, true);
  view.setUint32(12, count, true);
  return view;
}

function watermark(seq: number, values: number[][]): DataView {
  const view = header(
    Kind.watermark,
    seq,
    values[0].length,
    0,
    values.length * values[0].length * 8,
  );
  values.flat().forEach((value, i) => {
    view.setFloat64(16 + i * 8, value, true);
  });
  return view;
}

test("columns are read whatever the buffer's alignment", async () => {
  const frame = watermark(0, [
    [1, 2, 3],
    [2 ** 53 - 1, -4, 0.5],
  ]);
  for (let shift = 0; shift < 9; shift++) {
    const bytes = new Uint8Array(frame.byteLength + shift);
    bytes.set(new Uint8Array(frame.buffer), shift);
    const view = new DataView(bytes.buffer, shift);
    const { columns } = await decode(parseHeader(view));
    assert.deepEqual([...columns[1]], [2 ** 53 - 1, -4, 0.5]);
  }
});

test("documents come plain and deflated", async () => {
  const text = new TextEncoder().encode(JSON.stringify({ type: "meta", title: "é" }));
  for (const packed of [false, true]) {
    const body = packed ? new Uint8Array(deflateSync(text)) : text;
    const view = header(Kind.document, 0, text.length, packed ? 1 : 0, body.length);
    new Uint8Array(view.buffer).set(body, 16);
    const frame = await decode(parseHeader(view));
    assert.equal(frame.document?.title, "é");
  }
});

test("foreign bytes, other versions and short bodies are refused", async () => {
  assert.throws(() => parseHeader(new DataView(new ArrayBuffer(8))), /too short/);
  assert.throws(() => parseHeader(new DataView(new ArrayBuffer(16))), /bad magic/);
  const newer = header(Kind.runs, 0, 0);
  newer.setUint8(4, 9);
  assert.throws(() => parseHeader(newer), /version 9/);
  await assert.rejects(decode(parseHeader(header(Kind.runs, 0, 5))), /needs 280/);
});

test("a snapshot splits into its frames", () => {
  const frames = [header(Kind.reset, 0, 0), watermark(1, [[1], [2]])];
  const size = frames.reduce((sum, f) => sum + 8 + Math.ceil(f.byteLength / 8) * 8, 0);
  const bytes = new Uint8Array(size);
  const view = new DataView(bytes.buffer);
  let at = 0;
  for (const frame of frames) {
    view.setBigUint64(at, BigInt(frame.byteLength), true);
    bytes.set(new Uint8Array(frame.buffer), at + 8);
    at += 8 + Math.ceil(frame.byteLength / 8) * 8;
  }
  assert.deepEqual(
    splitSnapshot(view).map((frame) => [frame.kind, frame.seq]),
    [
      [Kind.reset, 0],
      [Kind.watermark, 1],
    ],
  );
});

test("frames are applied once and in order, gaps are asked for", async () => {
  const seen: number[] = [];
  const missing: number[] = [];
  const sequencer = new Sequencer(
    (frame: Frame) => seen.push(frame.seq),
    (seq) => missing.push(seq),
    (error) => assert.fail(String(error)),
  );
  for (const seq of [0, 2, 1, 1, 0, 4, 3, 4])
    sequencer.push(parseHeader(watermark(seq, [[1], [1]])));
  await sequencer.settled();
  assert.deepEqual(seen, [0, 1, 2, 3, 4]);
  assert.deepEqual(missing, [1, 3]);
});
