import { InvalidArgumentError, Option } from 'commander'

/** A parser for whole numbers within these bounds. */
export function wholeNumber(from: number, to: number = Number.MAX_SAFE_INTEGER): (text: string) => number {
  return (text) => {
    const value = Number(text)
    if (/^\d+$/.test(text) && value >= from && value <= to) return value
    const upTo = to === Number.MAX_SAFE_INTEGER ? 'up' : `to ${to}`
    throw new InvalidArgumentError(`It must be a whole number from ${from} ${upTo}.`)
  }
}

/** A parser for durations in milliseconds. */
export function milliseconds(text: string): number {
  const value = Number(text)
  if (text.trim() !== '' && value >= 0 && Number.isFinite(value)) return value
  throw new InvalidArgumentError('It must be a number of milliseconds from 0 up.')
}

/**
 * A parser for durations in seconds within these bounds, given in milliseconds; without an upper one also `Infinity`.
 * @param advice a sentence more for the one who mistyped
 */
export function seconds(
  from: number,
  to: number = Number.POSITIVE_INFINITY,
  advice?: string,
): (text: string) => number {
  return (text) => {
    const value = Number(text)
    if (text.trim() !== '' && value >= from && value <= to) return value * 1000
    const upTo = to === Number.POSITIVE_INFINITY ? 'up, or Infinity' : `to ${to}`
    throw new InvalidArgumentError(
      `It must be a number of seconds from ${from} ${upTo}.${advice ? ` ${advice}` : ''}`,
    )
  }
}

/** A parser for how often something is done: `5/s`, `0.5/s`, and 0 for never. */
export function rate(text: string): number {
  const value = Number(/^(\d+(?:\.\d+)?)\/s$/.exec(text)?.[1] ?? (text === '0' ? 0 : Number.NaN))
  if (value >= 0 && value <= 1000) return value
  throw new InvalidArgumentError('It must be a rate, so many times a second, such as 2/s or 0.5/s.')
}

/** A parser for a number, or a rate. */
export function killsOrRate(text: string): number | { readonly perSecond: number } {
  return text.includes('/') ? { perSecond: rate(text) } : wholeNumber(0)(text)
}

/** For every command that takes the lock of a file, or looks at it. A new one each time: commander keeps values in it. */
export function lockPathOption(): Option {
  return new Option(
    '--lock-path <path>',
    'the lock file, where the store has one of its own (lockPath)',
  ).argParser((text) => {
    if (text !== '') return text
    throw new InvalidArgumentError('It must be a path.')
  })
}
