// Bundles the views into one ESM file and one style sheet, and the TypeScript tests for `node --test`.
import { readdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { build, context } from "esbuild";

const kMaxGzipBytes = 150_000;

/** `import text from "worker:./file.ts"`: that module bundled, as text for a blob. */
const workers = {
  name: "workers",
  setup(bundler) {
    bundler.onResolve({ filter: /^worker:/ }, (found) => ({
      path: join(found.resolveDir, found.path.slice("worker:".length)),
      namespace: "worker",
    }));
    bundler.onLoad({ filter: /.*/, namespace: "worker" }, async ({ path }) => {
      const result = await build({
        ...options,
        entryPoints: [path],
        plugins: [],
        format: "iife",
        write: false,
        metafile: true,
        logLevel: "silent",
      });
      return {
        contents: result.outputFiles[0].text,
        loader: "text",
        watchFiles: Object.keys(result.metafile.inputs),
      };
    });
  },
};

const options = {
  entryPoints: { lamina: "src/index.tsx" },
  outdir: "static",
  bundle: true,
  format: "esm",
  target: "es2022",
  minify: true,
  jsx: "automatic",
  jsxImportSource: "preact",
  legalComments: "none",
  logLevel: "info",
  plugins: [workers],
};

function testFiles(folder) {
  return readdirSync(folder, { withFileTypes: true }).flatMap((entry) => {
    const path = `${folder}/${entry.name}`;
    if (entry.isDirectory()) return testFiles(path);
    return entry.name.endsWith(".test.ts") ? [path] : [];
  });
}

if (process.argv.includes("--tests")) {
  rmSync("build/tests", { recursive: true, force: true });
  await build({
    ...options,
    entryPoints: testFiles("src"),
    outdir: "build/tests",
    outExtension: { ".js": ".mjs" },
    platform: "node",
    minify: false,
    sourcemap: "inline",
    logLevel: "warning",
  });
} else if (process.argv.includes("--watch")) {
  await (await context(options)).watch();
} else {
  const result = await build({ ...options, metafile: true });
  writeFileSync("static/meta.json", JSON.stringify(result.metafile));
  const size = gzipSync(readFileSync("static/lamina.js"), { level: 9 }).length;
  console.log(`static/lamina.js: ${size} bytes gzip`);
  if (size > kMaxGzipBytes) throw new Error(`bundle too large: ${size} > ${kMaxGzipBytes} bytes`);
}
