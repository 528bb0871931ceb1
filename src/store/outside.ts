import { AsyncResource } from 'node:async_hooks'

/** The context in which this module was loaded: inside no hold, no operation and no edit. */
const outside = new AsyncResource('pslock')

/**
 * Runs outside everything that the caller runs in: what serves several callers at once, or calls the user's listeners,
 * is part of nobody's transaction.
 */
export function outsideAll<T>(run: () => T): T {
  return outside.runInAsyncScope(run)
}

/** The user's own code: it runs outside every hold, and what it throws is its own business, not the operation's. */
export function callListener(run: () => void): void {
  try {
    outsideAll(run)
  } catch (error) {
    queueMicrotask(() => {
      throw error
    })
  }
}
