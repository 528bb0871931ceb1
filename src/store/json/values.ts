import { types } from 'node:util'
import { TransactionError } from '../../errors.ts'
import type { TreeMemory } from '../adapter.ts'

/** A JSON value. What is not JSON (maps, functions, objects with a `toJSON`) is a leaf: kept as it is. */
export type Tree = unknown
export type TreeObject = Record<string, unknown>

export function isObject(value: unknown): value is TreeObject {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return false
  const prototype: unknown = Object.getPrototypeOf(value)
  if (prototype === Object.prototype || prototype === null) return true
  // That of objects of another context (node:vm, Jest) has none above it either.
  return Object.getPrototypeOf(prototype) === null && Object.hasOwn(prototype as object, '__lookupGetter__')
}

/** Sets an own property, also where its name is `__proto__`. */
export function setOwn(object: TreeObject, key: string, value: unknown): void {
  if (key !== '__proto__') object[key] = value
  else Object.defineProperty(object, key, { value, writable: true, enumerable: true, configurable: true })
}

/** The value of an own property; undefined where there is none. */
export function getOwn(object: TreeObject, key: string): unknown {
  return Object.hasOwn(object, key) ? object[key] : undefined
}

/**
 * Plain objects, and those of the user's own classes that are written field by field. One with a `toJSON` knows better
 * than we what it consists of: it is a leaf.
 */
function isRecord(value: unknown): value is TreeObject {
  if (isObject(value)) return true
  if (typeof value !== 'object' || value === null || Array.isArray(value)) return false
  return !('toJSON' in value) && Object.prototype.toString.call(value) === '[object Object]'
}

/** A copy of all containers, and of dates, which can be changed in place too; other leaves are shared. */
export function cloneTree<T>(tree: T): T {
  if (typeof tree !== 'object' || tree === null) return tree
  if (Array.isArray(tree)) return tree.map(cloneElement) as T
  if (!isRecord(tree)) return types.isDate(tree) ? (new Date(tree) as T) : tree
  const copy = (isObject(tree) ? {} : Object.create(Object.getPrototypeOf(tree))) as TreeObject
  for (const key of Object.keys(tree)) {
    const value = tree[key]
    const cloned = typeof value === 'object' ? cloneTree(value) : value
    if (key === '__proto__') setOwn(copy, key, cloned)
    else copy[key] = cloned
  }
  return copy as T
}

function cloneElement(element: unknown): unknown {
  return cloneTree(element)
}

/**
 * Whether two trees have the same text: the same keys in the same order. Where one has leaves that are no JSON, which may
 * have changed while they stayed the same object, that is not known: false.
 */
export function isSameTree(a: unknown, b: unknown): boolean {
  if (typeof a !== 'object' || a === null) return Object.is(a, b) && typeof a !== 'function'
  if (typeof b !== 'object' || b === null || Object.getPrototypeOf(a) !== Object.getPrototypeOf(b))
    return false
  if (Array.isArray(a)) {
    if (!Array.isArray(b) || a.length !== b.length || 'toJSON' in a) return false
    for (let index = 0; index < a.length; index++) if (!isSameTree(a[index], b[index])) return false
    return true
  }
  if (!isRecord(a)) return types.isDate(a) && types.isDate(b) && Number(a) === Number(b)
  const keys = Object.keys(a)
  if ('toJSON' in a || !areSameKeys(keys, Object.keys(b))) return false
  for (const key of keys) if (!isSameTree(a[key], (b as TreeObject)[key])) return false
  return true
}

function areSameKeys(a: readonly string[], b: readonly string[]): boolean {
  if (a.length !== b.length) return false
  for (let index = 0; index < a.length; index++) if (a[index] !== b[index]) return false
  return true
}

/** The tree, which nobody can change any more. */
function frozenTree<T>(tree: T): T {
  if (Array.isArray(tree) || isRecord(tree)) {
    for (const value of Object.values(tree)) frozenTree(value)
    Object.freeze(tree)
  }
  return tree
}

/** Equality of two JSON trees; the order of keys does not matter. */
export function equalTrees(a: unknown, b: unknown): boolean {
  if (a === b) return true
  if (Array.isArray(a)) {
    return (
      Array.isArray(b) && a.length === b.length && a.every((element, index) => equalTrees(element, b[index]))
    )
  }
  if (!isObject(a) || !isObject(b)) return false
  const keys = Object.keys(a)
  return (
    keys.length === Object.keys(b).length &&
    keys.every((key) => Object.hasOwn(b, key) && equalTrees(a[key], b[key]))
  )
}

/** What identifies a record in an array. 1 and "1" are two. */
export type Id = string | number

/** The `id` or `_id` of a record; undefined where it has none. */
export function idOf(element: unknown): Id | undefined {
  if (!isObject(element)) return undefined
  const id = getOwn(element, 'id') ?? getOwn(element, '_id')
  return typeof id === 'string' || typeof id === 'number' ? id : undefined
}

/** The elements by their ids, in order; undefined where one has none or two have the same. */
export function byId(elements: readonly unknown[]): Map<Id, unknown> | undefined {
  const map = new Map<Id, unknown>()
  for (const element of elements) {
    const id = idOf(element)
    if (id === undefined || map.has(id)) return undefined
    map.set(id, element)
  }
  return map
}

/** A state that nobody can change: what the callback of a view is given. */
export function frozenMemory(path: string, tree: Tree): TreeMemory {
  const frozen = frozenTree(cloneTree(tree))
  return {
    get: () => frozen,
    set: () => {
      throw new TransactionError(`nothing can be written inside a view of ${path}: use transaction()`, {
        path,
      })
    },
  }
}

/**
 * Makes `target` equal to `source` in place and returns what stands there then. People keep references
 * (`const { posts } = db.data`): containers keep their identity by path, and records in arrays by their id, or every
 * later push into a kept reference would vanish silently. Containers that are new are taken over from `source`.
 * One that stands at two places (`data.selected = data.posts[0]`), where a file has two copies, is parted if they differ.
 */
export function patch(target: unknown, source: unknown): unknown {
  return patchAt(target, source, new Set())
}

function patchAt(target: unknown, source: unknown, patched: Set<unknown>): unknown {
  if (target === source || typeof target !== 'object' || target === null) return source
  if (patched.has(target)) return equalTrees(target, source) ? target : source
  if (Array.isArray(target) && Array.isArray(source)) return patchArray(target, source, patched.add(target))
  if (areOfOneClass(target, source))
    return patchObject(target as TreeObject, source as TreeObject, patched.add(target))
  const isSameDate = types.isDate(target) && types.isDate(source) && Number(target) === Number(source)
  return isSameDate ? target : source
}

/** Whether both are plain objects, or of one class of the user's own. */
function areOfOneClass(a: object, b: unknown): boolean {
  if (typeof b !== 'object' || b === null) return false
  const prototype: unknown = Object.getPrototypeOf(a)
  const isSame = prototype === Object.getPrototypeOf(b)
  if (isSame && prototype === Object.prototype) return true
  return isRecord(a) && isRecord(b) && (isSame || (isObject(a) && isObject(b)))
}

function patchObject(target: TreeObject, source: TreeObject, patched: Set<unknown>): TreeObject {
  const keys = Object.keys(source)
  const old = Object.keys(target)
  if (!areSameKeys(old, keys)) {
    for (const key of old) if (!Object.hasOwn(source, key)) delete target[key]
    for (const key of keys) if (!Object.hasOwn(target, key)) setOwn(target, key, source[key])
    keepOrder(target, keys)
  }
  for (const key of keys) {
    const value = patchAt(target[key], source[key], patched)
    if (target[key] !== value) setOwn(target, key, value)
  }
  return target
}

/** The same keys in the same order: then the two have the same text, and nobody need write it to know. */
function keepOrder(target: TreeObject, keys: readonly string[]): void {
  if (areSameKeys(Object.keys(target), keys)) return
  for (const key of keys) {
    const value = target[key]
    delete target[key]
    setOwn(target, key, value)
  }
}

function patchArray(target: unknown[], source: readonly unknown[], patched: Set<unknown>): unknown[] {
  // Most of a list stands where it stood: there nothing has to be looked up.
  const common = Math.min(target.length, source.length)
  let same = 0
  for (; same < common && idOf(target[same]) === idOf(source[same]); same++) {
    const value = patchAt(target[same], source[same], patched)
    if (target[same] !== value) target[same] = value
  }
  if (same === target.length && same === source.length) return target
  const rest = target.slice(same)
  const known = byId(rest)
  const elements = source.slice(same).map((element, index) => {
    const id = idOf(element)
    if (known && id !== undefined) return known.has(id) ? patchAt(known.get(id), element, patched) : element
    return index < rest.length && idOf(rest[index]) === id ? patchAt(rest[index], element, patched) : element
  })
  target.length = source.length
  for (const [index, element] of elements.entries())
    if (target[same + index] !== element) target[same + index] = element
  return target
}
