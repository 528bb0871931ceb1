import { copyFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { LockedNedb } from 'pslock/nedb'
import { type Contents, type Peer, TEXT } from '../store.ts'
import { nedbCalls, nedbContents, openVanilla, prepareNedb } from './nedb-file.ts'

/** Ours. What it wrote must also be what vanilla NeDB finds. */
export function lockedNedb(durability: 'process' | 'disk'): Peer {
  return {
    prepare: prepareNedb,

    async open(path) {
      // An explicit load would compact the small file, and every other process would load it anew.
      const store = new LockedNedb({ filename: path, durability, autoload: true, timeoutMs: 60_000 })
      await store.autoloadPromise
      return {
        ...nedbCalls(store),
        transaction: (records) =>
          store.transaction(async (tx) => {
            for (let i = 0; i < records; i++) await tx.insertAsync({ text: TEXT })
          }),
        close: () => store.close(),
      }
    },

    async contents(path) {
      const copy = `${path}.copy`
      copyFileSync(path, copy)
      const store = new LockedNedb({ filename: path })
      await store.loadDatabaseAsync()
      const found = await nedbContents(store)
      await store.close()
      return agreed(found, await nedbContents(await openVanilla(copy)))
    },
  }
}

/** @throws Error where the addon is not built */
export function nativeNedb(durability: 'process' | 'disk'): Peer {
  createRequire(import.meta.url)('@pslock/native')
  return lockedNedb(durability)
}

/** @throws Error where the vanilla library finds something else */
function agreed(ours: Contents, vanillas: Contents): Contents {
  const [one, other] = [ours, vanillas].map((found) => JSON.stringify(found))
  if (one !== other) throw new Error(`pslock finds ${one}, vanilla ${other}`)
  return ours
}
