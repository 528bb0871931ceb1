import { type LockMode, LockUpgradeError } from '../errors.ts'
import { Hold } from './hold.ts'
import type { Patience, Room } from './room.ts'
import { type Frame, shared } from './shared-state.ts'
import type { Site } from './site.ts'

/** The innermost hold of this lock file that the current asynchronous context runs in and that is still open. */
export function enclosing(site: Site): Hold | undefined {
  let frame: Frame | undefined = shared.context.getStore()
  for (; frame; frame = frame.outer) if (frame.hold.site === site && frame.hold.isOpen) return frame.hold
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
 * Takes the lock, inside `outer` if there is one, and runs with it. The hold ends before the promise settles.
 * @throws what the patience throws, LockUpgradeError, and whatever `run` throws
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
    if (!room.tryEnter(mode, patience.sliceMs)) await room.enter(mode, patience)
    const hold = new Hold(site, mode, outer)
    try {
      return await run(hold)
    } finally {
      const ended = hold.end()
      if (ended) await ended
    }
  } finally {
    done?.()
  }
}
