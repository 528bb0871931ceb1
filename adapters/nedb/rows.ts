import type { TableStorage } from '../../src/store/adapter.ts'
import type { Doc, Nedb } from './internals.ts'

/**
 * The records of tables are documents like any other, with one member more, `_table`, that names the table: so several
 * tables, and documents of no table, live in one file and change in one transaction, and vanilla finds them too:
 * `db.find({ _table: 'people' })`.
 */
export function nedbRows<S>(nedb: (store: S) => Nedb): TableStorage<S> {
  return {
    read: async (tx, table, id) => {
      const query = id === undefined ? { _table: table } : { _id: id, _table: table }
      const docs = (await nedb(tx).findAsync(query).execAsync()) as Doc[]
      return docs.map(({ _table, ...record }) => record)
    },
    insert: (tx, table, records) =>
      records.length > 0 && nedb(tx).insertAsync(records.map((record) => ({ ...record, _table: table }))),
    replace: async (tx, table, records) => {
      for (const record of records) {
        await nedb(tx).updateAsync({ _id: record._id }, { ...record, _table: table }, {})
      }
    },
    remove: (tx, table, ids) =>
      nedb(tx).removeAsync({ _id: { $in: [...ids] }, _table: table }, { multi: true }),
    drop: (tx, table) => nedb(tx).removeAsync({ _table: table }, { multi: true }),
    compact: (tx) => nedb(tx).compactDatafileAsync(),
  }
}
