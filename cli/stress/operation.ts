/** What a worker can be told to do. `bare` is lowdb's own idiom: change `db.data`, then `db.write()`. */
export type Operation =
  | { readonly kind: 'insert'; readonly n: number; readonly length: number; readonly bare?: boolean }
  | { readonly kind: 'insertMany'; readonly n: number; readonly count: number; readonly length: number }
  | {
      readonly kind: 'update'
      readonly n: number
      readonly v: number
      readonly length: number
      readonly bare?: boolean
    }
  | { readonly kind: 'delete'; readonly n: number }
  | { readonly kind: 'increment'; readonly counter: string; readonly bare?: boolean }
  | { readonly kind: 'claim'; readonly key: string }
  | { readonly kind: 'readRecord'; readonly n: number }
  | { readonly kind: 'readCount' }
  | { readonly kind: 'readCounter'; readonly counter: string }

/** How an operation was answered. */
export type Answer =
  /** Acknowledged. `value`: records affected, the version read (-1: none), or the counter's value. */
  | { readonly said: 'done'; readonly value?: number | undefined }
  /** A claim of a key that somebody else has: expected. */
  | { readonly said: 'taken' }
  /** A bare change that met somebody else's change of the same thing (StaleWriteError): expected. */
  | { readonly said: 'stale' }
  /** A record was read that is not whole. */
  | { readonly said: 'torn' }
  | { readonly said: 'error'; readonly message: string }

export const ABSENT = -1

/** The name under which an operation's latency is reported. */
export function label(operation: Operation): string {
  if (operation.kind.startsWith('read')) return 'read'
  return 'bare' in operation && operation.bare ? `${operation.kind} (bare)` : operation.kind
}

/** The numbers of the records an insertion makes. */
export function insertedNumbers(operation: Operation): number[] {
  if (operation.kind === 'insert') return [operation.n]
  if (operation.kind !== 'insertMany') return []
  return Array.from({ length: operation.count }, (_, index) => operation.n + index)
}

/** The name under which a worker claims a contested key. */
export function claimId(worker: number, key: string): string {
  return `w${worker}-${key}`
}

/** Whether this answer may be given to this operation at all. */
export function isExpected(operation: Operation, { said }: Answer): boolean {
  if (said === 'done') return true
  if (said === 'taken') return operation.kind === 'claim'
  if (said !== 'stale') return false
  return (operation.kind === 'update' || operation.kind === 'increment') && operation.bare === true
}
