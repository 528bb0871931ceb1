import { InvalidArgumentError } from 'commander'

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

/** A parser for durations in seconds from `from` up, given in milliseconds; `Infinity` where there may be no end. */
export function seconds(from: number, most: number = Number.POSITIVE_INFINITY): (text: string) => number {
  return (text) => {
    const value = Number(text)
    if (text.trim() !== '' && value >= from && value <= most) return value * 1000
    const upTo = most === Number.POSITIVE_INFINITY ? 'up, or Infinity' : `to ${most}`
    throw new InvalidArgumentError(`It must be a number of seconds from ${from} ${upTo}.`)
  }
}
