import { isUtf8 } from 'node:buffer'
import { fileURLToPath } from 'node:url'
import { harmless } from './errors.ts'

/** The names of the options that a call takes. */
export type OptionNames = ReadonlySet<string>

/**
 * The names of all options of an interface. The compiler wants each of them here, and nothing else, so that none that is
 * added later can be forgotten.
 * @typeParam O the interface, without the options of `more`
 */
export function optionNames<O>(
  names: { readonly [K in keyof O]-?: true },
  more: OptionNames = new Set(),
): OptionNames {
  return new Set([...more, ...Object.keys(names)])
}

/**
 * Refuses unknown options: one that is mistyped would be ignored. Names with the value undefined and symbols are allowed, and
 * so is undefined instead of the options.
 * @param what a word for it: `option` unless given
 * @throws TypeError that names the nearest option, or all of them where none is near
 */
export function requireKnown(options: object | undefined, known: OptionNames, what = 'option'): void {
  if (options === undefined) return
  if (typeof options !== 'object' || options === null) {
    throw new TypeError(`the options must be an object, got ${harmless(String(options).slice(0, SHOWN))}`)
  }
  for (const name in options) {
    if (known.has(name) || name in Object.prototype) continue
    if ((options as Record<string, unknown>)[name] !== undefined) throw unknownName(name, known, what)
  }
}

/** How much of a name is looked at, and shown. */
const SHOWN = 60

/** A name is near to another one if at most this share of the longer one's letters is wrong. */
const NEAR = 0.4

/** The one of the names that somebody who wrote `name` may have meant. */
export function nearestName(name: string, known: OptionNames): string | undefined {
  let nearest: string | undefined
  let share = NEAR
  for (const other of known) {
    const steps = distance(name.slice(0, SHOWN).toLowerCase(), other.toLowerCase())
    const own = steps / Math.max(name.length, other.length)
    if (own > share || (own === share && nearest !== undefined)) continue
    nearest = other
    share = own
  }
  return nearest
}

function unknownName(name: string, known: OptionNames, what: string): TypeError {
  const shown = harmless(JSON.stringify(name.slice(0, SHOWN)))
  const nearest = nearestName(name, known)
  const advice =
    nearest === undefined
      ? `known are ${[...known].map((other) => `"${other}"`).join(', ')}`
      : `did you mean "${nearest}"?`
  return new TypeError(`unknown ${what} ${shown}: ${advice}`)
}

/** Letters to add, remove, replace, or swap with the next one (optimal string alignment: Damerau 1964). */
function distance(from: string, to: string): number {
  let before: number[] = []
  let above = Array.from({ length: to.length + 1 }, (_, i) => i)
  for (let i = 1; i <= from.length; i++) {
    const row = [i]
    for (let j = 1; j <= to.length; j++) {
      const isSame = from[i - 1] === to[j - 1]
      const edited = Math.min(above[j] as number, row[j - 1] as number) + 1
      row[j] = Math.min(edited, (above[j - 1] as number) + (isSame ? 0 : 1))
      if (i > 1 && j > 1 && from[i - 1] === to[j - 2] && from[i - 2] === to[j - 1])
        row[j] = Math.min(row[j] as number, (before[j - 2] as number) + 1)
    }
    before = above
    above = row
  }
  return above[to.length] as number
}

/** A path, a file: URL, or a path as bytes. */
export type LockPath = string | URL | Uint8Array

/** @throws TypeError with what an argument must be and what came instead, unless it is right */
export function requireThat(isRight: boolean, what: string, value: unknown): asserts isRight {
  if (!isRight) throw new TypeError(`${what}, got ${show(value)}`)
}

/** @throws TypeError unless it is one of these values */
export function requireOneOf<T>(value: T, name: string, values: readonly T[]): void {
  const known = values.map((one) => `'${one}'`).join(' or ')
  requireThat(values.includes(value), `${name} must be ${known}`, value)
}

/** @throws TypeError unless it is a boolean */
export function requireBoolean(value: unknown, name: string): asserts value is boolean {
  requireThat(typeof value === 'boolean', `${name} must be a boolean`, value)
}

/** @throws TypeError unless it is a function */
export function requireFunction(value: unknown, name: string): void {
  requireThat(typeof value === 'function', `${name} must be a function`, value)
}

/** @throws TypeError unless it is an object */
export function requireObject(value: unknown, name: string): void {
  requireThat(typeof value === 'object' && value !== null, `${name} must be an object`, value)
}

/** A duration in milliseconds from 0 up. @throws TypeError */
export function durationMs(value: unknown, name: string, fallback: number): number {
  if (value === undefined) return fallback
  const what = `${name} must be a number of milliseconds from 0 up (or Infinity)`
  requireThat(typeof value === 'number' && value >= 0, what, value)
  return value as number
}

/** @throws TypeError unless it is an AbortSignal or undefined */
export function requireSignal(value: unknown): void {
  // One of another library (jsdom) or context will do.
  const { aborted, addEventListener } = (value ?? {}) as Partial<AbortSignal>
  const isSignal = typeof aborted === 'boolean' && typeof addEventListener === 'function'
  requireThat(value === undefined || isSignal, 'signal must be an AbortSignal', value)
}

/** A non-empty path: a text, a file: URL, or the bytes of a name. @throws TypeError */
export function requirePath(value: unknown, name: string): string {
  const path = asPath(value) ?? ''
  requireThat(path !== '' && !path.includes('\0'), `${name} must be a non-empty path`, value)
  return path
}

function asPath(value: unknown): string | undefined {
  if (typeof value === 'string') return value
  if (value instanceof Uint8Array && isUtf8(value)) return Buffer.from(value).toString()
  if (value instanceof URL && value.protocol === 'file:') return fileURLToPath(value)
  return undefined
}

/** Whether `await` would wait for it; queries of many libraries are thenables and no promises. */
export function isThenable(value: unknown): value is PromiseLike<unknown> {
  return typeof (value as { then?: unknown } | null | undefined)?.then === 'function'
}

/** A value as an error message shows it. */
export function show(value: unknown): string {
  if (typeof value === 'string') return harmless(JSON.stringify(value))
  if (typeof value === 'function') return `function ${value.name || '(anonymous)'}`
  if (typeof value === 'object' && value !== null)
    return `an object of type ${value.constructor?.name ?? 'null prototype'}`
  return String(value)
}
