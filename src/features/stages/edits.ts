import { cloneTree, equalTrees, type Id } from '../../store/json/values.ts'
import {
  type Change,
  changeOf,
  diff,
  keyOf,
  type Path,
  putAt,
  recordDepth,
  recordsOf,
  type Step,
  valueAt,
} from './tree.ts'

/** What one edit has changed, and the records that it was the first to change, as they were seen then. */
export interface Edit {
  readonly changes: readonly Change[]
  readonly records: readonly (readonly [path: Path, record: unknown])[]
  /** The tables that it has changed. */
  readonly tables?: readonly string[]
}

/** What several edits come to: for each path its first base and its last value. */
export class Edits {
  readonly changes: Map<string, Change> = new Map()
  /** Each record that is changed in some part, as it was seen when it was first changed. */
  readonly records: Map<string, unknown> = new Map()
  readonly tables: Set<string> = new Set()
  /** For each path, which changes lie below it. */
  readonly #below = new Map<string, Set<string>>()

  constructor(edits: Iterable<Edit>) {
    for (const { changes, records, tables = [] } of edits) {
      for (const table of tables) this.tables.add(table)
      for (const [path, record] of records) {
        const key = keyOf(path)
        if (!this.records.has(key)) this.records.set(key, record)
      }
      for (const change of changes) this.#add(change)
    }
  }

  /** The change that a path is part of. */
  above(path: Path): Change | undefined {
    for (let length = path.length; length > 0; length--) {
      const change = this.changes.get(keyOf(path.slice(0, length)))
      if (change) return change
    }
    return undefined
  }

  /** The changes inside of what is at a path. */
  below(path: Path): Change[] {
    return [...(this.#below.get(keyOf(path)) ?? [])].map((key) => this.changes.get(key) as Change)
  }

  #put(change: Change): void {
    const key = keyOf(change.path)
    this.changes.set(key, change)
    for (const above of prefixes(change.path)) {
      const below = this.#below.get(above)
      if (below) below.add(key)
      else this.#below.set(above, new Set([key]))
    }
  }

  #drop(path: Path): void {
    const key = keyOf(path)
    if (!this.changes.delete(key)) return
    for (const above of prefixes(path)) this.#below.get(above)?.delete(key)
  }

  #add(change: Change): void {
    const { path, base, mine } = change
    const above = this.above(path)
    if (!above) {
      for (const part of this.below(path)) this.#drop(part.path)
      this.#set(change)
    } else if (above.path.length < path.length) {
      const whole = cloneTree(above.mine)
      putAt(whole, path.slice(above.path.length), mine, change.behind)
      this.#set({ ...above, mine: whole })
    } else {
      const { behind } = above
      this.#set({
        ...changeOf(path, change.isAnew ? base : above.base, mine),
        ...(behind !== undefined && { behind }),
      })
    }
  }

  #set(change: Change): void {
    const { path, base, mine } = change
    const key = keyOf(path)
    const old = this.changes.get(key)
    const isWhole = base === undefined || mine === undefined
    const parts = isWhole ? [change] : diff(base, mine, path)
    if (!equalTrees(base, mine) && old && parts[0]?.path.length === path.length) {
      // In its place: others may be put behind it.
      this.changes.set(key, change)
      return
    }
    this.#drop(path)
    if (old?.behind !== undefined) this.#standBehind(old.behind, path)
    if (equalTrees(base, mine)) return
    for (const part of parts) {
      this.#put(part)
      for (const record of recordsOf(part.path).filter(({ length }) => length >= path.length)) {
        const key = keyOf(record)
        if (!this.records.has(key)) this.records.set(key, valueAt(base, record.slice(path.length)))
      }
    }
  }

  /** A new record of a list is no more: what stood behind it stands behind another one. */
  #standBehind(behind: Id | null, path: Path): void {
    const gone = path.at(-1) as Exclude<Step, string>
    const list = keyOf(path.slice(0, -1))
    for (const [key, change] of this.changes)
      if (change.behind === gone.id && keyOf(change.path.slice(0, -1)) === list)
        this.changes.set(key, { ...change, behind })
  }

  /** The paths of the outermost records in which something is changed; of what is in no record, the paths themselves. */
  get paths(): Path[] {
    const paths = new Map<string, Path>()
    for (const { path } of this.changes.values()) {
      const whole = path.slice(0, recordDepth(path) || path.length)
      paths.set(keyOf(whole), whole)
    }
    return [...paths.values()]
  }
}

/** Of what a path is in, the outermost first. */
function prefixes(path: Path): string[] {
  return path.slice(1).map((_, index) => keyOf(path.slice(0, index + 1)))
}

/** The state that an edit was made on: what the store has, and which changes are in conflict with it. */
interface Present {
  readonly theirs: unknown
  readonly disputed: readonly Change[]
}

/**
 * What an edit has changed. Where it goes over earlier edits, and the user saw what these and others have made together, it is
 * based on what others have made.
 * @param before what the user saw, `after` what was made of it
 */
export function editOf(edits: Edits, before: unknown, after: unknown, present: Present): Edit {
  const changes = new Map<string, Change>()
  const records = new Map<string, readonly [Path, unknown]>()
  for (const change of withPutBack(changesBetween(before, after), edits)) {
    const above = edits.above(change.path)
    const isMerged = above && !equalTrees(valueAt(before, above.path), above.mine)
    const path = isMerged ? above.path : change.path
    const real: Change =
      isMerged || edits.below(path).length > 0
        ? { ...changeOf(path, baseAt(path, present), valueAt(after, path)), isAnew: true }
        : change
    changes.set(keyOf(real.path), real)
    for (const record of recordsOf(real.path)) {
      const key = keyOf(record)
      const seen = valueAt(before, record)
      if (!edits.records.has(key) && seen !== undefined) records.set(key, [record, seen])
    }
  }
  return { changes: [...changes.values()], records: [...records.values()] }
}

/** Where a record is put back that an earlier edit took out of a list, perhaps elsewhere, the list is changed as a whole. */
function withPutBack(changes: readonly Change[], edits: Edits): Change[] {
  const lists = changes
    .filter(({ path, behind }) => behind !== undefined && edits.changes.has(keyOf(path)))
    .map(({ path }) => ({ path: path.slice(0, -1) }))
  return [...changes.filter(({ path }) => !lists.some((list) => isIn(path, list.path))), ...lists]
}

/** What others have at a path, but for what is in conflict: that stays so. */
function baseAt(path: Path, { theirs, disputed }: Present): unknown {
  const whole = disputed.find((change) => isIn(path, change.path))
  if (whole) return valueAt(whole.base, path.slice(whole.path.length))
  const base = cloneTree(valueAt(theirs, path))
  for (const change of disputed)
    if (isIn(change.path, path)) putAt(base, change.path.slice(path.length), cloneTree(change.base))
  return base
}

function isIn(inner: Path, outer: Path): boolean {
  return keyOf(inner.slice(0, outer.length)) === keyOf(outer)
}

function changesBetween(before: unknown, after: unknown): Change[] {
  if (!(before instanceof Map) || !(after instanceof Map)) return diff(before, after)
  const ids = new Set([...before.keys(), ...after.keys()])
  return [...ids].flatMap((id) => diff(before.get(id), after.get(id), [{ id }]))
}
