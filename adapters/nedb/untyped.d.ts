/** Has no types of its own. */
declare module '@seald-io/nedb/lib/model.js' {
  const model: import('./internals.ts').NedbModel
  export default model
}
