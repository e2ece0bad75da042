// The text of a module bundled to run in a worker; see build.mjs.
declare module "worker:*" {
  const source: string;
  export default source;
}
