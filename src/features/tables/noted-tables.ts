import type { Notes } from '../../store/engine.ts'
import { after, type Pending, type SchemaStore, type Schemas, type TableParts, Tables } from './tables.ts'

/** The name of the note. */
const SCHEMAS = 'schemas'

const NONE: Schemas = { tables: {} }

/** The schemas of the tables of a store that keeps notes beside its records. */
class NotedSchemas implements SchemaStore {
  readonly path: string
  readonly #notes: Notes
  #text: string | undefined
  #schemas: Schemas = NONE

  constructor(path: string, notes: Notes) {
    this.path = path
    this.#notes = notes
  }

  read(): Schemas {
    const text = this.#notes.get(SCHEMAS)
    if (text !== this.#text) {
      this.#schemas = text === undefined ? NONE : (JSON.parse(text) as Schemas)
      this.#text = text
    }
    return this.#schemas
  }

  /** In a transaction: they are written with it. */
  async write(schemas: Schemas): Promise<void> {
    this.#notes.set(SCHEMAS, JSON.stringify(schemas))
  }

  close(): void {}
}

/** The tables of a store that keeps notes beside its records: their schemas change in one transaction with the records. */
export class NotedTables<S> extends Tables<S> {
  readonly schemas: NotedSchemas
  readonly #notes: Notes

  constructor(parts: TableParts<S>, notes: Notes) {
    super(parts)
    this.schemas = new NotedSchemas(parts.path, notes)
    this.#notes = notes
  }

  async recover(): Promise<void> {
    if (!this.isInside) await this.transactions.view(() => {})
  }

  shared<T>(run: () => Promise<T>): Promise<T> {
    return this.transactions.view(run) as Promise<T>
  }

  async alter(
    operation: string,
    decide: (tx: S, tables: Schemas['tables']) => Promise<Pending | undefined>,
  ): Promise<void> {
    this.requireOutside(operation)
    await this.transactions.transaction(async (tx) => {
      const { tables } = this.schemas.read()
      const decided = await decide(tx, tables)
      if (!decided) return
      await this.migrate(tx, decided)
      await this.schemas.write({ tables: after(tables, decided) })
    })
  }

  commit(): Promise<void> {
    return this.#notes.flush()
  }

  async cleanup(): Promise<void> {
    await this.transactions.transaction((tx) => this.storage.compact?.(tx))
  }
}
