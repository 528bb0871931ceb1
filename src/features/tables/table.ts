import {
  type OptionNames,
  optionNames,
  requireKnown,
  requireObject,
  requireOneOf,
  requireThat,
  show,
} from '../../arguments.ts'
import { ClosedError, ConflictError, SchemaError } from '../../errors.ts'
import { crypto } from '../../os/modules.ts'
import type { StoredRecord } from '../../store/adapter.ts'
import { getOwn } from '../../store/json/values.ts'
import {
  declared,
  expectation,
  type FieldType,
  type Selection,
  Shape,
  selection,
  type TableSchema,
  withField,
} from './schema.ts'
import type { Pending, Schemas, Tables } from './tables.ts'

type TypeOf<V> = unknown extends V
  ? FieldType
  : V extends string
    ? 'string'
    : V extends number
      ? 'number'
      : V extends boolean
        ? 'boolean'
        : V extends readonly unknown[]
          ? 'array'
          : 'object'

/** The declaration of one field; `nullable` where its TypeScript type has `null`. */
export type Field<V> = {
  readonly type: TypeOf<NonNullable<V>>
  /** The value for records that are inserted without this field. @default none: leaving the field out is an error */
  readonly default?: V
} & (unknown extends V
  ? { readonly nullable?: boolean }
  : null extends V
    ? { readonly nullable: true }
    : { readonly nullable?: false })

/** The fields of a table: each is its type, or a declaration with more to it. */
export type Fields<R> = {
  readonly [K in keyof R]-?: Field<R[K]> | (null extends R[K] ? never : TypeOf<R[K]>)
}

/** A record as `select` returns it. */
export type Stored<R> = R & {
  /** Unique; made by the table. */
  readonly _id: string
  /** 1 when inserted, and one more after each update. The option `version` is compared with it. */
  readonly _version: number
}

/** A record to be inserted: the fields D, which have a default, may be left out. */
export type NewRecord<R, D extends keyof R = never> = Omit<R, D> & Partial<Pick<R, D>>

/** Which records: those with these values (objects and arrays by content), or those for which the function returns true. */
export type Criteria<R> = Partial<Stored<R>> | ((record: Stored<R>) => boolean)

export interface CreateOptions {
  /**
   * What to do if the table exists. `open`: open it, if it has these fields with these types (it may have more). Records
   * that the store has under this name without a schema are taken over. `override`: remove it with all its records first.
   * @default an existing table is a SchemaError
   */
  readonly mode?: 'open' | 'override' | undefined
}

export interface VersionOptions {
  /**
   * Change only if there is such a record, and every one still has this `_version`; otherwise it is a ConflictError.
   * @default undefined: any version
   */
  readonly version?: number | undefined
}

/**
 * A table of records that all have the same fields, in any store, for any number of processes. The records are in the
 * file of the store, the fields in `<file>.schema` beside it. Both change under the lock of the store.
 *
 * Every method except `close` rejects with ClosedError after `close()`, and with the errors of `transaction`. Every method
 * except `close` and `create` rejects with SchemaError if the table does not exist. Inside a transaction of the store,
 * `insert`, `update`, `delete` and `select` belong to it. The others cannot be undone with it and are a TransactionError.
 *
 * @typeParam R the fields; `_id` and `_version` are added
 * @typeParam D those of them that have a default
 */
export interface Table<R extends object, D extends keyof R = never> {
  readonly name: string
  /** Makes the table. @throws SchemaError if it exists and `mode` is not given */
  create(fields: Fields<R>, options?: CreateOptions): Promise<this>
  /**
   * Makes sure that the table exists and that its records agree with the schema. A field that a record lacks (an older file
   * was put back) gets its default.
   * @throws SchemaError if the table does not exist, or a record cannot be made to agree
   */
  open(): Promise<this>
  /** Waits for the calls that were issued. Later calls reject until `open` or `create`. The store stays open. */
  close(): Promise<void>
  /** Removes the table, its records and its schema. */
  destroy(): Promise<void>
  /** Sets the default for records that are inserted from now on. Existing records stay as they are. */
  setDefault<K extends keyof R & string>(field: K, value: R[K]): Promise<void>
  /** Adds one record. @throws SchemaError for an unknown field, a wrong type, or a missing field without default */
  insert(record: NewRecord<R, D>): Promise<Stored<R>>
  /** Adds records, all or none. */
  insert(records: readonly NewRecord<R, D>[]): Promise<Stored<R>[]>
  /**
   * Changes the named fields and no others. If `criteria` is a function, it runs under the lock.
   * @returns the records after the change
   * @throws SchemaError, ConflictError with `version`
   */
  update(criteria: Criteria<R>, changes: Partial<R>, options?: VersionOptions): Promise<Stored<R>[]>
  /** Removes records. @returns how many were removed @throws SchemaError, ConflictError with `version` */
  delete(criteria: Criteria<R>, options?: VersionOptions): Promise<number>
  /** Makes the file small and removes temporary files of crashes. What was kept aside (torn, unreadable) stays. */
  cleanup(): Promise<void>
  /** Once it resolves, everything acknowledged so far, by any process, survives power loss. */
  commit(): Promise<void>
  /** Adds a field, and its default to every record, in one step. @throws SchemaError if the field exists */
  addField<K extends keyof R & string>(
    field: K,
    declaration: Field<R[K]> & { readonly default: R[K] },
  ): Promise<void>
  /** Removes a field from the table and from every record, in one step. @throws SchemaError if it does not exist */
  dropField(field: string): Promise<void>
  /** Copies of the records of one state, in no particular order. Without `criteria`: all records. */
  select(criteria?: Criteria<R>): Promise<Stored<R>[]>
}

const CREATE_NAMES: OptionNames = optionNames<CreateOptions>({ mode: true })
const VERSION_NAMES: OptionNames = optionNames<VersionOptions>({ version: true })

/** Names that every store can keep and that look well in a file. */
const TABLE_NAME = /^[A-Za-z][\w-]*$/

/** A table in a store; the types of its records are in `Table`. */
export class StoreTable<S> {
  readonly name: string
  readonly #tables: Tables<S>
  readonly #running = new Set<Promise<unknown>>()
  #isClosed = false

  /** @throws TypeError for a name that not every store could keep */
  constructor(name: string, tables: Tables<S>) {
    if (typeof name !== 'string' || !TABLE_NAME.test(name)) {
      throw new TypeError(
        `the name of a table must be letters, digits, _ and -, beginning with a letter: got ${show(name)}`,
      )
    }
    this.name = name
    this.#tables = tables
  }

  async create(fields: object, options: CreateOptions = {}): Promise<this> {
    requireKnown(options, CREATE_NAMES)
    const { mode } = options
    if (mode !== undefined) requireOneOf(mode, 'mode', ['open', 'override'])
    const to = declared(this.#tables.path, this.name, fields)
    await this.#tables.alter('create', async (tx, tables) => {
      const from = this.#schemaIn(tables)
      const change = { table: this.name, from: from ?? null, to }
      if (mode === 'override') return { ...change, operation: 'override' }
      const isThere = from || (await this.#tables.records(tx, this.#shape(to))).length > 0
      if (isThere && mode !== 'open') {
        throw this.#shape(to).error(
          "exists already. Use open(), or create(fields, { mode: 'open' }) or { mode: 'override' }",
        )
      }
      if (!from) return { ...change, operation: 'create' }
      this.#shape(from).requireFields(to)
      return undefined
    })
    this.#isClosed = false
    return this
  }

  async open(): Promise<this> {
    this.#tables.requireOutside('open')
    await this.#tables.recover()
    await this.#tables.transactions.transaction(async (tx) => {
      const schema = this.#schema(await this.#tables.present(tx))
      await this.#tables.migrate(tx, { operation: 'create', table: this.name, from: schema, to: schema })
    })
    this.#isClosed = false
    return this
  }

  async close(): Promise<void> {
    this.#isClosed = true
    await Promise.allSettled(this.#running)
  }

  destroy(): Promise<void> {
    return this.#alterExisting('destroy', () => null)
  }

  setDefault(field: string, value: unknown): Promise<void> {
    return this.#alterExisting('setDefault', (schema) => {
      const shape = this.#shape(schema)
      const declaration = { ...shape.field(field), default: shape.value(field, value) }
      return { fields: { ...schema.fields, [field]: declaration } }
    })
  }

  addField(field: string, declaration: object): Promise<void> {
    return this.#alterExisting('addField', (schema) => {
      const shape = this.#shape(schema)
      if (Object.hasOwn(schema.fields, field)) throw shape.error(`has a field ${field} already`, { field })
      requireObject(declaration, 'addField(field, declaration): declaration')
      const to = withField(this.#tables.path, this.name, schema, field, declaration)
      const added = to.fields[field]
      if (added && Object.hasOwn(added, 'default')) return to
      const expected = added && expectation(added)
      throw shape.error(`field ${field} needs a default, which its records shall get: ${expected}`, {
        field,
        expected,
      })
    })
  }

  dropField(field: string): Promise<void> {
    return this.#alterExisting('dropField', (schema) => {
      this.#shape(schema).field(field)
      const { [field]: _, ...fields } = schema.fields
      return { fields }
    })
  }

  insert(given: object | readonly object[]): Promise<StoredRecord | StoredRecord[]> {
    const isOne = !Array.isArray(given)
    const records: readonly unknown[] = isOne ? [given] : given
    return this.#write(async (tx, shape) => {
      const complete = records.map((record) => {
        requireObject(record, 'insert(record): record')
        return { _id: crypto().randomUUID(), _version: 1, ...shape.complete(record as object) }
      })
      await this.#tables.storage.insert(tx, this.name, complete)
      const stored = structuredClone(complete).map((record) => shape.project(record))
      return isOne ? (stored[0] as StoredRecord) : stored
    })
  }

  async update(criteria: unknown, changes: object, options: VersionOptions = {}): Promise<StoredRecord[]> {
    requireKnown(options, VERSION_NAMES)
    return this.#write(async (tx, shape) => {
      requireObject(changes, 'update(criteria, changes): changes')
      const values = shape.changes(changes)
      const found = await this.#find(tx, shape, selection(criteria), options)
      const updated = found.map((record) => ({
        ...record,
        ...structuredClone(values),
        _version: record._version + 1,
      }))
      if (updated.length > 0) await this.#tables.storage.replace(tx, this.name, updated)
      return structuredClone(updated).map((record) => shape.project(record))
    })
  }

  async delete(criteria: unknown, options: VersionOptions = {}): Promise<number> {
    requireKnown(options, VERSION_NAMES)
    return this.#write(async (tx, shape) => {
      const found = await this.#find(tx, shape, selection(criteria), options)
      const ids = found.map(({ _id }) => _id)
      if (ids.length > 0) await this.#tables.storage.remove(tx, this.name, ids)
      return ids.length
    })
  }

  cleanup(): Promise<void> {
    return this.#existing('cleanup', () => this.#tables.cleanup())
  }

  commit(): Promise<void> {
    return this.#existing('commit', () => this.#tables.commit())
  }

  select(criteria: unknown = {}): Promise<StoredRecord[]> {
    return this.#run(async () => {
      const wanted = selection(criteria)
      await this.#tables.recover()
      let seen = await this.#look(wanted)
      while (!seen) {
        // In a long line of waiters every wait could meet a change: under the lock there is none, unless by a crash.
        await this.#tables.recover()
        seen = await this.#tables.shared(() => this.#look(wanted))
      }
      return seen
    })
  }

  /**
   * The schema is read without the lock: a change is written before the data as pending and after it as done, so where
   * it is the same before and after, and not pending, it is that of the records. @returns undefined where it is not
   */
  async #look(wanted: Selection): Promise<StoredRecord[] | undefined> {
    const before = this.#tables.schemas.read()
    const { pending, tables } = before
    const schema = pending?.table === this.name ? (pending.to ?? undefined) : tables[this.name]
    const shape = this.#shape(schema ?? { fields: {} })
    const read = (tx: S) => this.#tables.records(tx, shape, wanted.id)
    const records = await this.#tables.transactions.view(read)
    const isSame = this.#tables.schemas.read() === before && !pending
    if (!isSame && !this.#tables.isInside) return undefined
    if (!schema) throw this.#missing()
    return records.filter(wanted.fits(shape)).map((record) => shape.project(record))
  }

  /** The records that a change is about. @throws ConflictError where `version` says that they are not what was read */
  async #find(tx: S, shape: Shape, wanted: Selection, { version }: VersionOptions): Promise<StoredRecord[]> {
    const isWhole = version === undefined || Number.isInteger(version)
    requireThat(isWhole, 'version must be a whole number', version)
    const fits = wanted.fits(shape)
    const found = (await this.#tables.records(tx, shape, wanted.id)).filter(fits)
    if (version === undefined) return found
    const other = found.find((record) => record._version !== version)
    if (found.length > 0 && !other) return found
    const [which, is] = other ? [other._id, `version ${other._version}`] : [wanted.id ?? '', 'gone']
    throw new ConflictError(
      `record ${which} of table ${this.name} of ${this.#tables.path} was version ${version} and is ${is} now. Nothing was ` +
        'written: read it again, and do the change on what it is now.',
      { path: this.#tables.path, expected: version, found: other?._version },
    )
  }

  #write<T>(run: (tx: S, shape: Shape) => Promise<T>): Promise<T> {
    return this.#run(async () => {
      await this.#tables.recover()
      return this.#tables.transactions.transaction(async (tx) => {
        const schema = this.#schema(await this.#tables.present(tx))
        return run(tx, this.#shape(schema))
      }) as Promise<T>
    })
  }

  #alterExisting(
    operation: Pending['operation'],
    change: (schema: TableSchema) => TableSchema | null,
  ): Promise<void> {
    return this.#run(() =>
      this.#tables.alter(operation, async (_, tables) => {
        const from = this.#schema(tables)
        return { operation, table: this.name, from, to: change(from) }
      }),
    )
  }

  async #existing(operation: string, run: () => Promise<void>): Promise<void> {
    this.#tables.requireOutside(operation)
    await this.#run(async () => {
      await this.#tables.recover()
      this.#schema(this.#tables.schemas.read().tables)
      await run()
    })
  }

  /** Known to `close()`. */
  async #run<T>(run: () => Promise<T>): Promise<T> {
    if (this.#isClosed) {
      throw new ClosedError(`table ${this.name} of ${this.#tables.path} is closed: open() it again.`, {
        path: this.#tables.path,
      })
    }
    const running = run()
    this.#running.add(running)
    try {
      return await running
    } finally {
      this.#running.delete(running)
    }
  }

  #schema(tables: Schemas['tables']): TableSchema {
    const schema = this.#schemaIn(tables)
    if (schema) return schema
    throw this.#missing()
  }

  #schemaIn(tables: Schemas['tables']): TableSchema | undefined {
    return getOwn(tables as Record<string, unknown>, this.name) as TableSchema | undefined
  }

  #shape(schema: TableSchema): Shape {
    return new Shape(this.#tables.path, this.name, schema)
  }

  #missing(): SchemaError {
    const { path } = this.#tables
    return new SchemaError(`there is no table ${this.name} in ${path}: create() it first.`, {
      path,
      table: this.name,
    })
  }
}
