import type { Peer } from '../store.ts'
import { nedbCalls, nedbContents, openVanilla, prepareNedb } from './nedb-file.ts'

/** NeDB by itself, which is made for one process: two of them lose records. */
export const vanillaNedb: Peer = {
  prepare: prepareNedb,
  open: async (path) => ({ ...nedbCalls(await openVanilla(path)), close() {} }),
  contents: async (path) => nedbContents(await openVanilla(path)),
}
