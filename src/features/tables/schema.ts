import { isDeepStrictEqual } from 'node:util'
import { type OptionNames, optionNames, requireKnown, requireThat, show } from '../../arguments.ts'
import { SchemaError, type SchemaErrorDetails } from '../../errors.ts'
import type { StoredRecord } from '../../store/adapter.ts'
import { cloneTree, getOwn, isObject } from '../../store/json/values.ts'

/** The types of fields: what JSON can keep, so that every store returns what it was given. */
export type FieldType = 'string' | 'number' | 'boolean' | 'object' | 'array'

/** A field as the schema file keeps it. */
export interface FieldSchema {
  readonly type: FieldType
  readonly nullable?: boolean
  readonly default?: unknown
}

export interface TableSchema {
  readonly fields: Readonly<Record<string, FieldSchema>>
}

const DECLARATION_NAMES: OptionNames = optionNames<FieldSchema>({ type: true, nullable: true, default: true })

const TYPES: readonly FieldType[] = ['string', 'number', 'boolean', 'object', 'array']

/** Names that every store can keep, and that are not those of a record's own members (`_id`). */
const FIELD_NAME = /^[A-Za-z]\w*$/

/** One table's schema with the words to refuse what does not fit it. */
export class Shape {
  readonly table: string
  readonly #path: string
  readonly #schema: TableSchema

  constructor(path: string, table: string, schema: TableSchema) {
    this.#path = path
    this.table = table
    this.#schema = schema
  }

  get fields(): Readonly<Record<string, FieldSchema>> {
    return this.#schema.fields
  }

  /** The declaration of a field. @throws SchemaError where there is none of this name */
  field(name: string, value?: unknown): FieldSchema {
    const field = getOwn(this.fields, name) as FieldSchema | undefined
    if (field) return field
    const known = Object.keys(this.fields).join(', ')
    throw this.error(`has no field ${show(name)}; its fields are ${known}`, { field: name, value })
  }

  /** @throws SchemaError unless the table has these fields, of these types */
  requireFields(wanted: TableSchema): void {
    for (const [name, field] of Object.entries(wanted.fields)) {
      const [is, expected] = [expectation(this.field(name)), expectation(field)]
      if (is !== expected)
        throw this.error(`field ${name} is ${is} there, not ${expected}`, { field: name, expected })
    }
  }

  /** A value as every store gives it back. @throws SchemaError where it is not of the field's type */
  value(name: string, value: unknown): unknown {
    const field = this.field(name, value)
    if (value === null && field.nullable === true) return null
    if (isOfType(field.type, value)) {
      const copy = asJson(value)
      if (copy !== undefined) return copy
    }
    const expected = expectation(field)
    throw this.error(`field ${name} must be ${expected}, got ${show(value)}`, {
      field: name,
      expected,
      value,
    })
  }

  /** The values that change. @throws SchemaError */
  changes(given: object): Record<string, unknown> {
    return Object.fromEntries(Object.entries(given).map(([name, value]) => [name, this.value(name, value)]))
  }

  /** All fields of a new record. @throws SchemaError */
  complete(given: object): Record<string, unknown> {
    const named = Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined))
    return { ...this.defaults((name) => Object.hasOwn(named, name)), ...this.changes(named) }
  }

  /** The defaults of the fields that are not there. @throws SchemaError for one without default */
  defaults(isThere: (field: string) => boolean): Record<string, unknown> {
    const missing = Object.entries(this.fields).filter(([name]) => !isThere(name))
    return Object.fromEntries(
      missing.map(([name, field]) => {
        if (Object.hasOwn(field, 'default')) return [name, cloneTree(field.default)]
        const expected = expectation(field)
        throw this.error(`field ${name} is missing, which has no default and must be ${expected}`, {
          field: name,
          expected,
        })
      }),
    )
  }

  /** The record with the table's fields, and no others. */
  project(record: StoredRecord): StoredRecord {
    const { _id, _version } = record
    const fields = Object.keys(this.fields).filter((name) => Object.hasOwn(record, name))
    return { _id, _version, ...Object.fromEntries(fields.map((name) => [name, record[name]])) }
  }

  error(what: string, details: Partial<SchemaErrorDetails> = {}): SchemaError {
    const { table } = this
    return new SchemaError(`table ${table} of ${this.#path}: ${what}. Nothing was changed.`, {
      path: this.#path,
      table,
      ...details,
    })
  }
}

/** The schema that `create` was asked for. @throws TypeError, SchemaError */
export function declared(path: string, table: string, fields: object): TableSchema {
  requireThat(isObject(fields), 'create(fields): fields must be an object', fields)
  let schema: TableSchema = { fields: {} }
  for (const [name, field] of Object.entries(fields)) schema = withField(path, table, schema, name, field)
  return schema
}

/** A schema with one more field. @throws TypeError, SchemaError for a default of the wrong type */
export function withField(
  path: string,
  table: string,
  { fields }: TableSchema,
  name: string,
  given: unknown,
): TableSchema {
  if (!FIELD_NAME.test(name)) {
    throw new TypeError(
      `the name of a field must be letters, digits and _, beginning with a letter: got ${show(name)}`,
    )
  }
  const field = typeof given === 'string' ? { type: given } : given
  if (!isObject(field) || !TYPES.includes(field.type as FieldType)) {
    throw new TypeError(`the type of field ${name} must be one of ${TYPES.join(', ')}, got ${show(given)}`)
  }
  requireKnown(field, DECLARATION_NAMES, `member of field ${name},`)
  const plain: FieldSchema = {
    type: field.type as FieldType,
    ...(field.nullable === true ? { nullable: true } : {}),
  }
  const bare = { fields: { ...fields, [name]: plain } }
  if (field.default === undefined) return bare
  const value = new Shape(path, table, bare).value(name, field.default)
  return { fields: { ...bare.fields, [name]: { ...plain, default: value } } }
}

export function expectation({ type, nullable }: FieldSchema): string {
  return nullable ? `${type} or null` : type
}

function isOfType(type: FieldType, value: unknown): boolean {
  if (type === 'array') return Array.isArray(value)
  if (type === 'object') return isObject(value)
  return typeof value === type && (type !== 'number' || Number.isFinite(value))
}

/** What JSON makes of it, which is what any store's file would; undefined where it makes nothing. */
function asJson(value: unknown): unknown {
  if (typeof value !== 'object') return value
  try {
    return JSON.parse(JSON.stringify(value)) as unknown
  } catch {
    return undefined
  }
}

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
  requireThat(isObject(criteria), 'criteria must be an object of fields and values, or a function', criteria)
  const { _id: id, _version: version, ...fields } = criteria
  requireThat(!('_id' in criteria) || typeof id === 'string', 'criteria._id must be a string', id)
  const isWhole = !('_version' in criteria) || Number.isInteger(version)
  requireThat(isWhole, 'criteria._version must be a whole number', version)
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
