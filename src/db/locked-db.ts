import type { PsLock } from '../lock/ps-lock.ts'
import { canonicalPath } from '../os/lock-file.ts'
import type { Adapter, LogAdapter, LogSession } from './adapter.ts'
import { LogStore } from './log/log-store.ts'
import { openOptions, type StoreOptions } from './options.ts'

export interface LockedDbOptions<S extends object> extends StoreOptions {
  /** What the store is: `lowdbAdapter`, `nedbAdapter`, `nedbPromisesAdapter`, or one of your own. */
  readonly adapter: Adapter<S>
  /** The data file. */
  readonly path: string
}

/** What a locked store has besides the store's own members. */
export interface LockedMembers {
  /** The store's lock, for work of your own: calls on the store inside `lock.exclusive(...)` join it. */
  readonly lock: PsLock
  /** Waits for what was issued and closes the files. Not calling it does no harm. */
  close(): Promise<void>
  [Symbol.asyncDispose](): Promise<void>
}

export type LockedDb<S extends object> = Omit<S, keyof LockedMembers> & LockedMembers

/** A store that is wired to its file and its lock. */
export interface OpenedLog {
  readonly session: LogSession
  readonly lock: PsLock
  close(): Promise<void>
}

/** Wires a log store to its file. The store object itself is used from then on. */
export function openLog<S extends object>(
  store: S,
  adapter: LogAdapter<S>,
  path: string,
  options: StoreOptions,
): OpenedLog {
  const real = canonicalPath(path)
  const { lock, durability, timeoutMs } = openOptions(real, options)
  const log = new LogStore({ path: real, lock, durability, timeoutMs }, (session) =>
    adapter.attach(store, session),
  )
  log.start()
  return {
    session: log,
    lock,
    close: async () => {
      await log.close()
      await lock.close()
    },
  }
}
