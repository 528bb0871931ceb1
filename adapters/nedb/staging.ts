import type { DocumentId, StagedDocument, Staging } from '../../src/store/adapter.ts'
import { isObject } from '../../src/store/json/values.ts'
import { MARKS } from '../../src/store/marks.ts'
import type { Doc, Nedb, Query } from './internals.ts'
import { attached } from './locked.ts'

/** The methods of a store by which documents are changed, so that whoever listens to it hears of it. */
interface Writers<S> {
  insert(tx: S, doc: Doc): Promise<unknown>
  update(tx: S, id: DocumentId, doc: Doc): Promise<unknown>
  remove(tx: S, id: DocumentId): Promise<unknown>
}

/** Of a store that keeps its documents in NeDB. */
export function nedbStaging<S>(
  nedb: (store: S) => Nedb,
  writers: Writers<S>,
  verbs: Pick<Staging<S>, 'edits' | 'looks' | 'cursors'>,
): Staging<S> {
  return {
    ...verbs,
    kind: 'documents',
    async changed(tx, run) {
      const at = attached.get(nedb(tx))
      if (!at) throw new Error('the store is not attached')
      const outer = at.changed
      const changed = new Set<DocumentId>()
      at.changed = changed
      try {
        await run()
      } finally {
        at.changed = outer
      }
      return changed
    },
    read: async (tx, ids) => {
      const docs = await nedb(tx)
        .findAsync({ _id: { $in: [...ids] } })
        .execAsync()
      return docs as Doc[]
    },
    write: (tx, documents) => write(tx, documents, writers),
    uniquePaths: (tx) =>
      Object.values(nedb(tx).indexes)
        .filter(({ unique, sparse, fieldName }) => unique && !sparse && fieldName !== '_id')
        .flatMap(({ fieldName }) => fieldName.split(',').map((field) => field.split('.'))),
    ownFields: (tx) => (nedb(tx).timestampData ? ['updatedAt'] : []),
  }
}

/** Without the marks, which are no documents of the user; a query that names `_table` itself means what it says. */
export function unmarked(query: Query): Query {
  return isObject(query) && !Object.hasOwn(query, '_table') ? { ...query, _table: { $ne: MARKS } } : query
}

/** An upsert makes a document of its query. */
export function unmarkedUpdate(query: Query, options: { readonly upsert?: unknown }): Query {
  return options?.upsert ? query : unmarked(query)
}

async function write<S>(
  tx: S,
  documents: readonly StagedDocument[],
  { insert, update, remove }: Writers<S>,
): Promise<void> {
  for (const { id, after } of documents) if (!after) await remove(tx, id)
  const changed = documents.filter(({ before, after }) => before && after)
  const done: StagedDocument[] = []
  for (const document of changed) {
    try {
      await update(tx, document.id, document.after as Doc)
      done.push(document)
    } catch (error) {
      if ((error as { errorType?: unknown }).errorType !== 'uniqueViolated') throw error
    }
  }
  // Values of a unique field that wander from one document to another: they make room for each other first.
  const late = changed.filter((document) => !done.includes(document))
  for (const { id } of late) await remove(tx, id)
  for (const { after } of late) await insert(tx, after as Doc)
  for (const { before, after } of documents) if (!before && after) await insert(tx, after as Doc)
}
