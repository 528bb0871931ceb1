import type { IndexOptions, Nedb } from './internals.ts'

/** What one store object knows of its indexes beside what the file says. */
export class OwnIndexes {
  /** Created in memory, not in the file yet: catching up drops them, and their task builds them anew. */
  readonly provisional: Set<string> = new Set()
  /** Ensured through this very store, and not removed since. */
  readonly declared: Map<string, IndexOptions> = new Map()
}

/**
 * Lets whoever reaches `db.indexes` find there what was put off, too.
 * @param reached called before the indexes are handed out
 * @returns the store as its own code sees it, with the indexes as they are
 */
export function settleWhenReached(db: Nedb, reached: () => void): Nedb {
  const inner = Object.create(db, { indexes: { value: db.indexes, writable: true } }) as Nedb
  Object.defineProperty(db, 'indexes', {
    configurable: true,
    enumerable: true,
    get() {
      reached()
      return inner.indexes
    },
    set(indexes: Nedb['indexes']) {
      inner.indexes = indexes
    },
  })
  return inner
}
