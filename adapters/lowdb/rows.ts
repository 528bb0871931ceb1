import type { Low, LowSync } from 'lowdb'
import type { StoredRecord, TableStorage } from '../../src/store/adapter.ts'
import { getOwn, isObject, type TreeObject } from '../../src/store/json/values.ts'

type AnyLow = Low<unknown> | LowSync<unknown>

/** A table is an array of records in `db.data`, under its name. */
export const lowdbRows: TableStorage<AnyLow> = {
  read: ({ data }, table) => getOwn(rootOf(data), table),
  insert: ({ data }, table, records) => {
    const root = rootOf(data)
    if (!Object.hasOwn(root, table)) root[table] = []
    const all = recordsOf(root, table)
    for (const record of records) all.push(record)
  },
  replace: ({ data }, table, records) => {
    const next = new Map(records.map((record) => [record._id, record]))
    const all = recordsOf(rootOf(data), table)
    for (const [index, { _id }] of all.entries()) all[index] = next.get(_id) ?? (all[index] as StoredRecord)
  },
  remove: ({ data }, table, ids) => {
    const gone = new Set(ids)
    const root = rootOf(data)
    root[table] = recordsOf(root, table).filter(({ _id }) => !gone.has(_id))
  },
  drop: ({ data }, table) => {
    delete rootOf(data)[table]
  },
}

function rootOf(data: unknown): TreeObject {
  if (isObject(data)) return data
  throw new TypeError('tables need an object as the data of a lowdb store: its default data must be one')
}

function recordsOf(root: TreeObject, table: string): StoredRecord[] {
  const records = root[table]
  if (Array.isArray(records)) return records as StoredRecord[]
  throw new TypeError(`data.${table} is no array, so it holds no records of a table`)
}
