import { types } from 'node:util'
import { cloneTree, isObject } from '../../store/json/values.ts'

/** A value as it is kept: as JSON, in which NeDB writes a date as `{ $$date: ms }`. */
export function encode(value: unknown): unknown {
  if (typeof value !== 'object' || value === null) return cloneTree(value)
  return JSON.parse(JSON.stringify(value, datesMarked)) as unknown
}

function datesMarked(this: Record<string, unknown>, key: string, value: unknown): unknown {
  const own = this[key]
  return types.isDate(own) ? { $$date: own.getTime() } : value
}

export function decode(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(decode)
  if (!isObject(value)) return value
  if (Object.hasOwn(value, '$$date')) return new Date(value.$$date as number)
  return Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, decode(inner)]))
}

/** A value of a store whose file is JSON, which has no dates. */
export function encodeJson(value: unknown): unknown {
  return value === undefined ? undefined : (JSON.parse(JSON.stringify(value)) as unknown)
}
