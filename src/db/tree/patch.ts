import { byId, idOf, isObject, setOwn, type TreeObject } from './json-tree.ts'

/**
 * Makes `target` equal to `source` in place and returns what stands there then. People keep references
 * (`const { posts } = db.data`): containers keep their identity by path, and records in arrays by their id, or every
 * later push into a kept reference would vanish silently. Containers that are new are taken over from `source`.
 */
export function patch(target: unknown, source: unknown): unknown {
  if (target === source) return target
  if (Array.isArray(target) && Array.isArray(source)) return patchArray(target, source)
  if (isObject(target) && isObject(source)) return patchObject(target, source)
  return source
}

function patchObject(target: TreeObject, source: TreeObject): TreeObject {
  for (const key of Object.keys(target)) if (!Object.hasOwn(source, key)) delete target[key]
  for (const key of Object.keys(source)) {
    const value = Object.hasOwn(target, key) ? patch(target[key], source[key]) : source[key]
    if (!Object.hasOwn(target, key) || target[key] !== value) setOwn(target, key, value)
  }
  return target
}

function patchArray(target: unknown[], source: readonly unknown[]): unknown[] {
  const known = byId(target)
  const patched = source.map((element, index) => {
    const id = idOf(element)
    if (known && id !== undefined) return known.has(id) ? patch(known.get(id), element) : element
    return index < target.length && idOf(target[index]) === id ? patch(target[index], element) : element
  })
  target.length = patched.length
  for (const [index, element] of patched.entries()) if (target[index] !== element) target[index] = element
  return target
}
