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
  | { readonly kind: 'readRegister'; readonly register: string }
  | { readonly kind: 'writeRegister'; readonly register: string; readonly value: number }
  /** Sets it to `to` if it is `from`: what this worker saw of it last. */
  | {
      readonly kind: 'compareAndSet'
      readonly register: string
      readonly from: number
      readonly to: number
    }
  /** A unique key that comes and goes. Whoever has it, everybody may delete it. */
  | { readonly kind: 'insertKey'; readonly key: string; readonly value: number }
  | { readonly kind: 'deleteKey'; readonly key: string }
  | { readonly kind: 'readKey'; readonly key: string }
  /** What is done to the file as a whole. `to`: where the copy is. */
  | { readonly kind: 'compact' }
  /** Makes so much of it stale that a store compacts it by itself. */
  | { readonly kind: 'compactByNeed' }
  | { readonly kind: 'dump'; readonly to: string }
  /** A copy made under the shared lock, for the vanilla library to open. */
  | { readonly kind: 'copy'; readonly to: string }

/** How an operation was answered. */
export type Answer =
  /** Acknowledged. `value`: records affected, the version read (-1: none), or the value of a counter, register, key. */
  | { readonly said: 'done'; readonly value?: number | undefined }
  /** A claim or an insertion of a key that is there: expected. */
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

/** Done to the file as a whole, besides the plan, when the worker is told to. */
export function isChore({ kind }: Operation): boolean {
  return kind === 'compact' || kind === 'compactByNeed' || kind === 'dump' || kind === 'copy'
}

/** Whether this answer may be given to this operation at all. */
export function isExpected(operation: Operation, { said }: Answer): boolean {
  if (said === 'done') return true
  if (said === 'taken') return operation.kind === 'claim' || operation.kind === 'insertKey'
  if (said !== 'stale') return false
  return (operation.kind === 'update' || operation.kind === 'increment') && operation.bare === true
}
