/** All that is in the file is known. */
export interface None {
  readonly kind: 'none'
}

export const NONE: None = { kind: 'none' }

/** Only this came behind what is applied. */
export interface Tail {
  readonly kind: 'tail'
  readonly bytes: Buffer
}

/** What is new in the file since this process last looked. */
export type News =
  | None
  | Tail
  /** The store is empty: there is no file. */
  | { readonly kind: 'missing' }
  /** Another file, or another content: everything must be read anew. `bytes` is all of it. */
  | { readonly kind: 'replaced'; readonly bytes: Buffer }
