import { JSON_FORMAT } from '../../adapters/lowdb/format.ts'
import { LastLines, objectionToRow } from '../../adapters/nedb/lines.ts'
import { CorruptStoreError, StoreIoError } from '../../src/errors.ts'
import type { StoreElsewhere } from '../../src/features/backup/backup.ts'
import { type FileFormat, type Finding, finding } from '../../src/features/backup/format.ts'
import { textFormat } from '../../src/features/backup/json-format.ts'
import { Connection } from '../../src/postgres/server/connection.ts'
import { Address } from '../../src/postgres/server/url.ts'
import {
  type FoundStore,
  findStore,
  readLines,
  readText,
  replaceStore,
} from '../../src/postgres/whole/whole-store.ts'
import { apply, type Change } from '../../src/store/json/journal/changes.ts'
import { scanFile } from '../../src/store/log/scan.ts'
import { allOf, bytesSource, type Snapshot, type Source } from '../../src/store/snapshot.ts'
import { treeOf } from '../../src/store/text/text.ts'
import { FORMATS, type Kind } from './kind.ts'
import type { Progress } from './progress.ts'

/** What a store is called in pslock.store. */
const ON_SERVER = { nedb: 'log', lowdb: 'tree', text: 'image' } as const
type ServerKind = keyof typeof ON_SERVER

/** A text that only its own store can read. */
const TEXT: FileFormat = textFormat('text', () => {})

export interface ServerOptions {
  readonly timeoutMs: number
  readonly progress: Progress
}

/** A store on a server, which need not be open anywhere, nor be there. */
export class ServerStore implements AsyncDisposable {
  readonly address: Address
  readonly found: FoundStore | undefined
  readonly #connection: Connection
  readonly #options: ServerOptions

  /** Looks, and makes nothing. @throws TypeError, StoreUnavailableError, LockUnsupportedError */
  static async at(url: string, options: ServerOptions): Promise<ServerStore> {
    const address = Address.of(url)
    const connection = await Connection.visit(address, options.timeoutMs)
    return new ServerStore(connection, await findStore(connection, address.name), options)
  }

  private constructor(connection: Connection, found: FoundStore | undefined, options: ServerOptions) {
    this.address = connection.address
    this.found = found
    this.#connection = connection
    this.#options = options
  }

  get path(): string {
    return this.address.shown
  }

  /** @throws StoreIoError where it is not there */
  get there(): FoundStore {
    if (this.found) return this.found
    throw new StoreIoError(
      `${this.path} is not there: no store of this name is in the database. Nothing was made.`,
      { path: this.path },
    )
  }

  /** @throws StoreIoError where it is not there */
  get kind(): ServerKind {
    const { kind } = this.there
    const known = (Object.keys(ON_SERVER) as ServerKind[]).find((name) => ON_SERVER[name] === kind)
    if (known) return known
    throw new StoreIoError(`${this.path} is a store of a kind that is not known: ${kind}`, {
      path: this.path,
    })
  }

  /** For `dump`, `restore` and `copy`. @param kind of what it is replaced by */
  content(kind: ServerKind, overwrite: boolean): StoreElsewhere {
    return {
      path: this.path,
      format: formatOf(kind),
      read: () => this.read(),
      replace: (content) => this.#replace(content, kind, overwrite),
    }
  }

  /** All of it at one moment, as its file would be. @throws StoreIoError where it is not there, or empty */
  async read(take: (key: string, line: string) => void = () => {}): Promise<Snapshot> {
    const { id, records } = this.there
    const pieces: Buffer[] = []
    if (this.kind === 'nedb') {
      let read = 0
      await readLines(this.#connection, id, (rows) => {
        for (const [key, line] of rows) take(key, line)
        pieces.push(Buffer.from(rows.map(([, line]) => `${line.replace(/[\r\n]/g, ' ')}\n`).join('')))
        read += rows.length
        this.#options.progress.at('records read', read, records)
      })
    } else pieces.push(Buffer.from(await this.#text(id)))
    this.#options.progress.at('looking at what was read')
    return { source: bytesSource(Buffer.concat(pieces)), mode: 0o600, [Symbol.dispose]() {} }
  }

  async #text(id: number): Promise<string> {
    const { path } = this
    const found = await readText(this.#connection, id)
    if (!found) throw new StoreIoError(`${path} is empty: nothing was written into it yet`, { path })
    if (found.changes.length === 0) return found.text
    try {
      const tree = treeOf(found.text, path, JSON_FORMAT) as Parameters<typeof apply>[0]
      const changes = found.changes.flatMap((unit) => JSON.parse(unit) as Change[])
      return JSON_FORMAT.stringify(apply(tree, changes, path))
    } catch (error) {
      if (!(error instanceof SyntaxError)) throw error
      const message = `${path} is damaged: a row of it in pslock.unit is not valid JSON. Restore a dump.`
      throw new CorruptStoreError(message, { path, cause: error })
    }
  }

  /** What is wrong with it. */
  async check(): Promise<Finding[]> {
    const keys: string[] = []
    const findings: Finding[] = []
    const { id } = this.there
    if (this.kind !== 'nedb' && this.there.isEmpty) return []
    const rowOf = (key: string) => `the row with the key ${JSON.stringify(key)}`
    using read = await this.read((key, line) => {
      keys.push(key)
      const objection = objectionToRow(key, line)
      const mend = `Look at it in pslock.doc (store = ${id}), and mend or delete it there while nobody has the store open.`
      if (objection !== undefined)
        findings.push(finding('unreadable-line', `${rowOf(key)}: ${objection}`, mend))
    })
    const found = (await formatOf(this.kind).inspect(read.source)).findings
    for (const { what, message, line, byte } of found) {
      const key = line === undefined ? undefined : keys[line - 1]
      if (key === undefined) findings.push(finding(what, message, 'Restore a dump of it.', { line, byte }))
      else {
        const mend = `Change or remove the document through the store, or the row in pslock.doc (store = ${id}) while nobody has it open.`
        findings.push(finding(what, `${rowOf(key)}: ${message}`, mend))
      }
    }
    return findings
  }

  async #replace(content: Source, kind: ServerKind, overwrite: boolean): Promise<void> {
    const { progress, timeoutMs } = this.#options
    const replacing = { address: this.address, kind: ON_SERVER[kind], timeoutMs, overwrite }
    if (kind !== 'nedb') {
      progress.at('writing')
      return replaceStore(replacing, { text: (await allOf(content)).toString() })
    }
    const lines = new LastLines()
    const read = (position: number, length: number) => content.read(position, length)
    await scanFile(read, { from: 0, to: content.length }, undefined, (batch) => lines.add(batch.lines))
    progress.at('waiting for the lock')
    await replaceStore(replacing, {
      lines,
      progress: (written) => progress.at('records written', written, lines.size),
    })
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#connection.end()
  }
}

function formatOf(kind: ServerKind): FileFormat {
  return kind === 'text' ? TEXT : FORMATS[kind satisfies Kind]
}
