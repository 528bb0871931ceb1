import { CorruptStoreError } from '../../../errors.ts'
import {
  byId,
  cloneTree,
  getOwn,
  idOf,
  isObject,
  patch,
  setOwn,
  type Tree,
  type TreeObject,
} from '../values.ts'
import { ABSENT, type ContainerNode, ListNode, ObjectNode, type Recorder } from './recorder.ts'

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
    `the journal of ${path} has a change (${kind} ${JSON.stringify(at)}) that does not fit the data. It was left ` +
      'as it is; restore a dump.',
    { path },
  )
}

export type Path = readonly (string | number)[]

/** So many old elements from there on, or new ones (the copy and add instructions of VCDIFF, RFC 3284). */
export type Run = readonly [from: number, count: number] | { readonly new: readonly unknown[] }

/** One change of a tree: a value set, a member deleted, so many elements of a list from there on replaced by runs. */
export type Change =
  | readonly ['=', Path, unknown]
  | readonly ['-', Path]
  | readonly ['~', Path, from: number, count: number, runs: readonly Run[]]

/** What was recorded, in the order in which it must be applied. @param tree what the user's code has made of the root */
export function changesOf(recorder: Recorder, root: Tree, tree: Tree): Change[] {
  const collector = new Collector(recorder)
  const node = recorder.known(root)
  if (node && tree === node.draft) collector.collect(node, [])
  else if (tree !== root) collector.changes.push(['=', [], required(jsonOf(tree))])
  return collector.changes
}

/** A value as JSON keeps it; undefined where it keeps none. */
function jsonOf(value: unknown): unknown {
  if (typeof value === 'string' || typeof value === 'boolean' || value === null) return value
  const text = JSON.stringify(value) as string | undefined
  return text === undefined ? undefined : (JSON.parse(text) as unknown)
}

function required(value: unknown): unknown {
  if (value !== undefined) return value
  throw new TypeError('the data cannot be written as JSON: got undefined')
}

class Collector {
  readonly changes: Change[] = []
  readonly #recorder: Recorder

  constructor(recorder: Recorder) {
    this.#recorder = recorder
  }

  collect(node: ContainerNode, path: Path): void {
    if (node instanceof ObjectNode) this.#object(node, path)
    else if (node instanceof ListNode) this.#list(node, path)
  }

  #object(node: ObjectNode, path: Path): void {
    const { base } = node
    for (const [key, value] of node.changed ?? []) {
      const old = Object.hasOwn(base, key) ? base[key] : ABSENT
      if (value === old) continue
      const at = [...path, key]
      if (Array.isArray(value) && Array.isArray(old)) {
        this.#elements(old, this.#elementsOf(value), at)
        continue
      }
      const json = value === ABSENT ? undefined : this.#json(value)
      if (json !== undefined) this.changes.push(['=', at, json])
      else if (old !== ABSENT) this.changes.push(['-', at])
    }
    for (const child of node.touched ?? []) {
      const key = String(child.key)
      if (node.current(key) === child.base && getOwn(base, key) === child.base)
        this.collect(child, [...path, key])
    }
  }

  #list(node: ListNode, path: Path): void {
    const { base, kept } = node
    if (node.moved) {
      this.#elements(base, node.moved, path)
      return
    }
    for (const [index, value] of node.replaced) {
      if (value !== base[index]) this.changes.push(['=', [...path, index], this.#json(value) ?? null])
    }
    const runs = node.added.length > 0 ? [{ new: node.added.map((value) => this.#json(value) ?? null) }] : []
    if (runs.length > 0 || kept < base.length) this.changes.push(['~', path, kept, base.length - kept, runs])
    for (const child of node.touched ?? []) {
      const index = Number(child.key)
      if (index < kept && node.current(index) === child.base) this.collect(child, [...path, index])
    }
  }

  /** A list that is put together of old elements, which are known by their identity, and new ones. */
  #elements(base: readonly unknown[], elements: readonly unknown[], path: Path): void {
    const shorter = Math.min(base.length, elements.length)
    let from = 0
    while (from < shorter && base[from] === elements[from]) from++
    let same = 0
    while (same < shorter - from && base[base.length - 1 - same] === elements[elements.length - 1 - same])
      same++
    const end = elements.length - same
    /** Where an element is now that stood at another place of the base. */
    const kept = new Map<unknown, number>()
    const runs = this.#runs(base, from, base.length - same, elements.slice(from, end), (element, index) =>
      kept.set(element, from + index),
    )
    if (runs.length > 0 || from + same < base.length)
      this.changes.push(['~', path, from, base.length - same - from, runs])
    let places: Map<unknown, number> | undefined
    for (const child of this.#recorder.known(base)?.touched ?? []) {
      let index = kept.get(child.base)
      if (index === undefined) {
        let old: number | undefined = Number(child.key)
        // It may have been found when it had moved already.
        if (base[old] !== child.base) {
          places ??= new Map(base.map((element, place) => [element, place]))
          old = places.get(child.base)
        }
        if (old !== undefined && old < from) index = old
        if (old !== undefined && old >= base.length - same) index = old + elements.length - base.length
      }
      if (index !== undefined) this.collect(child, [...path, index])
    }
  }

  #runs(
    base: readonly unknown[],
    from: number,
    end: number,
    elements: readonly unknown[],
    keep: (element: unknown, index: number) => void,
  ): Run[] {
    const places = new Map<unknown, number>()
    for (let place = from; place < end; place++) places.set(base[place], place)
    const runs: ([number, number] | { new: unknown[] })[] = []
    for (const [index, element] of elements.entries()) {
      const last = runs.at(-1)
      const next = Array.isArray(last) ? last[0] + last[1] : from
      const isContainer = typeof element === 'object' && element !== null
      // A primitive may be taken from wherever it stands; a container is moved, so once.
      const place = !isContainer && next < end && base[next] === element ? next : places.get(element)
      if (place === undefined) {
        const value = this.#json(element) ?? null
        if (last && !Array.isArray(last)) last.new.push(value)
        else runs.push({ new: [value] })
        continue
      }
      if (isContainer) {
        places.delete(element)
        keep(element, index)
      }
      if (Array.isArray(last) && next === place) last[1]++
      else runs.push([place, 1])
    }
    return runs
  }

  /** What stands in a list that was put in the place of another. */
  #elementsOf(list: readonly unknown[]): unknown[] {
    const seen = this.#recorder.draft(list) as readonly unknown[]
    return Array.from(seen, (element) => this.#recorder.enter(element))
  }

  #json(value: unknown): unknown {
    return jsonOf(this.#recorder.draft(value))
  }
}
