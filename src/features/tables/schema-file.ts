import { CorruptStoreError, StoreIoError } from '../../errors.ts'
import { storeFailure } from '../../os/replace.ts'
import { BLOCKING, runBlocking, runSteps, WAITING } from '../../os/steps.ts'
import { requireReadable } from '../../store/data-file.ts'
import { isObject } from '../../store/json/values.ts'
import { TextFile } from '../../store/text/text-file.ts'
import type { TableSchema } from './schema.ts'

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

/**
 * The schemas of a store's tables, in `<data file>.schema`, replaced as a whole and synced, under the store's lock. It
 * cannot change in one step with the data. So a change is written here as pending first, then made in the data (which
 * can be done twice), then written here as done: whoever finds it pending under the lock knows of a crash, and does the
 * data step and what follows again.
 */
export class SchemaFile {
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
