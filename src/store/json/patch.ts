import { types } from 'node:util'
import { byId, equalTrees, idOf, isObject, isRecord, setOwn, type TreeObject } from './values.ts'

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
  if (target === source) return target
  if (patched.has(target)) return equalTrees(target, source) ? target : source
  if (Array.isArray(target) && Array.isArray(source)) return patchArray(target, source, patched.add(target))
  if (isRecord(target) && isRecord(source) && sameClass(target, source))
    return patchObject(target, source, patched.add(target))
  const isSameDate = types.isDate(target) && types.isDate(source) && Number(target) === Number(source)
  return isSameDate ? target : source
}

function sameClass(a: object, b: object): boolean {
  return Object.getPrototypeOf(a) === Object.getPrototypeOf(b) || (isObject(a) && isObject(b))
}

function patchObject(target: TreeObject, source: TreeObject, patched: Set<unknown>): TreeObject {
  const keys = Object.keys(source)
  const old = Object.keys(target)
  if (old.length !== keys.length || old.some((key, index) => key !== keys[index])) {
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
  if (Object.keys(target).every((key, index) => key === keys[index])) return
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
