import { EventEmitter } from 'node:events'
import type { Nedb } from './internals.ts'

/** NeDB's own data members; its methods are found on its prototype. */
const DATA = [
  'autoload',
  'autoloadPromise',
  'compareStrings',
  'executor',
  'filename',
  'inMemoryOnly',
  'indexes',
  'persistence',
  'timestampData',
  'ttlIndexes',
  '_autocompactionIntervalId',
]

/**
 * Makes the members of the NeDB store below reachable on the promise layer, as nedb-promises does through a Proxy. That
 * Proxy loses falsy values, calls methods with itself as `this` and throws when something falsy is assigned; accessors
 * on the prototype do none of that, and `new` has them too.
 * @param vanilla the prototype of the stores below
 */
export function forwardMembers(prototype: object, vanilla: object): void {
  const methods = Object.getOwnPropertyNames(vanilla)
  for (const name of [...DATA, ...methods]) {
    if (name in prototype || name in EventEmitter.prototype) continue
    Object.defineProperty(prototype, name, {
      configurable: true,
      get(this: { __original: Nedb }) {
        const value: unknown = Reflect.get(this.__original, name)
        return typeof value === 'function' && methods.includes(name) ? value.bind(this.__original) : value
      },
      set(this: { __original: Nedb }, value: unknown) {
        Reflect.set(this.__original, name, value)
      },
    })
  }
}
