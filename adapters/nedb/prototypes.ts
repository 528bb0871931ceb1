import type { Doc, Query } from './internals.ts'

/**
 * NeDB follows a path with dots through whatever it finds, also through what an object has from its prototype: `$set:
 * { 'constructor.prototype.isAdmin': true }` changes all objects of the process, `'constructor.keys'` the function
 * `Object.keys`, `'tags.push.x'` that of all arrays, `$unset` removes them, and a projection does either on its way to a
 * copy. The document stays as it was, so that the change is lost as well. Here such paths are refused.
 */

/** What plain objects have without having it themselves. A document may have fields of these names. */
const OF_OBJECTS = namesOf(Object.prototype)

/** The same of any value that may stand in a document. */
const INHERITED: ReadonlySet<string> = new Set([
  ...OF_OBJECTS,
  ...[Array, String, Number, Boolean, Date].flatMap((Class) => [...namesOf(Class.prototype as object)]),
])

function namesOf(prototype: object): ReadonlySet<string> {
  return new Set(Object.getOwnPropertyNames(prototype))
}

/**
 * Refuses `__proto__` and `constructor.prototype` wherever they are in a document, an update or a projection: as names, in
 * paths with dots, or one inside the other. To set `__proto__` changes the prototype, and is lost in any case.
 * @throws TypeError
 */
export function requireNoPrototype(change: unknown): void {
  requireNone(change, false)
}

/** @param inConstructor whether it is the value of a field `constructor` */
function requireNone(change: unknown, inConstructor: boolean): void {
  if (typeof change !== 'object' || change === null) return
  for (const name of Object.keys(change)) {
    const isConstructor = requireNoneIn(name, inConstructor)
    const value = (change as Doc)[name]
    if (typeof value !== 'object' || value === null) continue
    requireNone(value, isConstructor)
    // No modifier of this NeDB, but of others: what it names is a path too.
    if (name === '$rename') for (const to of Object.values(value)) requireNoneIn(String(to), false)
  }
}

/** @returns whether the last step of the path is `constructor` */
function requireNoneIn(path: string, inConstructor: boolean): boolean {
  if (!path.includes('.')) {
    if (path === '__proto__' || (inConstructor && path === 'prototype')) throw throughPrototype(path)
    return path === 'constructor'
  }
  let isConstructor = inConstructor
  for (const step of path.split('.')) {
    if (step === '__proto__' || (isConstructor && step === 'prototype')) throw throughPrototype(path)
    isConstructor = step === 'constructor'
  }
  return isConstructor
}

function throughPrototype(path: string): TypeError {
  const name = path.includes('__proto__') ? '__proto__' : 'constructor.prototype'
  return new TypeError(
    `${name} is refused in documents, updates, projections and indexes: NeDB would lose it, or change the objects of the whole process, got ${path}`,
  )
}

/** What a change does to fields: the paths that could lead through something inherited, and all of them. */
export interface Paths {
  readonly suspicious: readonly string[]
  readonly all: readonly string[]
}

/** @returns undefined where none is suspicious, as nearly always */
export function suspiciousIn(update: Doc): Paths | undefined {
  let found = false
  for (const name in update) {
    if (!name.startsWith('$')) continue
    for (const path in update[name] as object) if (path.includes('.')) found = true
  }
  if (!found) return undefined
  return suspiciousAmong(Object.values(update).flatMap((fields) => Object.keys(Object(fields) as object)))
}

/** As `suspiciousIn`, of the fields of one modifier or of a projection. */
export function suspiciousAmong(all: readonly string[]): Paths | undefined {
  const suspicious = all.filter((path) => stepsOf(path).some((step) => INHERITED.has(step)))
  return suspicious.length === 0 ? undefined : { suspicious, all }
}

/** All steps but the last, which is set and not followed. */
function stepsOf(path: string): string[] {
  return path.split('.').slice(0, -1)
}

/**
 * Refuses paths through what the document has not itself. Where another path of the same change could put something
 * else there first, it is refused too.
 * @throws TypeError
 */
export function requireOwnPaths(doc: Doc | Query, { suspicious, all }: Paths): void {
  for (const path of suspicious) {
    if (isOwnPath(doc, path) && !all.some((other) => path.startsWith(`${other}.`))) continue
    throw new TypeError(
      `the path ${path} leads through what objects have from their prototype: NeDB would change it for the whole process`,
    )
  }
}

function isOwnPath(doc: unknown, path: string): boolean {
  let value = doc
  for (const step of stepsOf(path)) {
    // NeDB makes an object where nothing is.
    if (value === undefined) value = {}
    if (value === null) return true
    const object = Object(value) as Doc
    if (!Object.hasOwn(object, step)) {
      if (step in object) return false
      value = undefined
    } else value = object[step]
  }
  return true
}
