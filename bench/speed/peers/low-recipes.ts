import { PsLock } from 'pslock'
import type { Peer } from '../store.ts'
import { lowContents, prepareLow, raise, readRaiseWrite, vanillaLow } from './low-file.ts'
import { lockedBy } from './proper-lockfile.ts'

/** What people write who stay with lowdb: lock, read, edit, write, unlock. */
export const lowLockfile: Peer = {
  prepare: prepareLow,
  open: (path) => ({
    increment: (record) => lockedBy(path, () => readRaiseWrite(path, record)),
    close() {},
  }),
  contents: lowContents,
}

/** The same under flock(2), by way of our lock: what is left of the difference is what `LockedLow` does. */
export const lowFlock: Peer = {
  prepare: prepareLow,
  open(path) {
    const lock = new PsLock(path, { timeoutMs: 60_000 })
    return {
      increment: (record) => lock.exclusive(() => readRaiseWrite(path, record)),
      close: () => lock.close(),
    }
  },
  contents: lowContents,
}

/** lowdb by itself, which is made for one process. */
export const vanillaLowdb: Peer = {
  prepare: prepareLow,
  async open(path) {
    const db = vanillaLow(path)
    await db.read()
    return { increment: (record) => db.update((data) => raise(data, record)), close() {} }
  },
  contents: lowContents,
}
