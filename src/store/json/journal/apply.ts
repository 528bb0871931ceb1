import { CorruptStoreError } from '../../../errors.ts'
import { byId, cloneTree, getOwn, idOf, isObject, setOwn, type Tree, type TreeObject } from '../json-tree.ts'
import { patch } from '../patch.ts'
import type { Change, Path, Run } from './changes.ts'

/** Told how each change is undone, newest last; left out where nobody will undo them. */
export type OnUndo = (undo: () => void) => void

/**
 * Applies changes in place: containers keep their identity by path, and records in lists by their id, as `patch` has it.
 * The values become part of the tree. @returns the tree
 * @throws CorruptStoreError for what is no change of this tree; some may have been applied by then
 */
export function apply(tree: Tree, changes: readonly Change[], path: string, onUndo?: OnUndo): Tree {
  let root = tree
  for (const change of changes) {
    if (change[0] === '=' && change[1].length === 0) root = put(root, change[2], onUndo, () => {})
    else applyTo(root, change, path, onUndo)
  }
  return root
}

function applyTo(root: Tree, change: Change, path: string, onUndo: OnUndo | undefined): void {
  const [kind, at] = change
  if (kind === '~') {
    const list = valueAt(root, at)
    const [, , from, count, runs] = change
    if (!Array.isArray(list) || from + count > list.length) throw doesNotFit(path, change)
    replaceElements(list, from, count, runs, onUndo)
    return
  }
  const parent = valueAt(root, at.slice(0, -1))
  const key = at.at(-1) as string | number
  if (isObject(parent)) {
    if (kind === '-') remove(parent, String(key), onUndo)
    else set(parent, String(key), change[2], onUndo)
  } else if (Array.isArray(parent) && kind === '=' && Number(key) < parent.length) {
    replaceElements(parent, Number(key), 1, [{ new: [change[2]] }], onUndo)
  } else throw doesNotFit(path, change)
}

function remove(parent: TreeObject, key: string, onUndo: OnUndo | undefined): void {
  if (!Object.hasOwn(parent, key)) return
  const old = parent[key]
  delete parent[key]
  onUndo?.(() => setOwn(parent, key, old))
}

function set(parent: TreeObject, key: string, value: unknown, onUndo: OnUndo | undefined): void {
  if (Object.hasOwn(parent, key)) {
    const next = put(parent[key], value, onUndo, (old) => setOwn(parent, key, old))
    if (parent[key] !== next) setOwn(parent, key, next)
    return
  }
  setOwn(parent, key, value)
  onUndo?.(() => {
    delete parent[key]
  })
}

/** @param putBack called with the old value, should this be undone */
function put(
  old: unknown,
  value: unknown,
  onUndo: OnUndo | undefined,
  putBack: (old: unknown) => void,
): unknown {
  // What stands there keeps its identity, and changes what is in it.
  const before = onUndo && cloneTree(old)
  const next = patch(old, value)
  onUndo?.(() => putBack(patch(next, before)))
  return next
}

function replaceElements(
  list: unknown[],
  from: number,
  count: number,
  runs: readonly Run[],
  onUndo: OnUndo | undefined,
): void {
  const old = list.slice(from, from + count)
  const gone = new Set(old)
  for (const run of runs)
    if (!('new' in run)) for (const element of list.slice(run[0], run[0] + run[1])) gone.delete(element)
  // A new record with the id of one that went is that one, changed.
  const known = gone.size > 0 ? byId([...gone].filter((element) => idOf(element) !== undefined)) : undefined
  const next: unknown[] = []
  for (const run of runs) {
    const isNew = 'new' in run
    for (const element of isNew ? run.new : list.slice(run[0], run[0] + run[1])) {
      const id = isNew ? idOf(element) : undefined
      const same = id === undefined ? undefined : known?.get(id)
      if (id !== undefined) known?.delete(id)
      next.push(same === undefined ? element : put(same, element, onUndo, () => {}))
    }
  }
  splice(list, from, count, next)
  onUndo?.(() => splice(list, from, next.length, old))
}

/** More elements than a call takes as its arguments are put in one after the other. */
const ARGUMENTS = 10_000

function splice(list: unknown[], from: number, count: number, elements: readonly unknown[]): void {
  if (elements.length <= ARGUMENTS) {
    list.splice(from, count, ...elements)
    return
  }
  const rest = list.slice(from + count)
  list.length = from
  for (const element of elements) list.push(element)
  for (const element of rest) list.push(element)
}

function valueAt(root: Tree, path: Path): unknown {
  let value = root
  for (const key of path) {
    if (Array.isArray(value)) value = value[Number(key)] as unknown
    else value = isObject(value) ? getOwn(value, String(key)) : undefined
  }
  return value
}

function doesNotFit(path: string, [kind, at]: Change): CorruptStoreError {
  return new CorruptStoreError(
    `the journal of ${path} has a change (${kind} ${JSON.stringify(at)}) that does not fit the data. Both files were left ` +
      'as they are; restore a dump.',
    { path },
  )
}
