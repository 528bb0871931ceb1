import { ABSENT } from '../operation.ts'
import type { Contradiction } from './counter.ts'
import { ANY, isObserver, type KeyOperation, type RegisterAct } from './key-operation.ts'
import { search } from './search.ts'

type RegisterOperation = KeyOperation<RegisterAct>

/** Fewer than this are made fewer one by one; and the orders tried for each of these attempts. */
const FEW = 80
const ATTEMPT = 5_000

/**
 * Whether the operations on one register, or one unique key, have an order that explains every answer and respects real
 * time: it begins absent. Where they have none, the shortest part that shows it is looked for: a part has none only if
 * the whole has none, since whatever is left out of it could only have explained less.
 * @returns undefined where there is such an order
 */
export function registerContradiction(
  history: readonly RegisterOperation[],
): Contradiction<RegisterAct> | 'undecided' | undefined {
  const phantom = unwritten(history)
  if (phantom) return { why: 'it saw what nobody had written by the time it ended', operations: [phantom] }
  const stale = overwritten(history)
  if (stale) return { why: 'it saw what had been overwritten before it began', operations: stale }
  const outcome = search(history, ABSENT)
  if (outcome === 'linearizable') return undefined
  if (outcome === 'undecided') return 'undecided'
  const { operations, initial } = shortest(history)
  return {
    why: `no order explains these answers${initial === ANY ? '' : ', from the beginning on'}`,
    operations: operations.filter(({ isPending }) => !isPending),
  }
}

/** An operation that found a value which no operation that had begun by its end can have written. */
function unwritten(history: readonly RegisterOperation[]): RegisterOperation | undefined {
  const written = new Map<number, number>([[ABSENT, Number.NEGATIVE_INFINITY]])
  for (const { act, start } of history) {
    const value = act.kind === 'write' ? act.value : act.kind === 'compareAndSet' ? act.to : undefined
    if (value !== undefined)
      written.set(value, Math.min(start, written.get(value) ?? Number.POSITIVE_INFINITY))
  }
  return history.find(({ act, end, isPending }) => {
    const seen =
      act.kind === 'read' ? act.value : act.kind === 'compareAndSet' && act.done ? act.from : undefined
    return !isPending && seen !== undefined && !((written.get(seen) ?? Number.POSITIVE_INFINITY) <= end)
  })
}

/** The value that an operation sets, if it takes effect. */
function setBy({ act }: RegisterOperation): number | undefined {
  if (act.kind === 'delete') return ABSENT
  return act.kind === 'write' ? act.value : act.kind === 'compareAndSet' ? act.to : undefined
}

/** Whether it is known to have taken effect. */
function isSure({ act, isPending }: RegisterOperation): boolean {
  return !isPending && (act.kind === 'write' || (act.kind !== 'read' && act.done))
}

/**
 * An operation that found a value although another was set after the last time that could have set it, and before it
 * began: what is most often wrong, found without trying orders.
 */
function overwritten(history: readonly RegisterOperation[]): RegisterOperation[] | undefined {
  const lastEnds = new Map<number, number>([[ABSENT, Number.NEGATIVE_INFINITY]])
  for (const one of history) {
    // Also what was never answered: it may have set it.
    const value = setBy(one)
    if (value !== undefined)
      lastEnds.set(value, Math.max(one.end, lastEnds.get(value) ?? Number.NEGATIVE_INFINITY))
  }
  const sure = history.filter(isSure)
  for (const observer of history) {
    const { act, start, isPending } = observer
    const seen =
      act.kind === 'read' ? act.value : act.kind === 'compareAndSet' && act.done ? act.from : undefined
    if (isPending || seen === undefined) continue
    const lastEnd = lastEnds.get(seen) ?? Number.NEGATIVE_INFINITY
    const other = sure.find((one) => one.start > lastEnd && one.end < start && setBy(one) !== seen)
    if (other) return [other, observer]
  }
  return undefined
}

interface Part {
  readonly operations: readonly RegisterOperation[]
  readonly initial: number
}

function shortest(history: readonly RegisterOperation[]): Part {
  const beginning = upTo(
    history,
    leastTime(
      history.map(({ end }) => end),
      (time) => contradicts({ operations: upTo(history, time), initial: ABSENT }),
    ),
  )
  const starts = beginning.filter(({ isPending }) => !isPending).map(({ start }) => -start)
  const last = leastTime(starts, (time) => contradicts({ operations: from(beginning, -time), initial: ANY }))
  const part: Part = contradicts({ operations: from(beginning, -last), initial: ANY })
    ? { operations: from(beginning, -last), initial: ANY }
    : { operations: beginning, initial: ABSENT }
  return part.operations.length > FEW ? part : thinned(part)
}

function contradicts({ operations, initial }: Part): boolean {
  return search(operations, initial, ATTEMPT) === 'not linearizable'
}

/** The least of these times for which it holds: it holds for the greatest, and from one on for all. */
function leastTime(times: readonly number[], holds: (time: number) => boolean): number {
  const sorted = [...new Set(times)].sort((a, b) => a - b)
  let low = 0
  let high = sorted.length - 1
  while (low < high) {
    const middle = (low + high) >> 1
    if (holds(sorted[middle] as number)) high = middle
    else low = middle + 1
  }
  return sorted[high] as number
}

/** What was known at that time: answers that came later are unknown. */
function upTo(history: readonly RegisterOperation[], time: number): RegisterOperation[] {
  return history.flatMap((operation) => {
    if (operation.start > time) return []
    return operation.end <= time || operation.isPending ? [operation] : unanswered(operation)
  })
}

/** What began at that time or later, and what may have happened later; the state by then is not known. */
function from(history: readonly RegisterOperation[], time: number): RegisterOperation[] {
  return history.flatMap((operation) => {
    if (operation.start >= time) return [operation]
    return operation.end < time ? [] : unanswered(operation)
  })
}

/** As if its answer were not known: it may have happened at any time it was under way, or not at all. */
function unanswered(operation: RegisterOperation): RegisterOperation[] {
  return isObserver(operation) ? [] : [{ ...operation, isPending: true }]
}

/** Leaves the answers out one by one that are not needed for the contradiction. */
function thinned({ operations, initial }: Part): Part {
  let left = [...operations].sort((a, b) => a.start - b.start)
  for (const operation of left.filter(({ isPending }) => !isPending)) {
    const without = left.flatMap((other) => (other === operation ? unanswered(other) : [other]))
    if (contradicts({ operations: without, initial })) left = without
  }
  return { operations: left, initial }
}
