import documents from '@seald-io/nedb/lib/model.js'
import type { NedbModel } from './internals.ts'

/**
 * How NeDB writes, reads and checks a document. The package takes this one file of the library's in (see
 * rolldown.config.js): a user of nedb-promises need not have the library where pslock could find it (pnpm).
 */
export const model: NedbModel = documents
