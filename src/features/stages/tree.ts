import { byId, equalTrees, getOwn, type Id, idOf, isObject, setOwn } from '../../store/json/values.ts'

/**
 * A step down a tree: a field, or the record of a list with this id. A path of one is from the root of what a store has:
 * its records by their ids, or an object whose field `data` is the store's one tree.
 */
export type Step = string | { readonly id: Id }
export type Path = readonly Step[]

/** What is staged is looked at as records by their ids, or as one tree. */
export type Root = Map<Id, unknown> | Record<string, unknown>

/** A value of a path that is another one now. What is not there has no member for it. */
export interface Change {
  readonly path: Path
  readonly base?: unknown
  readonly mine?: unknown
  /** Of a record that is new in a list: the id of the one before it; null at the beginning. */
  readonly behind?: Id | null
  /** It is based on what others have made: what was its base before counts no more. */
  readonly isAnew?: true
}

/** As text, to compare paths by. */
export function keyOf(path: Path): string {
  return JSON.stringify(path)
}

/** For people: the id of the outermost record that a value is in, and where it is in the table: `posts[id=7].title`. */
export function placeOf(path: Path): { readonly id: string | number | undefined; readonly path: string } {
  const step = path[recordDepth(path) - 1]
  return { id: typeof step === 'object' ? step.id : undefined, path: shown(path.slice(1)) }
}

/** As the errors of lowdb's merge have it. */
function shown(path: Path): string {
  let text = ''
  for (const step of path) {
    if (typeof step === 'object') text += `[id=${JSON.stringify(step.id)}]`
    else text += text === '' ? step : `.${step}`
  }
  return text
}

/** How many steps of a path lead to the outermost record that it is in; 0 where it is in none. */
export function recordDepth(path: Path): number {
  return path.findIndex((step) => typeof step === 'object') + 1
}

/** The records that a path is inside of, the outermost first. */
export function recordsOf(path: Path): Path[] {
  return path
    .slice(0, -1)
    .flatMap((step, index) => (typeof step === 'object' ? [path.slice(0, index + 1)] : []))
}

/** A date, as it is encoded, is a value, and no object with a field. */
function isBranch(value: unknown): value is Record<string, unknown> {
  return isObject(value) && !Object.hasOwn(value, '$$date')
}

/** What is at a path; undefined where there is nothing. */
export function valueAt(from: unknown, path: Path): unknown {
  let value = from
  for (const step of path) {
    if (typeof step !== 'object') value = isBranch(value) ? getOwn(value, step) : undefined
    else if (value instanceof Map) value = value.get(step.id)
    else value = Array.isArray(value) ? value.find((element) => idOf(element) === step.id) : undefined
    if (value === undefined) return undefined
  }
  return value
}

/** Whether something can be at this step of a value. */
export function hasPlace(container: unknown, step: Step | undefined): boolean {
  if (typeof step !== 'object') return isBranch(container)
  return container instanceof Map || Array.isArray(container)
}

/**
 * Puts a value at a path, or takes away what is there (undefined). Objects and lists that lead there are made, also in the
 * place of other values, but no record is made of a part.
 */
export function putAt(from: unknown, path: Path, value: unknown, behind?: Id | null): void {
  let container = from
  for (const [index, step] of path.slice(0, -1).entries()) {
    const after = path[index + 1]
    let next = valueAt(container, [step])
    if (!hasPlace(next, after)) {
      if (value === undefined || typeof step === 'object') return
      next = typeof after === 'object' ? [] : {}
      putIn(container, step, next)
    }
    container = next
  }
  const last = path.at(-1)
  if (last !== undefined) putIn(container, last, value, behind)
}

function putIn(container: unknown, step: Step, value: unknown, behind?: Id | null): void {
  if (typeof step !== 'object') {
    if (!isObject(container)) return
    if (value === undefined) delete container[step]
    else setOwn(container, step, value)
  } else if (container instanceof Map) {
    if (value === undefined) container.delete(step.id)
    else container.set(step.id, value)
  } else if (Array.isArray(container)) putInList(container, step.id, value, behind)
}

function putInList(list: unknown[], id: Id, value: unknown, behind?: Id | null): void {
  const at = list.findIndex((element) => idOf(element) === id)
  if (value === undefined) {
    if (at !== -1) list.splice(at, 1)
  } else if (at !== -1) list[at] = value
  else if (behind === null) list.unshift(value)
  else {
    const before = behind === undefined ? -1 : list.findIndex((element) => idOf(element) === behind)
    list.splice(before === -1 ? list.length : before + 1, 0, value)
  }
}

/** What is another one in the second tree, as deep down as it can be said. */
export function diff(before: unknown, after: unknown, path: Path = []): Change[] {
  if (equalTrees(before, after)) return []
  if (isBranch(before) && isBranch(after)) {
    const keys = new Set([...Object.keys(before), ...Object.keys(after)])
    return [...keys].flatMap((key) => diff(getOwn(before, key), getOwn(after, key), [...path, key]))
  }
  const changes =
    Array.isArray(before) && Array.isArray(after) ? diffOfRecords(before, after, path) : undefined
  return changes ?? [changeOf(path, before, after)]
}

export function changeOf(path: Path, base: unknown, mine: unknown): Change {
  return { path, ...(base !== undefined && { base }), ...(mine !== undefined && { mine }) }
}

/** Of lists whose records have ids, and stand in the same order as before; undefined for others. */
function diffOfRecords(
  before: readonly unknown[],
  after: readonly unknown[],
  path: Path,
): Change[] | undefined {
  const [base, mine] = [byId(before), byId(after)]
  if (!base || !mine) return undefined
  const stayed = [...base.keys()].filter((id) => mine.has(id))
  if ([...mine.keys()].filter((id) => base.has(id)).some((id, index) => id !== stayed[index]))
    return undefined
  const changes: Change[] = []
  for (const [id, record] of base)
    if (!mine.has(id)) changes.push(changeOf([...path, { id }], record, undefined))
  let behind: Id | null = null
  for (const [id, record] of mine) {
    const at = [...path, { id }]
    if (base.has(id)) changes.push(...diff(base.get(id), record, at))
    else changes.push({ ...changeOf(at, undefined, record), behind })
    behind = id
  }
  return changes
}
