import type { LockMode } from '../errors.ts'
import type { AcquireOptions } from '../lock/options.ts'
import type { Transacting } from './transaction.ts'

/**
 * The contract between pslock and a store. An adapter *declares* what its methods do, how memory becomes equal to the file,
 * and what must be written. pslock *enforces* locking, freshness, atomic writing and undoing. An adapter never locks, never
 * writes the file, and has no state of its own.
 *
 * There are two kinds of files. An *image* is one text (usually JSON) that is written as a whole. A *log* is a file of lines
 * to which lines are appended. A *tree* is an image whose memory is one JSON tree that users edit directly: local edits
 * and those of other processes are merged.
 */
export type Adapter<S extends object> = ImageAdapter<S> | TreeAdapter<S> | LogAdapter<S>

/**
 * What a method does. `write`: it changes the store. `read`: it only reads. `free`: it uses neither memory nor file (a
 * formatter, an event method) and is called without the lock. A method that is not named counts as `write`: this costs
 * speed, never data.
 */
export type MethodKind = 'write' | 'read' | 'free'

/** What every adapter declares. */
interface AnyAdapter<S extends object> {
  /** The name of the store in error messages. */
  readonly name: string
  /** How it keeps the records of tables; without it `table()` is a TypeError. */
  readonly rows?: TableStorage<S> | undefined
  /** How edits are staged; without it, or without `rows`, `stage()` is a TypeError. */
  readonly staging?: Staging<S> | undefined
}

/** A call of one of the store's methods. */
export interface Call {
  readonly name: string
  readonly args: readonly unknown[]
}

/** What each method of a store does, by its name. */
export type Methods = Readonly<Record<string, MethodKind>>

/**
 * A store whose file is one text.
 * @typeParam M what its methods do. If the adapter is an object that `satisfies ImageAdapter<S>`, the compiler knows it and
 * refuses calls in a `view` that write
 */
export interface ImageAdapter<S extends object, M extends Methods = Methods> extends AnyAdapter<S> {
  readonly family: 'image'
  /** What each method does; see `MethodKind`. */
  readonly methods: M
  /** Makes the memory of the store equal to the file. `undefined`: there is no file, and the store is empty. */
  load(store: S, text: string | undefined): void
  /** Returns the memory of the store as the text of its file. */
  save(store: S): string
}

/**
 * A store whose memory is one JSON tree that its users edit directly, and whose file is that tree.
 * @typeParam R the members that only look
 */
export interface TreeAdapter<S extends object, R extends PropertyKey = PropertyKey> extends AnyAdapter<S> {
  readonly family: 'tree'
  /** For the compiler only: the other members cannot be used in a `view`. */
  readonly reads?: R
  /** Where the tree is. */
  memory(store: S): TreeMemory
  /** How it is written. */
  format(store: S): TreeFormat
  /** The same store on another tree: what the callback of a transaction works on. */
  withMemory(store: S, memory: TreeMemory): S
  /** Connects the store: its methods that read and write call `session` from now on. */
  attach(store: S, session: TreeSession): void
}

export interface TreeMemory {
  get(): unknown
  set(tree: unknown): void
}

export interface TreeFormat {
  /** How the format is called in error messages. */
  readonly name: string
  parse(text: string): unknown
  stringify(tree: unknown): string
  /** Only where the store's own driver must do the reading and writing: it is then as atomic as that driver is. */
  readonly io?: { read(): unknown; write(tree: unknown): unknown } | undefined
}

/** What pslock offers to a tree store. */
export interface TreeSession extends Transacting<TreeMemory> {
  /** Makes memory equal to the file. Unsaved edits are dropped. */
  read(): Promise<void>
  /** Writes memory, merged with what others wrote meanwhile. @throws StaleWriteError */
  write(): Promise<void>
  /** Runs `edit` on a copy of the current state, awaits it, and writes the copy. A throw leaves memory and file as they were. */
  update<T>(edit: (tree: unknown) => T): Promise<void>
  /** Writes what is in the journal, if there is one, into the file. */
  checkpoint(): Promise<void>
  /** What the caller's code works on: inside an update or a transaction its copy, otherwise the memory of the store. */
  readonly memory: TreeMemory
  /** The same, but it blocks the thread. */
  readonly blocking: BlockingTreeSession
}

/** What pslock offers to a tree store whose calls are synchronous. */
export interface BlockingTreeSession<M = TreeMemory> {
  read(): void
  write(): void
  /** Runs on a copy of the current state and writes it. A throw leaves memory and file as they were. Nested: a savepoint. */
  edit<T>(run: (memory: M) => T, options: AcquireOptions, call?: Call): T
  /** Runs on the current state, which cannot be changed, without the lock. */
  view<T>(run: (memory: M) => T, options: AcquireOptions): T
}

/**
 * A store whose file is a log of lines, to which lines are appended, and whose operations all go through one function.
 * @typeParam R the members that only look
 */
export interface LogAdapter<S extends object, R extends PropertyKey = PropertyKey> extends AnyAdapter<S> {
  readonly family: 'log'
  /** For the compiler only: the other members cannot be used in a `view`. */
  readonly reads?: R
  /**
   * Connects the store: everything that reads or writes goes through `session` from now on. It returns how memory is brought
   * up to date. Called once, before the first operation.
   */
  attach(store: S, session: LogSession): LogMemory
  /**
   * How transactions and views begin, if something must happen before the first of them, such as a load.
   * @default `session`
   */
  transacting?(store: S, session: LogSession): Transacting<void>
}

/** What is known about an operation that is asked for. */
export interface OperationTraits {
  /** The method that was called, for hooks. */
  readonly call?: Call | undefined
  /**
   * Asked just before it runs: whether it is right whatever documents others have written, so that memory need not be
   * refreshed first (for example an insert with an id that the library makes).
   */
  readonly isBlind?: (() => boolean) | undefined
  /**
   * It runs only the store's own code, which issues no operations. If it only reads, it takes what it needs from memory before
   * it first waits. Such a read needs no lock.
   * @default false
   */
  readonly isSelfContained?: boolean | undefined
  /**
   * How long it may wait for the lock, in milliseconds.
   * @default the `timeoutMs` of the store
   */
  readonly timeoutMs?: number | undefined
  /**
   * It is a step of something for which hooks are called as a whole.
   * @default false
   */
  readonly isInternal?: boolean
}

/**
 * An operation on one record that runs nothing but the store's own code, and none of it later: it can take the straight
 * path, see `LogSession.straight`.
 */
export interface StraightOperation<T> {
  /** The record that it reads and changes, as `LogMemory.recordOf` names it; undefined where it is a new one with an id of its own. */
  readonly key: string | undefined
  /** Whether it is right whatever documents others have written meanwhile: see `OperationTraits.isBlind`. */
  readonly isBlind: boolean
  /**
   * What can be done for it before the lock is taken.
   * @returns false where only the general path can do it
   */
  prepare?(): boolean
  /**
   * The line that is its change, by what memory is now. It changes nothing itself.
   * @returns undefined where nothing is to be changed; null where only the general path can do it
   */
  line(): string | undefined | null
  /** Its line is in the file, or will be when the batch is written: makes the change in memory. It must not throw. @returns its result */
  apply(): T
  /** The batch could not be written: takes back what `apply` has done to memory. It must not throw. */
  undo(): void
}

/** What pslock offers to a log store. */
export interface LogSession extends Transacting<void> {
  /** For messages: the data file, or the name of whatever else the content is in. */
  readonly path: string
  /**
   * The data file, resolved when the store was made. A later chdir does not change it. Undefined where the content is on a
   * server: then there is always one, nothing need be created, and nothing is stale.
   */
  readonly file: string | undefined
  /** Runs one operation of the store on refreshed memory, all or nothing, under the lock if it needs it. */
  perform<T>(mode: LockMode, run: () => T, traits?: OperationTraits): Promise<Awaited<T>>
  /**
   * As `perform` for a write, but at once, if nothing prevents it: the lock is free, no operation of this store is running,
   * and the caller is in no hold and no operation. No hook is called. Where the lock is not free, it waits for it.
   * @param general does it by `perform`: called where only now, under the lock, it shows that nothing else can
   * @returns undefined if `perform` must do it; then nothing has happened
   */
  straight<T>(operation: StraightOperation<T>, general: () => Promise<T>): Promise<T> | undefined
  /** The same for what only reads memory; it needs no lock. @returns undefined if `perform` must do it */
  straightLook<T>(look: () => T): { readonly value: T } | undefined
  /**
   * In an operation: these lines are its change. They are written when it has ended, as one unit.
   * @returns a promise to wait for, if there are serialization hooks; it rejects with what a hook throws
   */
  append(lines: readonly string[]): Promise<void> | void
  /** In an operation: how to undo what it has just changed in memory, if the operation or its write fails. */
  onUndo(undo: () => void): void
  /**
   * In an exclusive operation: replaces the file by the current lines of memory.
   * @param ifStale only if the file also has other lines
   */
  compact(ifStale?: boolean): Promise<void>
  /** In an exclusive operation: makes sure that the file exists. */
  create(): void
  /** In an exclusive operation: removes the file. */
  drop(): void
  /**
   * For events and other code of the user. It is called once the operation of the caller is committed and the lock is
   * released, and never if that is undone. If the caller belongs to nothing that writes, it is called at once.
   */
  afterwards(run: () => void): void
  /** Memory may differ from the file: everything is read again before the next operation. */
  distrustMemory(): void
  /** Whether the file was read without the lock and ends in what a crash has left. The next exclusive operation cuts it off. */
  readonly endsTorn: boolean
  /** How long an operation may wait, in milliseconds. */
  readonly timeoutMs: number
  /** The mode of the operation that runs now; undefined outside an operation. */
  readonly running: LockMode | undefined
  /** The time that decides whether a document has expired: in a transaction or a view, its beginning. */
  readonly now: number
  /** Whether the caller is inside an operation: one of the store, or a transaction or view of the user. */
  readonly isInside: boolean
}

/** A file that is read from its beginning. Memory stays as it is until `finish`. */
export interface Loading {
  /** Adds the next lines of complete units, in order. @returns the lines that are not records of this store */
  add(lines: readonly string[]): readonly string[]
  /** There are no more lines: memory becomes what the file says. */
  finish(): Promise<void>
}

/** What a log store offers to pslock. */
export interface LogMemory {
  /** Called once, before the first refresh. */
  prepare?(): Promise<void>
  /** The serialization hooks of the user, if there are any. */
  readonly coder?: LineCoder | undefined
  /** Permission bits of a new data file. */
  readonly fileMode: number
  /** Share of unreadable lines, 0 to 1, above which the file is refused. */
  readonly corruptThreshold: () => number
  /**
   * Applies the lines of complete units, in order. `anew`: everything before is forgotten.
   * @returns the lines that are not records of this store
   */
  apply(lines: readonly string[], anew: boolean): readonly string[]
  /**
   * Begins to read the file from its beginning, piece by piece.
   * @default `apply`, with `anew` for the first piece
   */
  load?(): Loading
  /** Everything in memory as lines, for compaction. A line is asked for when there is room for it. */
  lines(): Iterable<string>
  /**
   * How many lines `lines` would give.
   * @default unknown: the file is compacted whenever somebody asks for it
   */
  lineCount?(): number
  /** Called without the lock before a compaction by need, to prepare it. Other work may run in between. */
  prepareToCompact?(): Promise<void>
  /** The store was closed; nothing more is asked for. */
  close?(): void
  /**
   * Which record a line is of. Needed to keep the store on a server, which has a row for each.
   * @default the store can only be kept in a file
   */
  recordOf?(line: string): RecordLine
  /**
   * About how many bytes `lines` would give, found in some ten milliseconds at most.
   * @default unknown: the file is never compacted by itself
   */
  liveBytes?(): number
  /**
   * Says what is wrong with lines of a file, for dumps and restores. Memory is not changed.
   * @default every line must be a JSON object
   */
  readonly inspect?: InspectLines | undefined
}

/** What is to be known of a line without its content. */
export interface RecordLine {
  /** Names the record, and stays the same for as long as there is one. */
  readonly key: string
  /** Whether the line says that the record is removed. */
  readonly isGone: boolean
  /** Whether it is about an index, so that it decides what others may write. */
  readonly isIndex: boolean
}

/** The serialization hooks of the user: from a line of JSON to a line of the file, and back. */
export interface LineCoder {
  encode(line: string): Promise<string>
  decode(line: string): Promise<string>
  /** What a hook has thrown last. It belongs to the user and is passed on unchanged. */
  readonly thrown?: { readonly error: unknown } | undefined
}

/** The place of a line. */
export interface Place {
  /** From 1, counted from where the scan began. */
  readonly line: number
  /** In the file, from 0. */
  readonly byte: number
  /** Without its line feed. */
  readonly length: number
}

/** A line of a log that is a record, or should be one. */
export interface LogLine extends Place {
  /** Decoded, without the spaces that tell where a unit ends. */
  readonly text: string
}

/** What is wrong with some lines of a log. */
export interface LineProblem {
  readonly what: 'unreadable-line' | 'duplicate-key' | 'twin-id'
  readonly message: string
  readonly mend: string
  /** Where it shows. */
  readonly at: Place
  /** Without these lines it is gone. */
  readonly without: readonly Place[]
  /** The records that can be read of such a line, as lines. */
  readonly instead?: readonly string[] | undefined
}

/** Looks through a file once more. */
export type EachLine = (visit: (line: LogLine) => void) => Promise<void>

/** Checks the lines of one file, from the first to the last. All of them are of complete units. */
export interface LineInspector {
  add(line: LogLine): LineProblem | undefined
  /** Returns what shows only when all lines are known. */
  finish(eachLine: EachLine): Promise<readonly LineProblem[]>
}

/** Makes an inspector of the lines of a store. */
export type InspectLines = () => LineInspector

/** A record as it is stored: its id, its version, and its fields. */
export interface StoredRecord {
  readonly _id: string
  /** 1 when it is inserted, and one more after each update. */
  readonly _version: number
  readonly [field: string]: unknown
}

/**
 * How a store keeps the records of tables. The adapter declares it. The calls are made inside a transaction (or, to read,
 * a view), whose `tx` is the store that is passed. Checks and schema are the work of pslock.
 */
export interface TableStorage<S> {
  /**
   * The records of a table; undefined if the store has no such table. The caller copies them.
   * @param id only the record with this id is wanted. More records may be returned; it may be found faster
   */
  read(tx: S, table: string, id?: string): unknown
  /** Adds records. If there are none, it makes an empty table visible, where the store can show one. */
  insert(tx: S, table: string, records: readonly StoredRecord[]): unknown
  /** Replaces the records with the same ids by these. */
  replace(tx: S, table: string, records: readonly StoredRecord[]): unknown
  remove(tx: S, table: string, ids: readonly string[]): unknown
  /** Removes the table with all its records. */
  drop(tx: S, table: string): unknown
  /** Rewrites the file without what is no longer needed, if there can be something. */
  compact?(tx: S): unknown
}

/** The `_id` of a document. */
export type DocumentId = string | number

/**
 * How edits of a store are staged: made in a transaction that is undone, and looked at. The adapter declares it. The calls
 * are made inside a transaction (or, to read, a view), whose `tx` is the store that is passed.
 */
export type Staging<S> = StagedVerbs<S> & (StagedDocuments<S> | StagedTree<S>)

/** What a stage has by the names of the store's own methods. */
interface StagedVerbs<S> {
  readonly edits: Readonly<Record<string, (tx: S, ...args: never[]) => unknown>>
  readonly looks: Readonly<Record<string, (tx: S, ...args: never[]) => unknown>>
  /** Looks that give a cursor. */
  readonly cursors?: Readonly<Record<string, (tx: S, ...args: never[]) => StoreCursor>>
}

/** What a store finds once it is awaited. */
export interface StoreCursor extends PromiseLike<unknown> {
  sort(order: Readonly<Record<string, number>>): unknown
  skip(count: number): unknown
  limit(count: number): unknown
}

/** Of a store of documents. */
interface StagedDocuments<S> {
  readonly kind: 'documents'
  /** Runs what changes documents. @returns the ids of those that it may have changed */
  changed(tx: S, run: () => Promise<void>): Promise<Iterable<DocumentId>>
  read(tx: S, ids: readonly DocumentId[]): Promise<readonly Readonly<Record<string, unknown>>[]>
  /** Puts documents in the place of others of the same ids; without `after` they are removed, without `before` they are new. */
  write(tx: S, documents: readonly StagedDocument[]): Promise<void>
  /** The fields, as paths, of which no two documents may have the same value, nor both none. `_id` is none of them. */
  uniquePaths(tx: S): readonly (readonly string[])[]
  /** Fields that the store itself sets at each change. */
  ownFields(tx: S): readonly string[]
}

/** A document before a change, and after it. */
export interface StagedDocument {
  readonly id: DocumentId
  readonly before: Readonly<Record<string, unknown>> | undefined
  readonly after: Readonly<Record<string, unknown>> | undefined
}

/** Of a store that is one JSON tree. */
interface StagedTree<S> {
  readonly kind: 'tree'
  read(tx: S): unknown
  write(tx: S, tree: unknown): unknown
}
