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
export interface ImageAdapter<S extends object, M extends Methods = Methods> {
  readonly family: 'image'
  /** The name of the store in error messages. */
  readonly name: string
  /** What each method does; see `MethodKind`. */
  readonly methods: M
  /** How it keeps the records of tables; without it `table()` is a TypeError. */
  readonly rows?: TableStorage<S> | undefined
  /** Makes the memory of the store equal to the file. `undefined`: there is no file, and the store is empty. */
  load(store: S, text: string | undefined): void
  /** Returns the memory of the store as the text of its file. */
  save(store: S): string
}

/**
 * A store whose memory is one JSON tree that its users edit directly, and whose file is that tree.
 * @typeParam R the members that only look
 */
export interface TreeAdapter<S extends object, R extends PropertyKey = PropertyKey> {
  readonly family: 'tree'
  readonly name: string
  /** For the compiler only: the other members cannot be used in a `view`. */
  readonly reads?: R
  /** How it keeps the records of tables; without it `table()` is a TypeError. */
  readonly rows?: TableStorage<S> | undefined
  /** Where the tree is. */
  memory(store: S): TreeMemory
  /** How it is written. */
  format(store: S): TreeFormat
  /** The same store on another tree: what the callback of a transaction works on. */
  withMemory(store: S, memory: TreeMemory): S
  /** Takes over the store: its methods that read and write call `session` from now on. */
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

/** What the core offers to a tree store. */
export interface TreeSession extends Transacting<TreeMemory> {
  /** Makes memory equal to the file; unsaved edits are dropped. */
  read(): Promise<void>
  /** Writes memory, merged with what others wrote meanwhile. @throws StaleWriteError */
  write(): Promise<void>
  /** Runs `edit` on a copy of the present state, awaits it, writes it. A throw leaves memory and file untouched. */
  update<T>(edit: (tree: unknown) => T): Promise<void>
  /** Puts what is in the journal, where there is one, into the file. */
  checkpoint(): Promise<void>
  /** What the caller's code works on: inside an update or a transaction the copy of that one, else the store's memory. */
  readonly memory: TreeMemory
  /** The same, blocking the thread. */
  readonly blocking: BlockingTreeSession
}

/** What the core offers to a tree store whose calls are synchronous. */
export interface BlockingTreeSession {
  read(): void
  write(): void
  /** Runs on a copy of the present state and writes it. A throw leaves memory and file untouched; nested, a savepoint. */
  edit<T>(run: (memory: TreeMemory) => T, options: AcquireOptions, call?: Call): T
  /** Runs on the present state, which cannot be changed, without the lock. */
  view<T>(run: (memory: TreeMemory) => T, options: AcquireOptions): T
}

/**
 * A store whose file is an append-only log of lines, and whose operations all pass one choke point.
 * @typeParam R the members that only look
 */
export interface LogAdapter<S extends object, R extends PropertyKey = PropertyKey> {
  readonly family: 'log'
  readonly name: string
  /** For the compiler only: the other members cannot be used in a `view`. */
  readonly reads?: R
  /** How it keeps the records of tables; without it `table()` is a TypeError. */
  readonly rows?: TableStorage<S> | undefined
  /**
   * Takes over the store: routes everything that reads or writes through `session`, and returns how its memory is
   * brought up to date. Called once, before the first operation.
   */
  attach(store: S, session: LogSession): LogMemory
  /**
   * How its transactions and views begin, where something comes before the first of them, such as a load.
   * @default `session`
   */
  transacting?(store: S, session: LogSession): Transacting<void>
}

/** What a log store knows of an operation that it asks for. */
export interface OperationTraits {
  /** The method that was called, for hooks. */
  readonly call?: Call | undefined
  /**
   * Asked when it is about to run: whether it is right whatever documents others have written meanwhile, so that memory
   * need not be caught up first (an insert with an id of the library's own making, say).
   */
  readonly isBlind?: (() => boolean) | undefined
  /**
   * It runs nothing but the store's own code, which issues no operations; where it only reads, it takes what it needs
   * from memory before it first waits. Such a read can do without the lock.
   * @default false
   */
  readonly isSelfContained?: boolean | undefined
  /**
   * How long it may wait for the lock.
   * @default that of the store
   */
  readonly timeoutMs?: number | undefined
  /**
   * A step of something that hooks are told of as a whole.
   * @default false
   */
  readonly isInternal?: boolean
}

/**
 * An operation on one record that runs nothing but the store's own code, and none of it later: it can take the straight
 * path, see `LogSession.straight`.
 */
export interface StraightOperation<T> {
  /** Whether it is right whatever documents others have written meanwhile: see `OperationTraits.isBlind`. */
  readonly isBlind: boolean
  /**
   * What can be done for it before the lock is taken.
   * @returns false where only the general path can do it
   */
  prepare(): boolean
  /**
   * The line that is its change, by what memory is now. It changes nothing itself.
   * @returns undefined where nothing is to be changed; null where only the general path can do it
   */
  line(): string | undefined | null
  /** Its line is in the file: makes the change in memory. @returns its result */
  apply(): T
}

/** What the core offers to a log store. */
export interface LogSession extends Transacting<void> {
  /** The data file, resolved when the store was made: a later chdir does not make it another one. */
  readonly path: string
  /** Runs one operation of the store, memory caught up, all or nothing; under the lock, unless it can do without. */
  perform<T>(mode: LockMode, run: () => T, traits?: OperationTraits): Promise<Awaited<T>>
  /**
   * As `perform` for a write, at once, where nothing is in its way: the lock is free and nobody waits for it, nothing of
   * this store is under way, and the caller runs in no hold and no operation. Nobody is told of it.
   * @returns undefined where `perform` must do it; nothing has happened then
   */
  straight<T>(operation: StraightOperation<T>): Promise<T> | undefined
  /** The same for what only looks at memory: it needs no lock. @returns undefined where `perform` must do it */
  straightLook<T>(look: () => T): { readonly value: T } | undefined
  /**
   * In an operation: these lines are its change. They are written when it has ended, as one unit.
   * @returns what to wait for where there are serialization hooks; it rejects with what a hook throws
   */
  append(lines: readonly string[]): Promise<void> | void
  /** In an operation: how to undo what it just changed in memory, should it, or its write, fail. */
  onUndo(undo: () => void): void
  /**
   * In an exclusive operation: replaces the file by the memory's present lines.
   * @param ifStale only where the file has others besides
   */
  compact(ifStale?: boolean): Promise<void>
  /** In an exclusive operation: makes sure that the file exists. */
  create(): void
  /** In an exclusive operation: removes the file. */
  drop(): void
  /**
   * For events and other code of the user's: called once what the caller is a part of is committed and the lock released,
   * never when that is undone; at once where the caller is part of nothing that writes.
   */
  afterwards(run: () => void): void
  /** Memory may differ from the file: everything is read anew before the next operation. */
  distrustMemory(): void
  /** Whether the file was read without the lock, and ends in what a crash has left: the next exclusive operation mends it. */
  readonly endsTorn: boolean
  /** How long an operation may wait. */
  readonly timeoutMs: number
  /** What the operation that runs now may do; undefined outside one. */
  readonly running: LockMode | undefined
  /** The time by which what the caller sees has expired or not: of a transaction or a view, when it began. */
  readonly now: number
  /** Whether the caller is part of an operation: one of the store's own, or a transaction or view of the user's. */
  readonly isInside: boolean
}

/** A file that is read from its beginning. Memory stays as it is until the end of it. */
export interface Loading {
  /** The next lines of complete units, in order. @returns the lines that are no records of this store */
  add(lines: readonly string[]): readonly string[]
  /** That was all, and it is to be taken: memory becomes what the file says. */
  finish(): Promise<void>
}

/** What a log store offers to the core. */
export interface LogMemory {
  /** Called once, before the first catch-up. */
  prepare?(): Promise<void>
  /** The user's serialization hooks, where there are any. */
  readonly coder?: LineCoder | undefined
  /** Permission bits of a new data file. */
  readonly fileMode: number
  /** Share of unreadable lines, 0 to 1, above which the file is refused. */
  readonly corruptThreshold: () => number
  /**
   * Applies the lines of complete units, in order; `anew` means that everything before is forgotten.
   * @returns the lines that are no records of this store
   */
  apply(lines: readonly string[], anew: boolean): readonly string[]
  /**
   * Begins to read the file from its beginning, piece by piece.
   * @default `apply`, with `anew` for the first piece
   */
  load?(): Loading
  /** Everything in memory as lines, for compaction. Each is asked for when there is room for it. */
  lines(): Iterable<string>
  /**
   * How many lines `lines` would give.
   * @default unknown: the file is compacted whenever that is asked for
   */
  lineCount?(): number
  /** Called without the lock before a compaction by need: what can be done for it in advance, with turns for other work. */
  prepareToCompact?(): Promise<void>
  /** Nothing is asked for any more. */
  close?(): void
  /**
   * About how many bytes `lines` would give, found in some ten milliseconds at most.
   * @default unknown: the file is never compacted by itself
   */
  liveBytes?(): number
  /**
   * What is wrong with lines of a file, for dumps and restores; memory is not touched.
   * @default every line must be a JSON object
   */
  readonly inspect?: InspectLines | undefined
}

/** The user's serialization hooks, if any: a line as JSON <-> a line as it stands in the file. */
export interface LineCoder {
  encode(line: string): Promise<string>
  decode(line: string): Promise<string>
  /** What a hook has thrown last: it is the user's, and is passed on as it is. */
  readonly thrown?: { readonly error: unknown } | undefined
}

/** Where a line stands. */
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

/** Looks at the lines of one file, from its first to its last; all of them are of complete units. */
export interface LineInspector {
  add(line: LogLine): LineProblem | undefined
  /** What shows only when all of them are known. */
  finish(eachLine: EachLine): Promise<readonly LineProblem[]>
}

/** What a store makes of its lines. */
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
