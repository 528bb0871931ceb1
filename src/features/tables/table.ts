import { type OptionNames, optionNames, requireKnown, requireObject, show } from '../../arguments.ts'
import { ClosedError, ConflictError, SchemaError } from '../../errors.ts'
import { crypto } from '../../os/modules.ts'
import type { StoredRecord } from '../../store/adapter.ts'
import { getOwn } from '../../store/json/values.ts'
import type { TransactionsOf } from '../../store/transaction.ts'
import { type Selection, selection } from './criteria.ts'
import { migrate, readRecords } from './migration.ts'
import { declared, expectation, Shape, type TableSchema, withField } from './schema.ts'
import type { Pending, Schemas } from './schema-file.ts'
import type { Tables } from './tables.ts'
import type { CreateOptions, VersionOptions } from './types.ts'

const CREATE_NAMES: OptionNames = optionNames<CreateOptions>({ mode: true })
const VERSION_NAMES: OptionNames = optionNames<VersionOptions>({ version: true })

/** A table in a store; the types of its records are in `Table`. */
export class StoreTable<S> {
  readonly name: string
  readonly #tables: Tables<S>
  readonly #doors: TransactionsOf<S>
  readonly #running = new Set<Promise<unknown>>()
  #isClosed = false

  constructor(name: string, tables: Tables<S>, doors: TransactionsOf<S>) {
    this.name = name
    this.#tables = tables
    this.#doors = doors
  }

  async create(fields: object, options: CreateOptions = {}): Promise<this> {
    requireKnown(options, CREATE_NAMES)
    const { mode } = options
    if (mode !== undefined && mode !== 'open' && mode !== 'override') {
      throw new TypeError(`mode must be 'open' or 'override', got ${show(mode)}`)
    }
    const to = declared(this.#tables.path, this.name, fields)
    await this.#alter('create', async (tx, tables) => {
      const from = getOwn(tables as Record<string, unknown>, this.name) as TableSchema | undefined
      const change = { table: this.name, from: from ?? null, to }
      if (mode === 'override') return { ...change, operation: 'override' }
      if (from) {
        if (mode !== 'open') throw this.#exists()
        this.#shape(from).requireFields(to)
        return undefined
      }
      const records = await readRecords(this.#tables.rows, tx, this.#shape(to))
      if (records.length > 0 && mode !== 'open') throw this.#exists()
      return { ...change, operation: 'create' }
    })
    this.#isClosed = false
    return this
  }

  async open(): Promise<this> {
    this.#tables.requireOutside('open()')
    await this.#tables.recover(this.#doors)
    await this.#doors.transaction(async (tx) => {
      const schema = this.#schema(await this.#tables.present(tx))
      const same: Pending = { operation: 'create', table: this.name, from: schema, to: schema }
      await migrate(this.#tables.rows, tx, this.#tables.path, same)
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
      await this.#tables.rows.insert(tx, this.name, complete)
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
      if (updated.length > 0) await this.#tables.rows.replace(tx, this.name, updated)
      return structuredClone(updated).map((record) => shape.project(record))
    })
  }

  async delete(criteria: unknown, options: VersionOptions = {}): Promise<number> {
    requireKnown(options, VERSION_NAMES)
    return this.#write(async (tx, shape) => {
      const found = await this.#find(tx, shape, selection(criteria), options)
      const ids = found.map(({ _id }) => _id)
      if (ids.length > 0) await this.#tables.rows.remove(tx, this.name, ids)
      return ids.length
    })
  }

  async cleanup(): Promise<void> {
    this.#tables.requireOutside('cleanup()')
    await this.#existing(() => this.#tables.cleanup(this.#doors))
  }

  async commit(): Promise<void> {
    this.#tables.requireOutside('commit()')
    await this.#existing(() => this.#tables.commit())
  }

  select(criteria: unknown = {}): Promise<StoredRecord[]> {
    return this.#run(async () => {
      const wanted = selection(criteria)
      await this.#tables.recover(this.#doors)
      let seen = await this.#look(wanted)
      while (!seen) {
        // In a long line of waiters every wait could meet a change: under the lock there is none, unless by a crash.
        await this.#tables.recover(this.#doors)
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
    const before = this.#tables.read()
    const { pending, tables } = before
    const schema = pending?.table === this.name ? (pending.to ?? undefined) : tables[this.name]
    const shape = this.#shape(schema ?? { fields: {} })
    const records = await this.#doors.view((tx) => readRecords(this.#tables.rows, tx, shape, wanted.id))
    const isSame = this.#tables.read() === before && !pending
    if (!isSame && !this.#tables.isInside) return undefined
    if (!schema) throw this.#missing()
    return records.filter(wanted.fits(shape)).map((record) => shape.project(record))
  }

  /** The records that a change is about. @throws ConflictError where `version` says that they are not what was read */
  async #find(tx: S, shape: Shape, wanted: Selection, { version }: VersionOptions): Promise<StoredRecord[]> {
    if (version !== undefined && !Number.isInteger(version)) {
      throw new TypeError(`version must be a whole number, got ${show(version)}`)
    }
    const fits = wanted.fits(shape)
    const found = (await readRecords(this.#tables.rows, tx, shape, wanted.id)).filter(fits)
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
      await this.#tables.recover(this.#doors)
      return this.#doors.transaction(async (tx) => {
        const schema = this.#schema(await this.#tables.present(tx))
        return run(tx, this.#shape(schema))
      }) as Promise<T>
    })
  }

  #alter(
    operation: string,
    decide: (tx: S, tables: Schemas['tables']) => Promise<Pending | undefined>,
  ): Promise<void> {
    this.#tables.requireOutside(`${operation}()`)
    return this.#tables.alter(this.#doors, decide)
  }

  #alterExisting(
    operation: Pending['operation'],
    change: (schema: TableSchema) => TableSchema | null,
  ): Promise<void> {
    return this.#run(() =>
      this.#alter(operation, async (_, tables) => {
        const from = this.#schema(tables)
        return { operation, table: this.name, from, to: change(from) }
      }),
    )
  }

  async #existing(run: () => Promise<void>): Promise<void> {
    await this.#run(async () => {
      await this.#tables.recover(this.#doors)
      this.#schema(this.#tables.read().tables)
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
    const schema = getOwn(tables as Record<string, unknown>, this.name) as TableSchema | undefined
    if (schema) return schema
    throw this.#missing()
  }

  #shape(schema: TableSchema): Shape {
    return new Shape(this.#tables.path, this.name, schema)
  }

  #exists(): SchemaError {
    return this.#shape({ fields: {} }).error(
      "exists already. Use open(), or create(fields, { mode: 'open' }) or { mode: 'override' }",
    )
  }

  #missing(): SchemaError {
    const { path } = this.#tables
    return new SchemaError(`there is no table ${this.name} in ${path}: create() it first.`, {
      path,
      table: this.name,
    })
  }
}
