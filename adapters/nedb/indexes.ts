import { toLine } from './documents.ts'
import type { IndexOptions, Nedb } from './internals.ts'
import type { Attached } from './locked.ts'

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

/**
 * Vanilla creates the index in memory at once, which code relies on, and checks it against a memory that may be stale
 * (that writes a line which bricks the file). Here the first half is provisional, and the check is made again under
 * the lock, on the file's present content.
 */
export async function ensureIndex(db: Nedb, at: Attached, options: IndexOptions): Promise<void> {
  const { session, model, inner } = at
  const { provisional } = at.indexes
  const name = options.fieldName
  const Index = inner.indexes._id?.constructor as new (options: IndexOptions) => Nedb['indexes'][string]
  const build = () => {
    const index = new Index(options)
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
      declare(at, name, options)
      const exists = Object.hasOwn(inner.indexes, name) && !provisional.has(name)
      const ttl = db.ttlIndexes[name]
      if (exists && (options.expireAfterSeconds === undefined || options.expireAfterSeconds === ttl)) return
      if (!exists) {
        delete inner.indexes[name]
        inner.indexes[name] = build()
        session.onUndo(() => delete inner.indexes[name])
      }
      if (options.expireAfterSeconds !== undefined) {
        db.ttlIndexes[name] = options.expireAfterSeconds
        session.onUndo(() => {
          if (ttl === undefined) delete db.ttlIndexes[name]
          else db.ttlIndexes[name] = ttl
        })
      }
      provisional.delete(name)
      await session.append([toLine(model, { $$indexCreated: options })])
    }, true)
  } catch (error) {
    if (provisional.has(name)) delete inner.indexes[name]
    throw error
  } finally {
    provisional.delete(name)
  }
}

/** In an operation: from now on this store is told to have the index, or no longer. */
function declare({ session, indexes }: Attached, name: string, options?: IndexOptions): void {
  const { declared } = indexes
  const before = declared.get(name)
  if (options) declared.set(name, options)
  else declared.delete(name)
  session.onUndo(() => {
    if (before) declared.set(name, before)
    else declared.delete(name)
  })
}

/** Removes an index, in the file's present content. */
export async function removeIndex(db: Nedb, at: Attached, name: string): Promise<void> {
  const { session, model, inner } = at
  await db.executor.pushAsync(async () => {
    declare(at, name)
    const index = inner.indexes[name]
    const ttl = db.ttlIndexes[name]
    delete inner.indexes[name]
    delete db.ttlIndexes[name]
    session.onUndo(() => {
      if (index) inner.indexes[name] = index
      if (ttl !== undefined) db.ttlIndexes[name] = ttl
    })
    await session.append([toLine(model, { $$indexRemoved: name })])
  }, true)
}
