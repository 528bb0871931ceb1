import { AsyncResource } from 'node:async_hooks'
import { existsSync, statSync } from 'node:fs'
import { StoreIoError } from '../../src/errors.ts'
import type { Call, DocumentId, LogSession } from '../../src/store/adapter.ts'
import { randomId } from './documents.ts'
import type { Doc, Nedb } from './internals.ts'
import type { Attached } from './locked.ts'
import type { NedbMemory } from './memory.ts'
import { toLine } from './model.ts'

/** What neither goes through the executor again nor emits events. */
const SELF_CONTAINED: ReadonlySet<string> = new Set([
  'insert',
  'update',
  'remove',
  'find',
  'findOne',
  'count',
])

/** See `isLarge`. */
const LARGE_BYTES = 2 ** 20

/** So long an explicit load, which has read the file by then, waits for its turn to compact it. */
const COMPACTION_MS = 1000

/**
 * Everything that NeDB does goes through `Executor.pushAsync`, and everything that it writes through three methods of its
 * persistence: hooked there, the hidden writers (the constructor's autoload, the rewrite at each load, the compaction
 * timer, deletions of expired documents inside `find`, index lines) are under the lock like the rest. A lock round
 * each public method instead fails 12 of NeDB's own tests and can hang.
 */
export function routeThrough(db: Nedb, memory: NedbMemory, at: Attached): void {
  const { session, beforeLoad, makesIds } = at
  const { executor, persistence } = db
  // Not looked up in the index, as vanilla does: it would be in vain, since what others have written is not there yet.
  if (makesIds) db._createNewId = randomId

  executor.pushAsync = (task, forceQueuing = false, mode = 'exclusive') => {
    const call = currentCall(db)
    const isBlind =
      makesIds && call?.name === 'insert' ? () => isBlindInsert(db, memory, call.args[0]) : undefined
    const run = isBlind ? () => memory.run(task, isBlind()) : task
    const isSelfContained = call !== undefined && SELF_CONTAINED.has(call.name)
    const timeoutMs = call?.name === 'loadDatabase' ? Math.min(session.timeoutMs, COMPACTION_MS) : undefined
    const perform = () => session.perform(mode, run, { call, isBlind, isSelfContained, timeoutMs })
    return executor.ready || forceQueuing ? perform() : beforeLoad.hold(perform)
  }
  // Vanilla runs what was issued before the load beside what is issued after it; here it goes first, in order.
  executor.processBuffer = () => {
    executor.ready = true
    beforeLoad.run()
  }
  executor.resetBuffer = () => beforeLoad.drop()

  persistence.persistNewStateAsync = async (docs) => {
    const lines = docs.map((doc) => toLine(doc))
    if (lines.length === 0) return
    if (at.changed) for (const { _id } of docs) if (_id !== undefined) at.changed.add(_id as DocumentId)
    if (session.running) return session.append(lines)
    await session.perform('exclusive', () => {
      // From outside, past the executor: memory does not know it yet, and the next compaction would drop it.
      memory.adopt(lines)
      return session.append(lines)
    })
  }
  persistence.persistCachedDatabaseAsync = async (ifStale = false) => {
    const compact = async () => {
      // A find of everything deletes what has expired.
      if (executor.ready) await db._getCandidatesAsync({})
      await session.compact(ifStale)
      session.afterwards(() => db.emit('compaction.done'))
    }
    if (session.running) return compact()
    // Called from outside, past the executor: it means "write what is in memory", even where the file is gone.
    const known = isFileMissing(session) ? [...memory.lines()] : undefined
    await session.perform('exclusive', async () => {
      if (known && isFileMissing(session)) memory.apply(known, true)
      await compact()
    })
  }
  // Catching up has loaded the file already; an explicit load also compacts it, as vanilla does. Not where the file is
  // large and that would change nothing, since each other process would have to load the new file (ten that have opened
  // a million documents: 50 times the transactions in the first seconds). It changes something where a hook writes the
  // same differently now, and where vanilla has left a temp file.
  persistence.loadDatabaseAsync = async () => {
    try {
      const missing = memory.rebuildDeclared()
      // On a server nothing is written anew.
      if (session.file === undefined && missing.length > 0)
        await session.append(missing.map((options) => toLine({ $$indexCreated: options })))
      const isPlain = memory.coder === undefined && !hasTempFile(session)
      const isLeft = isPlain && missing.length === 0 && isLarge(session)
      await persistence.persistCachedDatabaseAsync(isLeft)
    } catch (error) {
      session.distrustMemory()
      throw error
    }
    executor.processBuffer()
  }
  // Vanilla leaves the store dead after this: operations wait for a load for ever. Here it is empty and goes on.
  persistence.dropDatabaseAsync = async () => {
    const drop = () => {
      session.drop()
      db.stopAutocompaction()
      memory.apply([], true)
    }
    await session.perform('exclusive', drop, { call: currentCall(db) })
  }
}

export function isFileMissing({ file }: LogSession): boolean {
  return file !== undefined && !existsSync(file)
}

/** Whether vanilla has left a temp file. */
function hasTempFile({ file }: LogSession): boolean {
  return file !== undefined && existsSync(`${file}~`)
}

/** Whether it is of a size that is only compacted by an explicit load where that changes the file; without a file it always is. */
function isLarge({ file }: LogSession): boolean {
  if (file === undefined) return true
  try {
    return statSync(file).size >= LARGE_BYTES
  } catch {
    // The compaction meets it again, and says so.
    return false
  }
}

/** Whether an insert can collide with nothing: NeDB makes its ids at random, and no other index forbids anything. */
function isBlindInsert(db: Nedb, memory: NedbMemory, docs: unknown): boolean {
  return (
    !memory.hasUniqueIndex &&
    Object.keys(db.ttlIndexes).length === 0 &&
    [docs].flat().every((doc) => (doc as Doc | null | undefined)?._id === undefined)
  )
}

/**
 * Everything goes through the executor, which does not learn what was called. But every method reaches it before it returns, so
 * what is being called at this moment is what the executor is being given.
 */
let current: { readonly db: object; readonly call: Call } | undefined

/** Whether it was called by its form with a callback. */
let hasCallback = false

/** Runs a method by which `db` is asked for something. */
export function calling<T>(db: object, name: string, args: readonly unknown[], run: () => T): T {
  const outer = current
  current = { db, call: { name, args } }
  try {
    return run()
  } finally {
    current = outer
  }
}

/** What is being called; undefined for a task that was given to the executor directly. */
function currentCall(db: object): Call | undefined {
  return current?.db === db ? current.call : undefined
}

/** Whether the caller of what is being called gets to know of its end by a callback. */
function isWithCallback(): boolean {
  return hasCallback
}

/** The methods that reach the executor and are not named where they are overridden; forms with a callback go through them. */
const METHODS = ['ensureIndex', 'removeIndex', 'compactDatafile', 'loadDatabase', 'dropDatabase'] as const

/** Makes the methods of a class known by their names. */
export function nameCalls(prototype: object): void {
  for (const name of METHODS) {
    const method = Reflect.get(prototype, `${name}Async`) as (this: Nedb, ...args: unknown[]) => unknown
    Object.defineProperty(prototype, `${name}Async`, {
      configurable: true,
      writable: true,
      value(this: Nedb, ...args: unknown[]) {
        return calling(this, name, args, () => method.apply(this, args))
      },
    })
  }
  for (const name of [...METHODS, 'insert', 'update', 'remove', 'find', 'findOne', 'count']) {
    const method = Reflect.get(prototype, name) as (this: Nedb, ...args: unknown[]) => unknown
    Object.defineProperty(prototype, name, {
      configurable: true,
      writable: true,
      value(this: Nedb, ...args: unknown[]) {
        const outer = hasCallback
        hasCallback = typeof args.at(-1) === 'function'
        try {
          return method.apply(this, args)
        } finally {
          hasCallback = outer
        }
      },
    })
  }
}

interface Waiting {
  readonly start: () => Promise<unknown>
  readonly resolve: (value: unknown) => void
  readonly reject: (reason: unknown) => void
  readonly hasCallback: boolean
  timer?: NodeJS.Timeout
}

/**
 * The operations issued before the store was loaded. Vanilla keeps them for ever should no load succeed. Here they are
 * told what a load fails with, and the next operation tries to load again: a damaged file may have been mended, and
 * whoever held the lock may be gone. Where no load is asked for at all, they wait for it as long as for the lock.
 */
export class BeforeLoad {
  readonly #session: LogSession
  readonly #loadAgain: () => Promise<void>
  #waiting: Waiting[] = []
  /** How many loads are under way. */
  #loading = 0
  #isAskedFor = false

  /** @param loadAgain what an operation does after a load that has failed; it is to pass `during` */
  constructor(session: LogSession, loadAgain: () => Promise<void>) {
    this.#session = session
    this.#loadAgain = loadAgain
  }

  /**
   * Runs a load. Should it fail, and no other be under way, whoever waits is told so.
   * @param isTold whether the user's `onload` is told: then callbacks are not called before the next attempt has ended, as
   * NeDB's own tests want it
   */
  async during(load: () => Promise<void>, isTold = false): Promise<void> {
    this.#isAskedFor = true
    this.#loading++
    for (const { timer } of this.#waiting) clearTimeout(timer)
    try {
      await load()
      this.#loading--
    } catch (error) {
      if (--this.#loading === 0) this.#refuse(error, isTold)
      throw error
    }
  }

  hold(run: () => Promise<unknown>): Promise<unknown> {
    return new Promise((resolve, reject) => {
      // In the context that issued it: it is no part of the load that lets it run.
      const entry: Waiting = {
        start: AsyncResource.bind(run),
        resolve,
        reject,
        hasCallback: isWithCallback(),
      }
      this.#waiting.push(entry)
      if (!this.#isAskedFor) this.#expectLoad(entry)
      // What it fails with, the operation says.
      else if (this.#loading === 0) this.#loadAgain().catch(() => {})
    })
  }

  /** The store is loaded: they run, in order, ahead of everything issued from now on. */
  run(): void {
    for (const { start, resolve, reject } of this.#take()) start().then(resolve, reject)
  }

  drop(): void {
    this.#take()
  }

  #refuse(reason: unknown, exceptCallbacks: boolean): void {
    const waiting = this.#take()
    if (exceptCallbacks) this.#waiting = waiting.filter(({ hasCallback }) => hasCallback)
    // After whoever waits for the load itself has been told.
    setImmediate(() => {
      for (const { reject, hasCallback } of waiting) if (!(exceptCallbacks && hasCallback)) reject(reason)
    })
  }

  #expectLoad(entry: Waiting): void {
    const { timeoutMs, path } = this.#session
    if (timeoutMs >= 2 ** 31) return
    entry.timer = setTimeout(() => {
      this.#waiting = this.#waiting.filter((other) => other !== entry)
      entry.reject(notLoaded(path))
    }, timeoutMs)
  }

  #take(): Waiting[] {
    const taken = this.#waiting
    this.#waiting = []
    for (const { timer } of taken) clearTimeout(timer)
    return taken
  }
}

function notLoaded(path: string): StoreIoError {
  return new StoreIoError(
    `${path} was not loaded in time. Call loadDatabaseAsync() first, or use autoload: true, and look at what it says.`,
    { path },
  )
}
