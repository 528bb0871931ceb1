import type { LogSession } from '../../src/store/adapter.ts'
import { type IndexOptions, type Nedb, newIndex } from './internals.ts'
import type { Attached } from './locked.ts'
import { toLine } from './model.ts'

/** What one store object knows of its indexes beside what the file says. */
export class OwnIndexes {
  /** Created in memory, not in the file yet: a refresh drops them, and their task builds them anew. */
  readonly provisional: Set<string> = new Set()
  /** Ensured through this very store, and not removed since. */
  readonly declared: Record<string, IndexOptions> = {}
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

/**
 * Vanilla creates the index in memory at once, which code relies on, and checks it against a memory that may be stale
 * (that writes a line which bricks the file). Here the first half is provisional, and the check is made again under
 * the lock, on the file's present content.
 */
export async function ensureIndex(db: Nedb, at: Attached, options: IndexOptions): Promise<void> {
  const { session, inner } = at
  const { provisional, declared } = at.indexes
  const name = options.fieldName
  const build = () => {
    const index = newIndex(inner, options)
    index.insert(db.getAllData())
    return index
  }
  if (!Object.hasOwn(inner.indexes, name)) {
    provisional.add(name)
    try {
      inner.indexes[name] = build()
    } catch {
      // A duplicate in what this process knows: it may be gone from the file.
    }
  }
  try {
    await db.executor.pushAsync(async () => {
      const exists = Object.hasOwn(inner.indexes, name) && !provisional.has(name)
      const ttl = options.expireAfterSeconds
      const { unique, sparse } = inner.indexes[name] ?? {}
      // One that exists stays what it is, also for those who read the line.
      const made = exists ? ({ ...options, unique, sparse } as IndexOptions) : options
      put(session, () => declared, name, made)
      if (exists && (ttl === undefined || ttl === db.ttlIndexes[name])) return
      if (!exists) {
        delete inner.indexes[name]
        put(session, () => inner.indexes, name, build())
      }
      if (ttl !== undefined) put(session, () => db.ttlIndexes, name, ttl)
      provisional.delete(name)
      await session.append([toLine({ $$indexCreated: made })])
    }, true)
  } catch (error) {
    if (provisional.has(name)) delete inner.indexes[name]
    throw error
  } finally {
    provisional.delete(name)
  }
}

/** Removes an index, in the file's present content. */
export async function removeIndex(
  db: Nedb,
  { session, inner, indexes, memory }: Attached,
  name: string,
): Promise<void> {
  await db.executor.pushAsync(async () => {
    // Should it be undone, the index must have what was put off until then.
    memory.settle()
    put(session, () => indexes.declared, name, undefined)
    put(session, () => inner.indexes, name, undefined)
    put(session, () => db.ttlIndexes, name, undefined)
    await session.append([toLine({ $$indexRemoved: name })])
  }, true)
}

/** In an operation: sets or (undefined) removes what an index has under its name, which is undone with the operation. */
function put<T>(session: LogSession, all: () => Record<string, T>, name: string, value: T | undefined): void {
  const before = Object.hasOwn(all(), name) ? all()[name] : undefined
  const set = (to: T | undefined) => {
    if (to === undefined) delete all()[name]
    else all()[name] = to
  }
  set(value)
  session.onUndo(() => set(before))
}
