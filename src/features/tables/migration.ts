import { crypto } from '../../os/modules.ts'
import type { StoredRecord, TableStorage } from '../../store/adapter.ts'
import { cloneTree, isObject } from '../../store/json/values.ts'
import { Shape } from './schema.ts'
import type { Pending } from './schema-file.ts'

/** Copies of a table's records. @throws SchemaError where something else is there */
export async function readRecords<S>(
  rows: TableStorage<S>,
  tx: S,
  shape: Shape,
  id?: string,
): Promise<StoredRecord[]> {
  const found = await rows.read(tx, shape.table, id)
  if (found === undefined) return []
  if (Array.isArray(found) && found.every(isObject)) return cloneTree(found) as unknown as StoredRecord[]
  throw shape.error('what the store has under this name is no list of records', { value: found })
}

/**
 * The data step of a change of a table. What was done already is not done again, so it may be repeated after a crash.
 * @returns whether there was anything to do
 * @throws SchemaError where a record cannot be made to fit
 */
export async function migrate<S>(
  rows: TableStorage<S>,
  tx: S,
  path: string,
  pending: Pending,
): Promise<boolean> {
  const { operation, table, from, to } = pending
  const shape = new Shape(path, table, to ?? { fields: {} })
  if (!to || operation === 'override') {
    const had = await rows.read(tx, table)
    await rows.drop(tx, table)
    if (to) await rows.insert(tx, table, [])
    return Array.isArray(had) ? had.length > 0 || !to : had !== undefined || to !== null
  }
  const dropped = Object.keys(from?.fields ?? {}).filter((name) => !Object.hasOwn(to.fields, name))
  const isThere = (await rows.read(tx, table)) !== undefined
  const records = await readRecords(rows, tx, shape)
  if (!isThere) await rows.insert(tx, table, [])
  const fitting = records.map((record) => reshaped(record, shape, dropped))
  const changed = fitting.filter((record, index) => record !== records[index])
  if (records.every(({ _id }) => typeof _id === 'string')) {
    if (changed.length > 0) await rows.replace(tx, table, changed)
  } else {
    // The store's own records from before there was a table: they have no ids to be replaced by.
    await rows.drop(tx, table)
    await rows.insert(tx, table, fitting)
  }
  return !isThere || changed.length > 0
}

/** The record as its table's schema wants it; the very same one where it is so already. */
function reshaped(record: StoredRecord, shape: Shape, dropped: readonly string[]): StoredRecord {
  for (const name of Object.keys(shape.fields)) {
    if (Object.hasOwn(record, name)) shape.value(name, record[name])
  }
  const surplus = dropped.filter((name) => Object.hasOwn(record, name))
  const missing = shape.defaults((name) => Object.hasOwn(record, name))
  const isComplete =
    surplus.length === 0 && Object.keys(missing).length === 0 && record._id && record._version
  if (isComplete) return record
  const { _id = crypto().randomUUID(), _version = 1, ...fields } = record as Partial<StoredRecord>
  for (const name of surplus) delete (fields as Record<string, unknown>)[name]
  return { _id, _version, ...fields, ...missing }
}
