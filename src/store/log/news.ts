/** All that is in the file is known. */
export interface None {
  readonly kind: 'none'
}

export const NONE: None = { kind: 'none' }

/** The store is empty: there is no file. */
export interface Missing {
  readonly kind: 'missing'
}

/** Only this came behind what is applied. */
export interface Tail {
  readonly kind: 'tail'
  readonly bytes: Buffer
}

/** What is new in the file since this process last looked. */
export type News =
  | None
  | Missing
  | Tail
  /** Another file, or another content: everything must be read anew. `bytes` is all of it. */
  | { readonly kind: 'replaced'; readonly bytes: Buffer }

/** The same, not read yet: where it begins, and where the file ends. */
export type Unread =
  | None
  | Missing
  | { readonly kind: 'tail' | 'replaced'; readonly from: number; readonly to: number }
