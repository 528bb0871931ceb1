import type { CounterAct, KeyOperation } from './key-operation.ts'

type CounterOperation = KeyOperation<CounterAct>

/** Why no order explains what a counter answered: the shortest part of the history that shows it. */
export interface Contradiction<Act> {
  readonly why: string
  readonly operations: readonly KeyOperation<Act>[]
}

/**
 * Whether the operations on one counter (it begins at 0, and only ever grows by 1) have an order that explains every
 * answer and respects real time. Here the answers tell the order: the increment that came to n is the nth, and reads of
 * n come between it and the next. It remains to see whether all can have a moment of their own, one after the other, each
 * between its beginning and its end: every one takes the earliest that is left, which is the best for all later ones.
 * Values that nobody was told belong to unanswered increments, the ones that began first. So it takes the time of a sort,
 * as it does for any object whose answers tell the order (Gibbons and Korach, "Testing Shared Memories", SIAM J. Comput.
 * 1997, "read-mapping" and "write-order" known), and is exact.
 *
 * @returns undefined where there is such an order
 */
export function counterContradiction(
  history: readonly CounterOperation[],
): Contradiction<CounterAct> | undefined {
  const answered = history.filter(({ isPending }) => !isPending)
  const pending = history.filter(({ isPending }) => isPending).sort(byStart)
  const increments = new Map<number, CounterOperation>()
  const reads = new Map<number, CounterOperation[]>()
  let highest: CounterOperation | undefined
  for (const operation of answered) {
    const { kind, value } = operation.act
    if (value > (highest?.act.value ?? 0)) highest = operation
    const twin = kind === 'increment' ? increments.get(value) : undefined
    if (twin) return { why: `two increments came to ${value}`, operations: [twin, operation].sort(byStart) }
    if (kind === 'increment') increments.set(value, operation)
    else reads.set(value, [...(reads.get(value) ?? []), operation])
  }

  let now = Number.NEGATIVE_INFINITY
  let latest: CounterOperation | undefined
  let spare = 0
  const place = (operation: CounterOperation): Contradiction<CounterAct> | undefined => {
    if (operation.start > now) {
      now = operation.start
      latest = operation
    }
    if (now <= operation.end || operation.isPending) return undefined
    const other = latest as CounterOperation
    return {
      why: other.isPending
        ? `${operation.act.value} counts an increment that had not begun`
        : `${said(operation)}, and had ended when the one began that ${said(other)}`,
      operations: [operation, other],
    }
  }

  const top = highest?.act.value ?? 0
  for (let value = 0; value <= top; value++) {
    if (value > 0) {
      const increment = increments.get(value) ?? pending[spare++]
      if (!increment) {
        const beyond = answered.filter(({ act }) => act.value >= value).sort((a, b) => a.end - b.end)[0]
        return {
          why: `no increment came to ${value}, nor can one have that was never answered`,
          operations: [beyond as CounterOperation],
        }
      }
      const contradiction = place(increment)
      if (contradiction) return contradiction
    }
    for (const read of (reads.get(value) ?? []).sort(byStart)) {
      const contradiction = place(read)
      if (contradiction) return contradiction
    }
  }
  return undefined
}

function said({ act: { kind, value } }: CounterOperation): string {
  return kind === 'increment' ? `came to ${value}` : `read ${value}`
}

function byStart(a: CounterOperation, b: CounterOperation): number {
  return a.start - b.start
}
