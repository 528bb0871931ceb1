/** Gives a lock back; it is free when this has returned or, where it returns a promise, when that resolves. */
export type Release = () => void | Promise<void>

/** A way to wait for an exclusive lock between processes, in the one shape that all are measured in. */
export interface Candidate {
  /**
   * Takes the lock of `path` and returns what gives it back.
   * @param signal ends the wait: the promise rejects, whether or not the mechanism underneath can be called off
   */
  acquire(path: string, signal?: AbortSignal): Promise<Release>
  /** Its own way to wait no longer than so many milliseconds, where that is not the signal. */
  acquireWithin?(path: string, timeoutMs: number): Promise<Release>
  /** The same, blocking the thread; only where the mechanism has such a form. */
  acquireSync?(path: string): Release
  /** Set where `acquire` blocks the thread too. */
  readonly isBlocking?: boolean
}

let late = 0

/** How many waits of this process were granted after they had been given up. */
export function lateGrants(): number {
  return late
}

/**
 * For a mechanism whose waits cannot be called off: the caller goes on at once, the wait stays behind, and if it is
 * granted after all the lock is given back.
 */
export function abandonable(wait: Promise<Release>, signal?: AbortSignal): Promise<Release> {
  if (!signal) return wait
  return new Promise((resolve, reject) => {
    signal.addEventListener('abort', () => reject(signal.reason), { once: true })
    wait.then((release) => {
      if (!signal.aborted) return resolve(release)
      late++
      void release()
    }, reject)
  })
}
