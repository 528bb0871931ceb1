import { closeSync, constants, unlinkSync } from 'node:fs'
import { basename, dirname, join } from 'node:path'
import { show } from '../../arguments.ts'
import { errnoOf, TransactionError } from '../../errors.ts'
import type { PsLock } from '../../lock/lock.ts'
import { sync, syncNames } from '../../os/io.ts'
import { openFile } from '../../os/open-files.ts'
import { storeFailure } from '../../os/replace.ts'
import type { TableStorage } from '../../store/adapter.ts'
import { exclusiveToWrite } from '../../store/data-file.ts'
import type { Pipeline } from '../../store/pipeline.ts'
import type { TransactionsOf } from '../../store/transaction.ts'
import { migrate } from './migration.ts'
import type { TableSchema } from './schema.ts'
import { type Pending, SchemaFile, type Schemas } from './schema-file.ts'
import { StoreTable } from './table.ts'
import type { Table } from './types.ts'

/** What tables need of the store that they are in. */
export interface TableStore {
  /** The data file. */
  readonly path: string
  readonly lock: PsLock
  readonly queue: Pipeline
}

/** Makes the tables of one store. */
export interface StoreTables<S> {
  <R extends object, D extends keyof R>(name: string, doors: TransactionsOf<S>): Table<R, D>
  /** Closes the schema file. */
  close(): void
}

/** Names that every store can keep and that look well in a file. */
const TABLE_NAME = /^[A-Za-z][\w-]*$/

/** @param rows undefined: the adapter declares none, and there are no tables */
export function storeTables<S>(store: TableStore, rows: TableStorage<S> | undefined): StoreTables<S> {
  const tables = rows && new Tables(store, rows)
  const table = <R extends object, D extends keyof R>(
    name: string,
    doors: TransactionsOf<S>,
  ): Table<R, D> => {
    if (!tables)
      throw new TypeError(`the adapter of ${store.path} declares no rows, so there are no tables in it`)
    if (typeof name !== 'string' || !TABLE_NAME.test(name)) {
      throw new TypeError(
        `the name of a table must be letters, digits, _ and -, beginning with a letter: got ${show(name)}`,
      )
    }
    return new StoreTable<S>(name, tables, doors) as unknown as Table<R, D>
  }
  return Object.assign(table, { close: () => tables?.close() })
}

/** For a store without a file. @throws TransactionError */
export function noTables(): never {
  throw new TransactionError('a store in memory only has no tables: give it a file', { path: ':memory:' })
}

/** The tables of one store: their schemas, and how those change. `S` is what the callback of a transaction is given. */
export class Tables<S> {
  readonly path: string
  readonly rows: TableStorage<S>
  readonly #store: TableStore
  readonly #file: SchemaFile

  constructor(store: TableStore, rows: TableStorage<S>) {
    this.path = store.path
    this.rows = rows
    this.#store = store
    this.#file = new SchemaFile(store.path)
  }

  /** Whether the caller runs inside a transaction or view of the store. */
  get isInside(): boolean {
    return this.#store.queue.isInside()
  }

  close(): void {
    this.#file.close()
  }

  /** The present schemas, as they are written; see `SchemaFile#read`. */
  read(): Schemas {
    return this.#file.read()
  }

  /** @throws TransactionError inside a transaction, which could not undo what is about to be done */
  requireOutside(operation: string): void {
    if (!this.isInside) return
    throw new TransactionError(
      `${operation} cannot be undone, so it is refused inside a transaction or view of ${this.path}. Do it outside.`,
      { path: this.path },
    )
  }

  /** Finishes what a crash left unfinished, and waits for what another process is about to finish. */
  async recover(doors: TransactionsOf<S>): Promise<void> {
    if (this.isInside || !this.read().pending) return
    await this.#locked(doors, async () => {})
  }

  /** Runs while nobody changes anything. */
  shared<T>(run: () => Promise<T>): Promise<T> {
    return this.#store.lock.shared(run) as Promise<T>
  }

  /** In a transaction: the tables, whose records are as these schemas say, also if a crash was found only now. */
  async present(tx: S): Promise<Schemas['tables']> {
    const schemas = this.read()
    const { tables, pending } = schemas
    this.#store.queue.provided(() => this.read() === schemas)
    if (!pending) return tables
    await migrate(this.rows, tx, this.path, pending)
    return after(tables, pending)
  }

  /**
   * Changes a schema, and the records with it.
   * @param decide what to do, from the present schema; undefined: nothing. It runs in a transaction.
   */
  async alter(
    doors: TransactionsOf<S>,
    decide: (tx: S, tables: Schemas['tables']) => Promise<Pending | undefined>,
  ): Promise<void> {
    await this.#locked(doors, async () => {
      const { tables } = this.read()
      let pending: Pending | undefined
      try {
        pending = await doors.transaction(async (tx) => {
          const decided = await decide(tx, tables)
          if (!decided) return undefined
          await migrate(this.rows, tx, this.path, decided)
          // The last step before the transaction is written: until here there is nothing to finish after a crash.
          await this.#file.write({ tables, pending: decided })
          return decided
        })
      } catch (error) {
        await this.#afterFailure(doors)
        throw error
      }
      if (pending) await this.#done(tables, pending)
    })
  }

  /** Finishes a change, once the records are changed. */
  async #done(tables: Schemas['tables'], pending: Pending): Promise<void> {
    // The schema is durable: power loss must not take the records back behind it, nor the name of a file that was replaced.
    await syncFile(this.path)
    await syncNamesOf(this.path)
    await this.#file.write({ tables: after(tables, pending) })
  }

  /**
   * The data could not be written, and the change must not be finished later; or it was written but could not be synced, and
   * the schema follows it. If this fails too, the first error is reported.
   */
  async #afterFailure(doors: TransactionsOf<S>): Promise<void> {
    const { tables, pending } = this.read()
    if (!pending) return
    try {
      const isUndone = await doors.rollbackAfter((tx) => migrate(this.rows, tx, this.path, pending))
      if (isUndone) await this.#file.write({ tables })
      else await this.#done(tables, pending)
    } catch {
      // The next operation under the lock finishes the change.
    }
  }

  /** Makes data, schema and their names durable. They need no lock: a file that replaces them is synced before. */
  async commit(): Promise<void> {
    await syncFile(this.path)
    await syncFile(this.#file.path)
    await syncNamesOf(this.path)
  }

  /** Removes the temporary files that only a crash leaves behind, and makes the file small. */
  async cleanup(doors: TransactionsOf<S>): Promise<void> {
    await this.#locked(doors, async () => {
      await doors.transaction((tx) => this.rows.compact?.(tx))
      for (const path of [this.path, this.#file.path]) {
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
  async #locked(doors: TransactionsOf<S>, run: () => Promise<void>): Promise<void> {
    // What waits for the store to be loaded must not do so under the lock, which loading needs.
    await doors.view(() => {})
    await exclusiveToWrite(this.path, this.#store.lock, async () => {
      const { tables, pending } = this.read()
      if (pending) {
        await doors.transaction((tx) => migrate(this.rows, tx, this.path, pending))
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
async function syncNamesOf(path: string): Promise<void> {
  try {
    await syncNames(path)
  } catch (error) {
    throw storeFailure(path, 'sync the folder of', error)
  }
}

/** The tables once the change is done. */
function after(tables: Schemas['tables'], { table, to }: Pending): Record<string, TableSchema> {
  const { [table]: _, ...others } = tables
  return to ? { ...others, [table]: to } : others
}
