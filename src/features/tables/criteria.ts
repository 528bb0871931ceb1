import { isDeepStrictEqual } from 'node:util'
import { show } from '../../arguments.ts'
import type { StoredRecord } from '../../store/adapter.ts'
import { isObject } from '../../store/json/values.ts'
import type { Shape } from './schema.ts'

/** What is asked of records, checked. */
export interface Selection {
  /** The only id that can fit; undefined: any could. */
  readonly id: string | undefined
  /** @throws SchemaError for a field that the table does not have, or a value that no record can have in it */
  fits(shape: Shape): (record: StoredRecord) => boolean
}

/** @throws TypeError for what is neither an object of values nor a function */
export function selection(criteria: unknown): Selection {
  if (typeof criteria === 'function') {
    return { id: undefined, fits: (shape) => (record) => Boolean(criteria(shape.project(record))) }
  }
  if (!isObject(criteria)) {
    throw new TypeError(
      `criteria must be an object of fields and values, or a function, got ${show(criteria)}`,
    )
  }
  const { _id: id, _version: version, ...fields } = criteria
  if ('_id' in criteria && typeof id !== 'string') {
    throw new TypeError(`criteria._id must be a string, got ${show(id)}`)
  }
  if ('_version' in criteria && !Number.isInteger(version)) {
    throw new TypeError(`criteria._version must be a whole number, got ${show(version)}`)
  }
  return {
    id: id as string | undefined,
    fits: (shape) => {
      const wanted = Object.entries(shape.changes(fields))
      return (record) =>
        (id === undefined || record._id === id) &&
        (version === undefined || record._version === version) &&
        wanted.every(([name, value]) => isDeepStrictEqual(record[name], value))
    },
  }
}
