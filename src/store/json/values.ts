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

/**
 * A copy of all containers, and of dates, which can be changed in place too; other leaves are shared. The spread and the
 * `for in` take a quarter of the time of reading key by key.
 * @param leaves takes those that are shared
 */
export function cloneTree<T>(tree: T, leaves?: object[]): T {
  if (typeof tree !== 'object' || tree === null) return tree
  if (Array.isArray(tree))
    return (leaves ? tree.map((element) => cloneTree(element, leaves)) : tree.map(cloneElement)) as T
  const prototype: unknown = Object.getPrototypeOf(tree)
  const isPlain = prototype === Object.prototype
  if (!isPlain && !isRecord(tree)) {
    if (types.isDate(tree)) return new Date(tree) as T
    leaves?.push(tree)
    return tree
  }
  const copy = { ...tree } as TreeObject
  for (const key in copy) {
    const value = copy[key]
    if (typeof value === 'object' && value !== null && Object.hasOwn(copy, key))
      copy[key] = cloneTree(value, leaves)
  }
  if (!isPlain && !isObject(tree)) Object.setPrototypeOf(copy, prototype as object)
  return copy as T
}

function cloneElement(element: unknown): unknown {
  return typeof element === 'object' ? cloneTree(element) : element
}

/** A copy to edit, and how to take back what the edit does to leaves, which it shares. */
export function copyToEdit<T>(tree: T): { copy: T; undo: (() => void) | undefined } {
  const leaves: object[] = []
  const copy = cloneTree(tree, leaves)
  if (leaves.length === 0) return { copy, undo: undefined }
  const texts = new Map(leaves.map((leaf) => [leaf, leafText(leaf)]))
  const undo = () => {
    const others = new Map<unknown, unknown>()
    for (const [leaf, text] of texts)
      if (text !== undefined && leafText(leaf) !== text) others.set(leaf, JSON.parse(text))
    if (others.size > 0) replaceLeaves(tree, others)
  }
  return { copy, undo }
}

/** Undefined where it has none. */
function leafText(leaf: object): string | undefined {
  try {
    return JSON.stringify(leaf)
  } catch {
    return undefined
  }
}

/** Puts other values in the place of leaves. */
function replaceLeaves(tree: unknown, others: ReadonlyMap<unknown, unknown>): void {
  if (!Array.isArray(tree) && !isRecord(tree)) return
  for (const [key, value] of Object.entries(tree)) {
    if (others.has(value)) setOwn(tree as TreeObject, key, others.get(value))
    else replaceLeaves(value, others)
  }
}

/**
 * Whether two trees have the same text: the same keys in the same order. Where one has leaves that are no JSON, which may
 * have changed while they stayed the same object, that is not known: false.
 * @param containers takes all containers of `a`, if they have: one that stands at two places twice
 */
export function isSameTree(a: unknown, b: unknown, containers?: unknown[]): boolean {
  if (typeof a !== 'object' || a === null) return Object.is(a, b) && typeof a !== 'function'
  const prototype: unknown = Object.getPrototypeOf(a)
  if (typeof b !== 'object' || b === null || prototype !== Object.getPrototypeOf(b)) return false
  const isPlain = prototype === Object.prototype
  if (!isPlain && types.isDate(a)) return types.isDate(b) && Number(a) === Number(b)
  if ((a as TreeObject).toJSON !== undefined) return false
  containers?.push(a)
  if (Array.isArray(a)) return Array.isArray(b) && areSameElements(a, b, containers)
  return (isPlain || isRecord(a)) && areSameFields(a as TreeObject, b as TreeObject, containers)
}

function areSameElements(a: readonly unknown[], b: readonly unknown[], containers?: unknown[]): boolean {
  if (a.length !== b.length) return false
  for (let index = 0; index < a.length; index++) {
    const [one, other] = [a[index], b[index]]
    if ((one !== other || typeof one !== 'string') && !isSameTree(one, other, containers)) return false
  }
  return true
}

/** With `for in` it takes half the time of comparing `Object.keys`. */
function areSameFields(a: TreeObject, b: TreeObject, containers?: unknown[]): boolean {
  const keys = Object.keys(b)
  const values = Object.values(b)
  let index = 0
  for (const key in a) {
    if (keys[index] !== key || !Object.hasOwn(a, key)) return false
    const one = a[key]
    const other = values[index++]
    if ((one !== other || typeof one !== 'string') && !isSameTree(one, other, containers)) return false
  }
  return index === keys.length
}

/**
 * Whether a tree cannot have the text of one that was parsed: something in it that is JSON is another there, or a list has
 * another length. It ends at the first difference; false says nothing.
 */
export function isOtherTree(tree: unknown, parsed: unknown): boolean {
  if (tree === parsed) return false
  if (typeof tree !== 'object' || tree === null) return isJsonLeaf(tree) && isJsonLeaf(parsed)
  if (typeof parsed !== 'object' || parsed === null || 'toJSON' in tree) return false
  if (Array.isArray(tree)) {
    if (!Array.isArray(parsed)) return false
    return tree.length !== parsed.length || tree.some((element, index) => isOtherTree(element, parsed[index]))
  }
  if (!isRecord(tree) || Array.isArray(parsed)) return false
  for (const key in parsed) {
    const [value, other] = [tree[key], (parsed as TreeObject)[key]]
    if (value !== other && Object.hasOwn(tree, key) && isOtherTree(value, other)) return true
  }
  return false
}

function isJsonLeaf(value: unknown): boolean {
  return value === null || ['string', 'boolean'].includes(typeof value) || Number.isFinite(value)
}

function areSameKeys(a: readonly string[], b: readonly string[]): boolean {
  if (a.length !== b.length) return false
  for (let index = 0; index < a.length; index++) if (a[index] !== b[index]) return false
  return true
}

/**
 * Gives a tree that was just parsed the strings of `known` where they are equal: whoever compares the two compares
 * addresses then, and the new strings are soon gone.
 */
export function shareStrings(parsed: unknown, known: unknown): void {
  if (typeof parsed !== 'object' || typeof known !== 'object' || !parsed || !known) return
  if (Array.isArray(parsed)) {
    if (!Array.isArray(known)) return
    for (const [index, value] of parsed.entries()) {
      if (typeof value === 'object') shareStrings(value, known[index])
      else if (value === known[index]) parsed[index] = known[index]
    }
    return
  }
  const others = Object.values(known)
  let index = 0
  for (const key in parsed) {
    if (!Object.hasOwn(parsed, key)) return
    const value = (parsed as TreeObject)[key]
    const other = others[index++]
    if (typeof value === 'object') shareStrings(value, other)
    else if (typeof value === 'string' && value === other) (parsed as TreeObject)[key] = other
  }
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
  // Names that are written out are found in a tenth of the time.
  const id =
    (Object.hasOwn(element, 'id') ? element.id : undefined) ??
    (Object.hasOwn(element, '_id') ? element._id : undefined)
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
 * later push into a kept reference would vanish silently. Of containers that are new it takes copies: those of `source`
 * may be objects of the user's, which must not change with memory.
 * One that stands at two places (`data.selected = data.posts[0]`), where a file has two copies, is parted if they differ.
 * @param containers all of `target`, where they are known; see `isSameTree`
 */
export function patch(target: unknown, source: unknown, containers?: readonly unknown[]): unknown {
  if (!containers) return patchAt(target, source, new Visited())
  try {
    return patchAt(target, source, new Unshared(containers))
  } catch (error) {
    if (error !== SHARED) throw error
    // What was changed so far is as it shall be.
    return patchAt(target, source, new Visited())
  }
}

/**
 * A tree that was put together of containers of `known`, for a patch of that: those that stand at another place now are
 * copies, since the patch may have changed them when it comes there.
 */
export function withoutMoved(tree: unknown, known: unknown): unknown {
  if (tree === known) return tree
  if (Array.isArray(tree) && Array.isArray(known)) {
    let isSame = true
    return tree.map((element, index) => {
      isSame &&= haveSameId(element, known[index])
      return isSame ? withoutMoved(element, known[index]) : cloneTree(element)
    })
  }
  if (!isObject(tree) || !isObject(known)) return cloneTree(tree)
  const copy = { ...tree }
  for (const key of Object.keys(copy)) setOwn(copy, key, withoutMoved(copy[key], getOwn(known, key)))
  return copy
}

/** What a patch knows of containers that stand at two places. */
interface Places {
  /** Asked of each on the way. @returns whether it was patched at another place */
  isPatched(container: object): boolean
  /** It is changed next. */
  changing(container: object): void
}

/** Any may stand at two places. */
class Visited implements Places {
  readonly #patched = new Set<object>()

  isPatched(container: object): boolean {
    if (this.#patched.has(container)) return true
    this.#patched.add(container)
    return false
  }

  changing(): void {}
}

const SHARED = Symbol('it stands at two places')

/** None of those that are changed stands at two places: most patches change one of thousands, and ask only of that. */
class Unshared implements Places {
  readonly #containers: readonly unknown[]
  readonly #single = new Set<object>()
  #shared: Set<unknown> | undefined

  constructor(containers: readonly unknown[]) {
    this.#containers = containers
  }

  isPatched(): boolean {
    return false
  }

  changing(container: object): void {
    if (this.#single.has(container)) return
    if (this.#isShared(container)) throw SHARED
    this.#single.add(container)
  }

  #isShared(container: object): boolean {
    const all = this.#containers
    if (this.#single.size < 8) return all.indexOf(container) !== all.lastIndexOf(container)
    this.#shared ??= repeated(all)
    return this.#shared.has(container)
  }
}

function repeated(elements: readonly unknown[]): Set<unknown> {
  const once = new Set<unknown>()
  return new Set(elements.filter((element) => once.size === once.add(element).size))
}

function patchAt(target: unknown, source: unknown, places: Places): unknown {
  if (target === source) return target
  if (typeof target !== 'object' || target === null) return cloneTree(source)
  const isArray = Array.isArray(target) && Array.isArray(source)
  if (!isArray && !areOfOneClass(target, source)) {
    const isSameDate = types.isDate(target) && types.isDate(source) && Number(target) === Number(source)
    return isSameDate ? target : cloneTree(source)
  }
  if (places.isPatched(target)) return equalTrees(target, source) ? target : cloneTree(source)
  try {
    if (isArray) return patchArray(target, source, places)
    return patchObject(target as TreeObject, source as TreeObject, places)
  } catch (error) {
    if (!(error instanceof TypeError)) throw error
    // It is frozen, or has a member that cannot be written.
    return cloneTree(source)
  }
}

/** Whether both are plain objects, or of one class of the user's own. */
function areOfOneClass(a: object, b: unknown): boolean {
  if (typeof b !== 'object' || b === null) return false
  const prototype: unknown = Object.getPrototypeOf(a)
  const isSame = prototype === Object.getPrototypeOf(b)
  if (isSame && prototype === Object.prototype) return true
  return isRecord(a) && isRecord(b) && (isSame || (isObject(a) && isObject(b)))
}

function patchObject(target: TreeObject, source: TreeObject, places: Places): TreeObject {
  const keys = Object.keys(source)
  const values = Object.values(source)
  let index = 0
  let isOfSameKeys = true
  for (const key in target) {
    isOfSameKeys = keys[index] === key && Object.hasOwn(target, key)
    if (!isOfSameKeys) break
    patchField(target, key, values[index++], places)
  }
  if (isOfSameKeys && index === keys.length) return target
  const old = Object.keys(target)
  if (!areSameKeys(old, keys)) {
    places.changing(target)
    for (const key of old) if (!Object.hasOwn(source, key)) delete target[key]
    for (const key of keys) if (!Object.hasOwn(target, key)) setOwn(target, key, undefined)
    keepOrder(target, keys)
  }
  for (; index < keys.length; index++) patchField(target, keys[index] as string, values[index], places)
  return target
}

function patchField(target: TreeObject, key: string, value: unknown, places: Places): void {
  const old = target[key]
  if (old === value) return
  const patched = typeof old === 'object' ? patchAt(old, value, places) : cloneTree(value)
  if (old === patched) return
  places.changing(target)
  setOwn(target, key, patched)
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

function patchArray(target: unknown[], source: readonly unknown[], places: Places): unknown[] {
  // Most of a list stands where it stood: there nothing has to be looked up.
  const common = Math.min(target.length, source.length)
  let same = 0
  for (; same < common && haveSameId(target[same], source[same]); same++) {
    const value = patchAt(target[same], source[same], places)
    if (target[same] === value) continue
    places.changing(target)
    target[same] = value
  }
  if (same === target.length && same === source.length) return target
  places.changing(target)
  const rest = target.slice(same)
  const known = byId(rest)
  const elements = source.slice(same).map((element, index) => {
    const id = idOf(element)
    if (known && id !== undefined) {
      const old = known.get(id)
      // A second record of this id is another one.
      return known.delete(id) ? patchAt(old, element, places) : cloneTree(element)
    }
    return index < rest.length && idOf(rest[index]) === id
      ? patchAt(rest[index], element, places)
      : cloneTree(element)
  })
  target.length = source.length
  for (const [index, element] of elements.entries())
    if (target[same + index] !== element) target[same + index] = element
  return target
}

function haveSameId(a: unknown, b: unknown): boolean {
  if (a === b) return true
  // Of most two, which are records of one place, this is enough.
  const [one, other] = [a as TreeObject | undefined | null, b as TreeObject | undefined | null]
  return (one?.id === other?.id && one?._id === other?._id) || idOf(a) === idOf(b)
}
