import { closeSync, constants, unlinkSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { CorruptStoreError, errnoOf, StoreIoError, TransactionError } from '../../errors.ts'
import type { PsLock } from '../../lock/lock.ts'
import { sync } from '../../os/io.ts'
import { crypto } from '../../os/modules.ts'
import { openFile } from '../../os/open-files.ts'
import { storeFailure, syncNames } from '../../os/replace.ts'
import { BLOCKING, runBlocking, runSteps, WAITING } from '../../os/steps.ts'
import type { StoredRecord, TableStorage } from '../../store/adapter.ts'
import { exclusiveToWrite, requireReadable } from '../../store/data-file.ts'
import { cloneTree, isObject } from '../../store/json/values.ts'
import type { Pipeline } from '../../store/pipeline.ts'
import { TextFile } from '../../store/text/text-file.ts'
import type { TransactionsOf } from '../../store/transaction.ts'
import { Shape, type TableSchema } from './schema.ts'

/** A change of a table that was begun: what a crash leaves unfinished, the next operation finishes. */
export interface Pending {
  readonly operation: 'create' | 'override' | 'destroy' | 'addField' | 'dropField' | 'setDefault'
  readonly table: string
  /** The schemas before and after; null: no such table. */
  readonly from: TableSchema | null
  readonly to: TableSchema | null
}

/** The content of a schema file. */
export interface Schemas {
  readonly tables: Readonly<Record<string, TableSchema>>
  readonly pending?: Pending
}

const NONE: Schemas = { tables: {} }

/** A thousand times the schemas of a large program. */
const MOST_BYTES = 64 * 2 ** 20

/** Where the schemas of a store's tables are. */
export interface SchemaStore {
  /** For messages. */
  readonly path: string
  /** The present schemas: the same object for as long as nobody has written. */
  read(): Schemas
  /** Only under the exclusive lock. */
  write(schemas: Schemas): Promise<void>
  close(): void
}

/**
 * The schemas of a store's tables, in `<data file>.schema`, replaced as a whole and synced, under the store's lock. It
 * cannot change in one step with the data. So a change is written here as pending first, then made in the data (which
 * can be done twice), then written here as done: whoever finds it pending under the lock knows of a crash, and does the
 * data step and what follows again.
 */
export class SchemaFile implements SchemaStore {
  readonly path: string
  readonly #file: TextFile
  #schemas: Schemas = NONE

  constructor(dataPath: string) {
    this.path = `${dataPath}.schema`
    this.#file = new TextFile(this.path, () => false)
  }

  /** The present schemas: the same object for as long as nobody has written. @throws CorruptStoreError, StoreIoError */
  read(): Schemas {
    try {
      const found = this.#file.look('shared')
      if (found.kind === 'none') return this.#schemas
      if (found.kind === 'changed') {
        requireReadable(this.path, found.size, MOST_BYTES)
        this.#schemas = this.#parse(runBlocking(this.#file.read(found.size, BLOCKING)))
      } else this.#schemas = { ...NONE }
    } catch (error) {
      this.#file.forget()
      throw storeFailure(this.path, 'read', error)
    } finally {
      this.#file.unlockData()
    }
    return this.#schemas
  }

  /** Only under the exclusive lock. @throws StoreIoError */
  async write(schemas: Schemas): Promise<void> {
    this.read()
    const text = `${JSON.stringify(schemas, null, 2)}\n`
    if (Buffer.byteLength(text) > MOST_BYTES) {
      throw new StoreIoError(
        `cannot write ${this.path}: the schemas would have more than ${MOST_BYTES / 2 ** 20} MB. Nothing was changed; keep large ` +
          'default values elsewhere.',
        { path: this.path },
      )
    }
    try {
      await runSteps(this.#file.replace(text, true, WAITING))
      this.#schemas = schemas
    } catch (error) {
      throw storeFailure(this.path, 'write', error)
    } finally {
      this.#file.unlockData()
    }
  }

  close(): void {
    this.#file.close()
  }

  #parse(text: string): Schemas {
    let cause: unknown
    try {
      const schemas: unknown = JSON.parse(text)
      if (isObject(schemas) && isObject(schemas.tables)) return schemas as unknown as Schemas
    } catch (error) {
      cause = error
    }
    throw new CorruptStoreError(
      `${this.path} is not a schema file. It was left as it is: mend it, or move it away and call create(fields, ` +
        `{ mode: 'open' }), which takes over the records that are there.`,
      { path: this.path, cause },
    )
  }
}

/** What the tables of a store work with. `S` is what the callback of a transaction is given. */
export interface TableParts<S> {
  /** The data file, or what is shown of another place. */
  readonly path: string
  readonly queue: Pipeline
  readonly storage: TableStorage<S>
  readonly transactions: TransactionsOf<S>
}

/** The tables of one store: their schemas, and how those change. */
export abstract class Tables<S> {
  readonly path: string
  readonly storage: TableStorage<S>
  readonly transactions: TransactionsOf<S>
  abstract readonly schemas: SchemaStore
  readonly #queue: Pipeline

  constructor({ path, queue, storage, transactions }: TableParts<S>) {
    this.path = path
    this.storage = storage
    this.transactions = transactions
    this.#queue = queue
  }

  /** Brings the schemas up to date; finishes what a crash left unfinished, and waits for what is about to be finished. */
  abstract recover(): Promise<void>

  /** Runs while nobody changes anything. */
  abstract shared<T>(run: () => Promise<T>): Promise<T>

  /**
   * Changes a schema, and the records with it.
   * @param decide what to do, from the present schema; undefined: nothing. It runs in a transaction.
   * @throws TransactionError inside a transaction
   */
  abstract alter(
    operation: string,
    decide: (tx: S, tables: Schemas['tables']) => Promise<Pending | undefined>,
  ): Promise<void>

  /** Makes data and schemas durable. */
  abstract commit(): Promise<void>

  /** Takes away what nobody needs. */
  abstract cleanup(): Promise<void>

  /** Whether the caller runs inside a transaction or view of the store. */
  get isInside(): boolean {
    return this.#queue.isInside()
  }

  /** @throws TransactionError inside a transaction, which could not undo what is about to be done */
  requireOutside(operation: string): void {
    if (!this.isInside) return
    throw new TransactionError(
      `${operation}() cannot be undone, so it is refused inside a transaction or view of ${this.path}. Do it outside.`,
      { path: this.path },
    )
  }

  /** In a transaction: the tables, whose records are as these schemas say, also if a crash was found only now. */
  async present(tx: S): Promise<Schemas['tables']> {
    const schemas = this.schemas.read()
    const { tables, pending } = schemas
    this.#queue.provided(() => this.schemas.read() === schemas)
    if (!pending) return tables
    await this.migrate(tx, pending)
    return after(tables, pending)
  }

  /** Copies of a table's records. @throws SchemaError where something else is there */
  async records(tx: S, shape: Shape, id?: string): Promise<StoredRecord[]> {
    const found = (await this.storage.read(tx, shape.table, id)) ?? []
    if (Array.isArray(found) && found.every(isObject)) return cloneTree(found) as unknown as StoredRecord[]
    throw shape.error('what the store has under this name is no list of records', { value: found })
  }

  /**
   * The data step of a change of a table. What was done already is not done again, so it may be repeated after a crash.
   * @returns whether there was anything to do
   * @throws SchemaError where a record cannot be made to fit
   */
  async migrate(tx: S, { operation, table, from, to }: Pending): Promise<boolean> {
    const { storage } = this
    const had = await storage.read(tx, table)
    if (!to || operation === 'override') {
      await storage.drop(tx, table)
      if (to) await storage.insert(tx, table, [])
      return Array.isArray(had) ? had.length > 0 || !to : had !== undefined || to !== null
    }
    const shape = new Shape(this.path, table, to)
    const dropped = Object.keys(from?.fields ?? {}).filter((name) => !Object.hasOwn(to.fields, name))
    const records = await this.records(tx, shape)
    if (had === undefined) await storage.insert(tx, table, [])
    const fitting = records.map((record) => reshaped(record, shape, dropped))
    const changed = fitting.filter((record, index) => record !== records[index])
    if (records.every(({ _id }) => typeof _id === 'string')) {
      if (changed.length > 0) await storage.replace(tx, table, changed)
    } else {
      // The store's own records from before there was a table: they have no ids to be replaced by.
      await storage.drop(tx, table)
      await storage.insert(tx, table, fitting)
    }
    return had === undefined || changed.length > 0
  }
}

/**
 * The tables of a store in a file. Its schemas are in a file of their own, which cannot change in one step with the data: see
 * `SchemaFile`.
 */
export class FileTables<S> extends Tables<S> {
  readonly schemas: SchemaFile
  readonly #lock: PsLock

  constructor(parts: TableParts<S>, lock: PsLock) {
    super(parts)
    this.#lock = lock
    this.schemas = new SchemaFile(parts.path)
  }

  async recover(): Promise<void> {
    if (this.isInside || !this.schemas.read().pending) return
    await this.#locked(async () => {})
  }

  shared<T>(run: () => Promise<T>): Promise<T> {
    return this.#lock.shared(run) as Promise<T>
  }

  async alter(
    operation: string,
    decide: (tx: S, tables: Schemas['tables']) => Promise<Pending | undefined>,
  ): Promise<void> {
    this.requireOutside(operation)
    await this.#locked(async () => {
      const { tables } = this.schemas.read()
      let pending: Pending | undefined
      try {
        pending = await this.transactions.transaction(async (tx) => {
          const decided = await decide(tx, tables)
          if (!decided) return undefined
          await this.migrate(tx, decided)
          // The last step before the transaction is written: until here there is nothing to finish after a crash.
          await this.schemas.write({ tables, pending: decided })
          return decided
        })
      } catch (error) {
        await this.#afterFailure()
        throw error
      }
      if (pending) await this.#done(tables, pending)
    })
  }

  /** Finishes a change, once the records are changed. */
  async #done(tables: Schemas['tables'], pending: Pending): Promise<void> {
    // The schema is durable: power loss must not take the records back behind it, nor the name of a file that was replaced.
    await syncFile(this.path)
    await syncFolderOf(this.path)
    await this.schemas.write({ tables: after(tables, pending) })
  }

  /**
   * The data could not be written, and the change must not be finished later; or it was written but could not be synced, and
   * the schema follows it. If this fails too, the first error is reported.
   */
  async #afterFailure(): Promise<void> {
    const { tables, pending } = this.schemas.read()
    if (!pending) return
    try {
      const isUndone = await this.transactions.rollbackAfter((tx) => this.migrate(tx, pending))
      if (isUndone) await this.schemas.write({ tables })
      else await this.#done(tables, pending)
    } catch {
      // The next operation under the lock finishes the change.
    }
  }

  /** Makes data, schema and their names durable. They need no lock: a file that replaces them is synced before. */
  async commit(): Promise<void> {
    await syncFile(this.path)
    await syncFile(this.schemas.path)
    await syncFolderOf(this.path)
  }

  /** Removes the temporary files that only a crash leaves behind, and makes the file small. */
  async cleanup(): Promise<void> {
    await this.#locked(async () => {
      await this.transactions.transaction((tx) => this.storage.compact?.(tx))
      for (const path of [this.path, this.schemas.path]) {
        for (const temp of [`${path}~`, join(dirname(path), `.${basename(path)}.pslock.tmp`)]) {
          try {
            unlinkSync(temp)
          } catch (error) {
            // Others may have made a file of this name: it is theirs, and no write of ours uses it.
            if (!['ENOENT', 'EACCES', 'EPERM', 'EISDIR'].includes(errnoOf(error) ?? ''))
              throw storeFailure(temp, 'remove', error)
          }
        }
      }
    })
  }

  /** One exclusive hold over several transactions, with nothing unfinished at its beginning. */
  async #locked(run: () => Promise<void>): Promise<void> {
    // What waits for the store to be loaded must not do so under the lock, which loading needs.
    await this.transactions.view(() => {})
    await exclusiveToWrite(this.path, this.#lock, async () => {
      const { tables, pending } = this.schemas.read()
      if (pending) {
        await this.transactions.transaction((tx) => this.migrate(tx, pending))
        await this.#done(tables, pending)
      }
      await run()
    })
  }
}

/** Makes what is in a file durable, where there is one. */
async function syncFile(path: string): Promise<void> {
  try {
    const fd = openFile(path, constants.O_RDONLY | constants.O_NONBLOCK)
    try {
      await sync(fd)
    } finally {
      closeSync(fd)
    }
  } catch (error) {
    if (errnoOf(error) !== 'ENOENT') throw storeFailure(path, 'sync', error)
  }
}

/** Makes the names in the folder of a file durable. */
async function syncFolderOf(path: string): Promise<void> {
  try {
    await runSteps(syncNames(path, WAITING))
  } catch (error) {
    throw storeFailure(path, 'sync the folder of', error)
  }
}

/** The tables once the change is done. */
export function after(tables: Schemas['tables'], { table, to }: Pending): Record<string, TableSchema> {
  const { [table]: _, ...others } = tables
  return to ? { ...others, [table]: to } : others
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
