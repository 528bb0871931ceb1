/** So long may calls that are awaited one after the other keep the event loop from turning: the length of a slice. */
const TURN_AFTER_MS = 4

/** When the first call of this turn was made. */
let since: number | undefined

/**
 * Whether calls have followed each other for so long without a turn of the event loop that timers and input wait. What is
 * done at once is awaited in a microtask, and those all come before the next timer: a loop of 150,000 awaited holds would
 * let none fire.
 */
export function mustTurn(): boolean {
  const now = performance.now()
  if (since === undefined) {
    since = now
    setImmediate(() => {
      since = undefined
    })
    return false
  }
  return now - since >= TURN_AFTER_MS
}

/** Resolves when the event loop has turned. */
export function turned(): Promise<void> {
  return new Promise((resolve) => setImmediate(resolve))
}

/**
 * Lets the event loop turn, where it must, before something is waited for.
 * @throws the reason of the signal, where it has aborted meanwhile
 */
export async function turn(signal?: AbortSignal): Promise<void> {
  await turned()
  // Signals of other libraries may have no throwIfAborted.
  if (signal?.aborted) throw signal.reason
}

/** Runs it after `before`, and after a turn of the event loop where it must turn. */
export function inLoop<T>(before: Promise<unknown>, run: () => T): Promise<Awaited<T>> {
  return before.then(() => (mustTurn() ? turned().then(run) : run())) as Promise<Awaited<T>>
}
