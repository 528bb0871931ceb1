import { CorruptStoreError } from '../../errors.ts'
import { getOwn, isObject, setOwn, type Tree, type TreeObject } from '../tree/json-tree.ts'
import { patch } from '../tree/patch.ts'
import { DELETED, type ListNode, ObjectNode } from './nodes.ts'
import type { Node, Recorder } from './recorder.ts'

export type Path = readonly (string | number)[]

/** So many old elements from there on, or new ones (as the copy and insert instructions of rsync and of VCDIFF, RFC 3284). */
export type Run = readonly [from: number, count: number] | { readonly new: readonly unknown[] }

/** One change of a tree: a value set or deleted, elements added to a list, a list put together anew. */
export type Change =
  | readonly ['=', Path, unknown]
  | readonly ['-', Path]
  | readonly ['+', Path, readonly unknown[]]
  | readonly ['~', Path, readonly Run[]]

/** Values as JSON keeps them; undefined where it keeps none. */
function jsonOf(value: unknown): unknown {
  const text = JSON.stringify(value) as string | undefined
  return text === undefined ? undefined : (JSON.parse(text) as unknown)
}

/** What was recorded, in the order in which it must be applied. @param tree what the user's code has made of the root */
export function changesOf(recorder: Recorder, root: Tree, tree: Tree): Change[] {
  const changes: Change[] = []
  const node = recorder.known(root)
  if (node && tree === node.proxy) collect(recorder, node, [], changes)
  else if (tree !== root) changes.push(['=', [], required(jsonOf(tree))])
  return changes
}

function required(value: unknown): unknown {
  if (value !== undefined) return value
  throw new TypeError('the data cannot be written as JSON: got undefined')
}

function collect(recorder: Recorder, node: Node, path: Path, changes: Change[]): void {
  if (!node.isTouched) return
  if (node instanceof ObjectNode) collectObject(recorder, node, path, changes)
  else collectList(recorder, node, path, changes)
}

function collectObject(recorder: Recorder, node: ObjectNode, path: Path, changes: Change[]): void {
  const { base } = node
  for (const [key, value] of node.changed ?? []) {
    const old = getOwn(base, key)
    if (value === old && Object.hasOwn(base, key)) continue
    const at = [...path, key]
    if (Array.isArray(value) && Array.isArray(old)) {
      const elements = value.map((element) => recorder.enter(element) as unknown)
      collectElements(recorder, old, elements, at, changes)
      continue
    }
    const json = value === DELETED ? undefined : jsonOf(recorder.draft(value))
    if (json !== undefined) changes.push(['=', at, json])
    else if (Object.hasOwn(base, key)) changes.push(['-', at])
  }
  for (const [key, child] of node.children) {
    if (child.base === getOwn(base, key) && child.base === node.current(key))
      collect(recorder, child, [...path, key], changes)
  }
}

function collectList(recorder: Recorder, node: ListNode, path: Path, changes: Change[]): void {
  const { base, copy, changed, tail } = node
  if (copy) {
    collectElements(recorder, base, copy, path, changes)
    return
  }
  for (const [key, value] of changed ?? []) {
    const index = Number(key)
    if (value !== base[index]) changes.push(['=', [...path, index], jsonOf(recorder.draft(value)) ?? null])
  }
  if (tail.length > 0) changes.push(['+', path, literals(recorder, tail)])
  for (const [key, child] of node.children) {
    const index = Number(key)
    if (child.base === base[index] && (!changed?.has(key) || changed.get(key) === child.base))
      collect(recorder, child, [...path, index], changes)
  }
}

function literals(recorder: Recorder, values: readonly unknown[]): unknown[] {
  return values.map((value) => jsonOf(recorder.draft(value)) ?? null)
}

/** A list that is made of old elements and new ones. An old one is known by its identity, and used once. */
function collectElements(
  recorder: Recorder,
  base: readonly unknown[],
  elements: readonly unknown[],
  path: Path,
  changes: Change[],
): void {
  const places = new Map<unknown, number>()
  for (const [index, element] of base.entries())
    if (typeof element === 'object' && element !== null) places.set(element, index)
  const runs: (readonly [number, number] | { new: unknown[] })[] = []
  const kept: [index: number, node: Node][] = []
  for (const [index, element] of elements.entries()) {
    const last = runs.at(-1)
    const next = last && !('new' in last) ? last[0] + last[1] : index
    // A primitive has no identity: it is an old one where it follows one.
    let from = places.get(element)
    if (from === undefined && next < base.length && base[next] === element && !isFresh(element)) from = next
    if (from === undefined) {
      const [literal] = literals(recorder, [element])
      if (last && 'new' in last) last.new.push(literal)
      else runs.push({ new: [literal] })
      continue
    }
    places.delete(element)
    if (last && !('new' in last) && next === from) runs[runs.length - 1] = [last[0], last[1] + 1]
    else runs.push([from, 1])
    const node = recorder.known(element)
    if (node?.isTouched) kept.push([index, node])
  }
  const [only] = runs
  const isSame = elements.length === base.length && runs.length <= 1 && !(only && 'new' in only)
  if (!isSame || (only && !('new' in only) && only[0] !== 0)) changes.push(['~', path, runs])
  for (const [index, node] of kept) collect(recorder, node, [...path, index], changes)
}

/** An object that is no old element, or one that was used already. */
function isFresh(element: unknown): boolean {
  return typeof element === 'object' && element !== null
}

/**
 * Applies changes in place: containers keep their identity, and so do elements that only move. The values become part of
 * the tree. @returns the tree
 * @throws CorruptStoreError where they are not of this tree
 */
export function apply(tree: Tree, changes: readonly Change[], path: string): Tree {
  let root = tree
  for (const change of changes) root = applyOne(root, change, path)
  return root
}

function applyOne(root: Tree, change: Change, file: string): Tree {
  const [kind, path] = change
  if (path.length === 0 && kind === '=') return patch(root, change[2])
  const target = kind === '=' || kind === '-' ? at(root, path.slice(0, -1)) : at(root, path)
  const key = path.at(-1) as string | number
  if (Array.isArray(target)) {
    if (kind === '=' && Number(key) < target.length)
      target[Number(key)] = patch(target[Number(key)], change[2])
    else if (kind === '+') for (const value of change[2]) target.push(value)
    else if (kind === '~') putTogether(target, change[2])
    else throw doesNotFit(file, change)
  } else if (isObject(target)) {
    if (kind === '=') set(target, String(key), change[2])
    else if (kind === '-') delete target[String(key)]
    else throw doesNotFit(file, change)
  } else throw doesNotFit(file, change)
  return root
}

function set(target: TreeObject, key: string, value: unknown): void {
  setOwn(target, key, Object.hasOwn(target, key) ? patch(target[key], value) : value)
}

function at(root: Tree, path: Path): unknown {
  let value = root
  for (const key of path) {
    if (Array.isArray(value)) value = value[Number(key)] as unknown
    else value = isObject(value) ? getOwn(value, String(key)) : undefined
  }
  return value
}

function putTogether(target: unknown[], runs: readonly Run[]): void {
  const next: unknown[] = []
  for (const run of runs) {
    const elements = 'new' in run ? run.new : target.slice(run[0], run[0] + run[1])
    for (const element of elements) next.push(element)
  }
  target.length = next.length
  for (const [index, element] of next.entries()) if (target[index] !== element) target[index] = element
}

function doesNotFit(path: string, change: Change): CorruptStoreError {
  return new CorruptStoreError(
    `the journal of ${path} has a change of ${JSON.stringify(change[1])}, which is not in the data. Nothing was changed; ` +
      'keep both files, and restore a dump.',
    { path },
  )
}
