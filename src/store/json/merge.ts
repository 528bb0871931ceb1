import {
  byId,
  equalTrees,
  getOwn,
  type Id,
  idOf,
  isObject,
  setOwn,
  type Tree,
  type TreeObject,
} from './values.ts'

/** A three-way merge that came out, or the paths at which it is not unambiguous. */
export type Merge =
  | { readonly merged: Tree; readonly conflicts: readonly [] }
  | { readonly conflicts: readonly string[] }

/** Not there: a deleted or not yet added member. JSON knows no `undefined`, so this is unambiguous. */
const ABSENT = undefined

/**
 * Merges two changes of one base, all three JSON-normalised. A path that both sides changed is a conflict *even where
 * both wrote the same value*: a counter that two increments took from 0 to 1 must not become 1. Only deleting the same
 * thing twice is not. Deleting a parent conflicts with editing its child.
 */
export function merge(base: Tree, mine: Tree, theirs: Tree): Merge {
  const conflicts: string[] = []
  const merged = mergeAt('', base, mine, theirs, conflicts)
  return conflicts.length === 0 ? { merged, conflicts: [] } : { conflicts }
}

function mergeAt(path: string, base: Tree, mine: Tree, theirs: Tree, conflicts: string[]): Tree {
  if (equalTrees(mine, base)) return theirs
  if (equalTrees(theirs, base)) return mine
  if (mine === ABSENT && theirs === ABSENT) return ABSENT
  if (isObject(base) && isObject(mine) && isObject(theirs))
    return mergeObjects(path, base, mine, theirs, conflicts)
  if (Array.isArray(base) && Array.isArray(mine) && Array.isArray(theirs)) {
    return mergeArrays(path, base, mine, theirs, conflicts)
  }
  conflicts.push(path || '(root)')
  return theirs
}

function mergeObjects(
  path: string,
  base: TreeObject,
  mine: TreeObject,
  theirs: TreeObject,
  conflicts: string[],
): TreeObject {
  const merged: TreeObject = {}
  for (const key of new Set([...Object.keys(theirs), ...Object.keys(mine)])) {
    const at = path === '' ? key : `${path}.${key}`
    const value = mergeAt(at, getOwn(base, key), getOwn(mine, key), getOwn(theirs, key), conflicts)
    if (value !== ABSENT) setOwn(merged, key, value)
  }
  return merged
}

type List = readonly unknown[]

function mergeArrays(path: string, base: List, mine: List, theirs: List, conflicts: string[]): List {
  // Where one side only appends, the order is clear: the other's version, then what was appended; theirs first.
  if (startsWith(mine, base)) return append(path, base, theirs, mine.slice(base.length), conflicts)
  if (startsWith(theirs, base)) return append(path, base, mine, theirs.slice(base.length), conflicts)
  const [b, m, t] = [byId(base), byId(mine), byId(theirs)]
  if (b && m && t) return mergeRecords(path, b, m, t, conflicts)
  conflicts.push(path || '(root)')
  return theirs
}

function startsWith(list: List, prefix: List): boolean {
  return list.length >= prefix.length && prefix.every((element, index) => equalTrees(element, list[index]))
}

function append(path: string, base: List, onto: List, added: List, conflicts: string[]): List {
  const before = new Set(base.map(idOf))
  const others = new Set(onto.map(idOf).filter((id) => id !== undefined && !before.has(id)))
  for (const id of added.map(idOf))
    if (id !== undefined && others.has(id)) conflicts.push(recordPath(path, id))
  return [...onto, ...added]
}

function recordPath(list: string, id: Id): string {
  return `${list}[id=${JSON.stringify(id)}]`
}

type Records = Map<Id, unknown>

/** Arrays whose elements all have unique ids are sets of records in an order. */
function mergeRecords(
  path: string,
  base: Records,
  mine: Records,
  theirs: Records,
  conflicts: string[],
): List {
  const mineMoved = moved(base, mine)
  if (mineMoved && moved(base, theirs)) {
    conflicts.push(path || '(root)')
    return [...theirs.values()]
  }
  const order = mineMoved ? orderOf(base, mine, theirs, false) : orderOf(base, theirs, mine, true)
  const merged: unknown[] = []
  for (const id of order) {
    const at = recordPath(path, id)
    if (!base.has(id) && mine.has(id) && theirs.has(id)) conflicts.push(at)
    const record = mergeAt(at, base.get(id), mine.get(id), theirs.get(id), conflicts)
    if (record !== ABSENT) merged.push(record)
  }
  return merged
}

/**
 * The ids of both in the order of the lead. One that only the follower has (new there, or deleted by the lead) stands
 * behind what it stood behind; of those that are new at the same place, theirs come first.
 */
function orderOf(base: Records, lead: Records, follow: Records, leadIsTheirs: boolean): Id[] {
  const behind = new Map<Id | undefined, Id[]>()
  let anchor: Id | undefined
  for (const id of follow.keys()) {
    const group = behind.get(anchor)
    if (lead.has(id)) anchor = id
    else if (group) group.push(id)
    else behind.set(anchor, [id])
  }
  const order: Id[] = []
  let waiting = behind.get(undefined) ?? []
  for (const id of lead.keys()) {
    if (!leadIsTheirs || base.has(id)) {
      for (const other of waiting) order.push(other)
      waiting = []
    }
    order.push(id)
    waiting = waiting.concat(behind.get(id) ?? [])
  }
  return order.concat(waiting)
}

/** Whether the records that both have stand in another order. */
function moved(base: Records, side: Records): boolean {
  const stayed = [...base.keys()].filter((id) => side.has(id))
  const now = [...side.keys()].filter((id) => base.has(id))
  return stayed.some((id, index) => id !== now[index])
}
