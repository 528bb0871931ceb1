import type { Peer } from '../store.ts'
import { type Nedb, nedbCalls, nedbContents, openVanilla, prepareNedb } from './nedb-file.ts'
import { lockedBy } from './proper-lockfile.ts'

/** What people write who stay with NeDB: lock, load the file anew, do it, unlock. */
export const nedbLockfile: Peer = {
  prepare: prepareNedb,

  open(path) {
    const locked = <T>(run: (store: Nedb) => Promise<T>) =>
      lockedBy(path, async () => run(await openVanilla(path)))
    return {
      insert: (id) => locked((store) => nedbCalls(store).insert(id)),
      find: (record) => locked((store) => nedbCalls(store).find(record)),
      increment: (counter) => locked((store) => nedbCalls(store).increment(counter)),
      close() {},
    }
  },

  contents: async (path) => nedbContents(await openVanilla(path)),
}
