import { existsSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { LockedLow } from 'pslock/lowdb'
import type { Peer } from '../store.ts'
import { type Data, lowContents, NO_DATA, prepareLow, raise } from './low-file.ts'

/** Ours. What it wrote must also be what vanilla lowdb finds: it is the same JSON. */
export function lockedLow(options: { readonly journal?: boolean } = {}): Peer {
  return {
    prepare: prepareLow,

    async open(path) {
      const db = openLow(path, options)
      await db.read()
      return {
        increment: (record) => db.update((data) => raise(data, record)),
        close: () => db.close(),
      }
    },

    async contents(path) {
      const db = openLow(path, options)
      await db.read()
      const found = {
        records: db.data.records.length,
        increments: db.data.records.reduce((all, { n }) => all + n, 0),
      }
      // With a journal this is what brings the file up to date.
      await db.close()
      const [ours, vanillas] = [found, lowContents(path)].map((each) => JSON.stringify(each))
      if (ours !== vanillas) throw new Error(`pslock finds ${ours}, vanilla ${vanillas}`)
      return found
    },
  }
}

/** Ours with a journal. @throws Error where this version has none */
export async function journaledLow(): Promise<Peer> {
  const room = mkdtempSync(join(tmpdir(), 'pslock-bench-'))
  try {
    const path = join(room, 'db.json')
    prepareLow(path, 1)
    const db = openLow(path, { journal: true })
    await db.update((data) => raise(data, 0))
    const isKnown = existsSync(`${path}.journal`)
    await db.close()
    if (!isKnown) throw new Error('this LockedLow has no journal')
  } finally {
    rmSync(room, { recursive: true })
  }
  return lockedLow({ journal: true })
}

function openLow(path: string, options: { readonly journal?: boolean }): LockedLow<Data> {
  return new LockedLow<Data>(path, structuredClone(NO_DATA), { ...options, timeoutMs: 60_000 })
}
