import type { PathLike } from 'node:fs'
import { resolve } from 'node:path'
import { fileURLToPath } from 'node:url'
import { JSONFile as VanillaJSONFile, JSONFileSync as VanillaJSONFileSync } from 'lowdb/node'
import { requirePath } from '../../src/arguments.ts'

/** A file name in any of the forms that `fs` takes. */
export function pathOf(filename: PathLike): string {
  return isUrl(filename) ? fileURLToPath(filename) : String(filename)
}

/** A URL of any context. */
export function isUrl(value: unknown): value is URL {
  const { href, protocol } = (value ?? {}) as Partial<URL>
  return typeof value === 'object' && typeof href === 'string' && typeof protocol === 'string'
}

/** lowdb's `JSONFile` with a public `path`, which is resolved when it is made. */
export class JSONFile<T> extends VanillaJSONFile<T> {
  readonly path: string
  constructor(filename: PathLike) {
    const path = resolve(requirePath(pathOf(filename), 'path'))
    super(path)
    this.path = path
  }
}

/** lowdb's `JSONFileSync` with a public `path`, which is resolved when it is made. */
export class JSONFileSync<T> extends VanillaJSONFileSync<T> {
  readonly path: string
  constructor(filename: PathLike) {
    const path = resolve(requirePath(pathOf(filename), 'path'))
    super(path)
    this.path = path
  }
}
