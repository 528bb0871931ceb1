import { existsSync } from 'node:fs'
import { currentCall } from './calls.ts'
import { randomId } from './ids.ts'
import { type Doc, type Nedb, vanillaPrototype } from './internals.ts'
import type { Attached } from './locked.ts'
import type { NedbMemory } from './memory.ts'
import { toLine } from './records.ts'

/** What neither goes through the executor again nor emits events. */
const SELF_CONTAINED: ReadonlySet<string> = new Set([
  'insert',
  'update',
  'remove',
  'find',
  'findOne',
  'count',
])

/** So long an explicit load, which has read the file by then, waits for its turn to compact it. */
const COMPACTION_MS = 1000

/**
 * Everything that NeDB does passes `Executor.pushAsync`, and everything that it writes passes three methods of its
 * persistence: hooked there, the hidden writers (the constructor's autoload, the rewrite at each load, the compaction
 * timer, deletions of expired documents inside `find`, index lines) are under the lock like the rest. A lock round
 * each public method instead fails 12 of NeDB's own tests and can hang.
 */
export function routeThrough(db: Nedb, memory: NedbMemory, { session, model, beforeLoad }: Attached): void {
  const { executor, persistence } = db
  const makesIds = db._createNewId === vanillaPrototype(db)._createNewId
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
    const lines = docs.map((doc) => toLine(model, doc))
    if (lines.length === 0) return
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
    const known = existsSync(session.path) ? undefined : [...memory.lines()]
    await session.perform('exclusive', async () => {
      if (known && !existsSync(session.path)) memory.apply(known, true)
      await compact()
    })
  }
  // Catching up has loaded the file already; an explicit load also compacts it, as vanilla does.
  persistence.loadDatabaseAsync = async () => {
    try {
      memory.rebuildDeclared()
      await persistence.persistCachedDatabaseAsync()
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

/** Whether an insert can collide with nothing: NeDB makes its ids at random, and no other index forbids anything. */
function isBlindInsert(db: Nedb, memory: NedbMemory, docs: unknown): boolean {
  return (
    !memory.hasUniqueIndex &&
    Object.keys(db.ttlIndexes).length === 0 &&
    [docs].flat().every((doc) => (doc as Doc | null | undefined)?._id === undefined)
  )
}
