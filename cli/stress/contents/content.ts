/** What the vanilla library finds in a copy of the file, after everybody has left. */
export interface Content {
  /** Why the library refuses the file; then the rest is read from the bare text, as far as that goes. */
  readonly unreadable?: string | undefined
  /** Lines or parts that are not even JSON. */
  readonly damaged: readonly string[]
  /** Every record, in the file's order; a record that is there twice is listed twice. */
  readonly records: readonly { readonly id: string; readonly record: unknown }[]
  readonly counters: ReadonlyMap<string, number>
  /** Who has a contested key, by the file. */
  readonly claims: readonly { readonly key: string; readonly id: string }[]
  /** The registers, and the unique keys that come and go, in the file's order. */
  readonly registers: readonly { readonly key: string; readonly value: number }[]
  /** The traces that committed writes left, in the file's order; undefined where the file keeps no order. */
  readonly trail: readonly string[] | undefined
}

/** Traces of committed writes: what an operation leaves in the file, so that it can be found there. */
export const trace = {
  version: (id: string, v: number): string => `${id} v${v}`,
  deletion: (id: string): string => `${id} deleted`,
  count: (counter: string, value: number): string => `${counter} = ${value}`,
  claim: (id: string): string => id,
}
