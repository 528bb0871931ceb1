import { LockDeadlockError, type LockMode, LockUpgradeError } from '../errors.ts'
import { mustTurn, turn } from './event-loop.ts'
import { isHeard, publish, publishFailure } from './events.ts'
import { Hold } from './hold.ts'
import type { Patience, Room } from './room.ts'
import { shared } from './shared-state.ts'
import type { Site } from './site.ts'

/** The innermost hold of this lock file that the current asynchronous context runs in and that is still open. */
export function enclosing(site: Site): Hold | undefined {
  for (let frame = shared.context.get(); frame; frame = frame.outer) {
    // Not by its class: it may be another copy's of this package.
    const hold = frame.hold as Partial<Hold>
    if (hold.site === site && hold.isOpen) return hold as Hold
  }
  return undefined
}

/** Where to queue: inside the enclosing hold, or at the lock itself. */
export function roomWithin(outer: Hold | undefined, site: Site, mode: LockMode): Room {
  if (!outer) return site.room
  if (mode === 'exclusive' && outer.mode === 'shared') {
    throw new LockUpgradeError(
      `an exclusive lock of ${site.path} was asked for inside one's own shared hold. Two such tasks would wait for ` +
        'each other for ever: take the exclusive lock from the start.',
      { path: site.path },
    )
  }
  return outer.room
}

/**
 * Waits in line.
 * @returns how long, in milliseconds
 * @throws what the patience throws
 */
export async function queueUp(site: Site, room: Room, mode: LockMode, patience: Patience): Promise<number> {
  const since = performance.now()
  const { path } = site
  const nested = room !== site.room
  if (isHeard('wait')) publish('wait', { path, mode, nested })
  try {
    await room.enter(mode, patience)
  } catch (error) {
    publishFailure(error, {
      path,
      mode,
      nested,
      waitedMs: performance.now() - since,
      signal: patience.signal,
    })
    throw error
  }
  return performance.now() - since
}

/** What Atomics.wait sleeps on in the blocking calls. */
const sleeper = new Int32Array(new SharedArrayBuffer(4))

/**
 * Waits in line, blocking the thread.
 * @returns how long, in milliseconds
 * @throws what the patience throws, and LockDeadlockError
 */
export function queueUpBlocking(site: Site, room: Room, mode: LockMode, patience: Patience): number {
  if (!room.admits(mode)) {
    throw new LockDeadlockError(
      `a blocking ${mode} lock of ${site.path} would wait for a hold of this very process, which cannot end while the ` +
        'call blocks. Use the asynchronous form, or make the call inside that hold.',
      { path: site.path },
    )
  }
  const { path } = site
  const nested = room !== site.room
  const since = performance.now()
  if (isHeard('wait')) publish('wait', { path, mode, nested })
  try {
    for (;;) {
      const waitedMs = performance.now() - since
      const step = patience.timeoutMs === 0 ? room.force(mode) : room.stepBlocking(mode, patience.sliceMs)
      if (step === true) return waitedMs
      // What blocks the thread hears of an abort by another thread at most.
      if (patience.signal?.aborted) throw patience.signal.reason
      if (waitedMs >= patience.timeoutMs) throw patience.onTimeout(waitedMs)
      Atomics.wait(sleeper, 0, 0, Math.min(Number(step), patience.timeoutMs - waitedMs))
    }
  } catch (error) {
    room.giveUp()
    publishFailure(error, {
      path,
      mode,
      nested,
      waitedMs: performance.now() - since,
      signal: patience.signal,
    })
    throw error
  }
}

/**
 * Takes the lock, inside `outer` if there is one, and runs with it. The hold ends before the promise settles.
 * @throws what the patience throws, LockUpgradeError, LockLostError once `run` has settled, and whatever `run` throws
 */
export async function during<T>(
  site: Site,
  outer: Hold | undefined,
  mode: LockMode,
  patience: Patience,
  run: (hold: Hold) => T,
): Promise<Awaited<T>> {
  const room = roomWithin(outer, site, mode)
  // What waits inside a hold counts as part of it from now on: the hold must not end under it.
  const done = outer?.accept()
  try {
    if (mustTurn()) await turn(patience.signal)
    const waitedMs = room.tryEnter(mode, patience.sliceMs) ? 0 : await queueUp(site, room, mode, patience)
    const hold = new Hold(site, mode, waitedMs, outer)
    let thrown: unknown
    try {
      return await run(hold)
    } catch (error) {
      thrown = error
      throw error
    } finally {
      const ended = hold.end()
      if (ended) await ended
      hold.requireKept(thrown)
    }
  } finally {
    done?.()
  }
}
