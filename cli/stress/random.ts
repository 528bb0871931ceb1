/** Numbers from 0 up to (not including) 1, the same ones for the same seed. */
export type Random = () => number

/** The mulberry32 generator: 32 bits of state, good enough to vary work, and repeatable everywhere. */
function mulberry32(seed: number): Random {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}

/** A stream of its own for each worker and purpose, all from the one seed that is printed. */
export function stream(seed: number, purpose: string, worker = 0): Random {
  let hash = seed >>> 0
  for (const char of `${purpose}/${worker}`) hash = Math.imul(hash ^ char.charCodeAt(0), 0x01000193) >>> 0
  return mulberry32(hash)
}

/** A whole number from `from` to `to`, both included. */
export function between(random: Random, from: number, to: number): number {
  return from + Math.floor(random() * (to - from + 1))
}

/** One of the names, as often as its weight says. */
export function weighted<Name extends string>(random: Random, weights: Readonly<Record<Name, number>>): Name {
  const entries = Object.entries(weights) as [Name, number][]
  let left = random() * entries.reduce((sum, [, weight]) => sum + weight, 0)
  for (const [name, weight] of entries) {
    left -= weight
    if (left < 0) return name
  }
  return (entries.at(-1) as [Name, number])[0]
}

/** A copy in random order. */
export function shuffled<T>(random: Random, items: readonly T[]): T[] {
  const copy = [...items]
  for (let last = copy.length - 1; last > 0; last--) {
    const other = between(random, 0, last)
    ;[copy[last], copy[other]] = [copy[other] as T, copy[last] as T]
  }
  return copy
}
