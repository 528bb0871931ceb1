import type { LockMode } from '../errors.ts'
import { enclosing, enter, Hold, queueUp } from '../lock/hold.ts'
import { lockInternals, type PsLock } from '../lock/lock.ts'
import { isReadOnlyFolder } from '../lock/lock-file.ts'
import { type AcquireOptions, joins } from '../lock/options.ts'
import { lockFailure } from './data-file.ts'
import type { Operation } from './operation.ts'
import type { Asked, StoreLock } from './store-lock.ts'

/** The lock of a store in a file: that of its lock file. */
export class FileStoreLock implements StoreLock {
  readonly #lock: PsLock

  constructor(lock: PsLock) {
    this.#lock = lock
  }

  get path(): string {
    return this.#lock.path
  }

  get isClosing(): boolean {
    return lockInternals.isClosing(this.#lock)
  }

  asked(mode: LockMode, options: AcquireOptions = {}): Asked {
    const { entry, wait } = lockInternals.entry(this.#lock, mode, options)
    return { wait, outer: joins(options) ? enclosing(entry) : undefined }
  }

  enterNow(mode: LockMode, head?: Operation): Hold | undefined {
    try {
      const { entry, wait } = lockInternals.entry(this.#lock, mode, head)
      return entry.queue.tryEnter(mode, wait.sliceMs) ? ofStore(new Hold(entry, mode, 0)) : undefined
    } catch {
      // It is met again there.
      return undefined
    }
  }

  /**
   * As `StoreLock#enter`. A reader may go without where no lock file can be made in this folder.
   * @throws the errors of `PsLock#exclusive`; StoreIoError where the data cannot be written either
   */
  async enter(
    mode: LockMode,
    head: Operation,
    giveUp?: AbortSignal,
    waitedBeforeMs: number = head.waitedMs,
  ): Promise<Hold | undefined> {
    const { timeoutMs, signal } = head
    const { entry, wait } = lockInternals.entry(this.#lock, mode, {
      timeoutMs,
      signal: giveUp && signal ? either(signal, giveUp) : (giveUp ?? signal),
    })
    let waitedMs = 0
    try {
      if (head.ask || !entry.queue.tryEnter(mode, wait.sliceMs)) {
        const left = Math.max(1, wait.timeoutMs - waitedBeforeMs)
        const patient = wait.timeoutMs === 0 ? wait : { ...wait, timeoutMs: left, attempt: head.ask }
        waitedMs = await queueUp(entry, entry.queue, mode, patient)
      }
    } catch (error) {
      if (mode === 'shared' && isReadOnlyFolder(error)) return undefined
      throw mode === 'exclusive' ? lockFailure(lockInternals.guarded(this.#lock), error) : error
    }
    return head.isDone ? undefined : ofStore(new Hold(entry, mode, waitedMs))
  }

  within<T>(
    outer: Hold,
    mode: LockMode,
    options: AcquireOptions,
    run: (hold: Hold) => T,
  ): Promise<Awaited<T>> {
    const { entry, wait } = lockInternals.entry(this.#lock, mode, options)
    return enter(entry, outer, mode, wait, (hold) => run(ofStore(hold)))
  }
}

/** A hold of a store's, see `Hold.isOfStore`. */
function ofStore(hold: Hold): Hold {
  hold.isOfStore = true
  return hold
}

/** As `AbortSignal.any`, which refuses signals of other libraries. */
function either(one: AbortSignal, other: AbortSignal): AbortSignal {
  const both = new AbortController()
  for (const signal of [one, other]) {
    if (signal.aborted) both.abort(signal.reason)
    signal.addEventListener('abort', () => both.abort(signal.reason), { once: true, signal: both.signal })
  }
  return both.signal
}
