import { open, readFile, rename } from 'node:fs/promises'
import { PsLock } from 'pslock'
import type { Peer } from '../store.ts'
import { type Data, lowContents, prepareLow, raise, readRaiseWrite, vanillaLow } from './low-file.ts'
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

/** The same under flock(2), by way of our lock. It syncs nothing: a power cut may leave an empty file. */
export const lowFlock: Peer = underFlock(readRaiseWrite)

/** What `LockedLow` promises of its file, done by hand: what is left of the difference is what it costs to use it. */
export const lowFlockSync: Peer = underFlock(async (path, record) => {
  const data = JSON.parse(await readFile(path, 'utf8')) as Data
  raise(data, record)
  const temp = `${path}.tmp`
  const file = await open(temp, 'w')
  try {
    await file.writeFile(JSON.stringify(data, null, 2))
    await file.sync()
  } finally {
    await file.close()
  }
  await rename(temp, path)
})

function underFlock(readEditWrite: (path: string, record: number) => Promise<void>): Peer {
  return {
    prepare: prepareLow,
    open(path) {
      const lock = new PsLock(path, { timeoutMs: 60_000 })
      return {
        increment: (record) => lock.exclusive(() => readEditWrite(path, record)),
        close: () => lock.close(),
      }
    },
    contents: lowContents,
  }
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
