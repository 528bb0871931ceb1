import { isObserver, type KeyOperation, type RegisterAct, step } from './key-operation.ts'

type RegisterOperation = KeyOperation<RegisterAct>

export type Outcome =
  | 'linearizable'
  | 'not linearizable'
  /** Too many orders to try them all. */
  | 'undecided'

/** How many configurations are looked at before it is given up: a second or so. */
const BUDGET = 50_000

/** A point of the search: some operations have been put in order, and these may come next. */
interface Frame {
  readonly state: number
  /** The latest invocation among the ordered ones: whatever ended before it comes too late. */
  readonly latestStart: number
  /** The first of the answered operations that has no place yet. */
  readonly low: number
  /** What was put in order to come here. */
  readonly placed: readonly number[]
  readonly candidates: readonly number[]
  next: number
}

/**
 * Whether the operations on one register can be put in an order that explains every answer, and in which what had ended
 * before another began comes first. Operations that were never answered may be left out.
 *
 * The search of Wing and Gong ("Testing and Verifying Concurrent Objects", JPDC 1993) with the memory of Lowe ("Testing for
 * linearizability", 2017): next in the order comes any operation that began before every unplaced one had ended; a
 * set of placed operations with its state is never looked at twice. One key at a time, as in Horn and Kroening ("Faster
 * linearizability checking via P-compositionality", 2015). An operation that changes nothing is placed as soon as it fits.
 *
 * @param initial the state before all of them
 */
export function search(
  history: readonly RegisterOperation[],
  initial: number,
  budget: number = BUDGET,
): Outcome {
  const operations = [...history].sort((a, b) => a.start - b.start)
  const count = operations.length
  const at = (index: number) => operations[index] as RegisterOperation
  const placed = new Uint8Array(count)
  const pending = operations.flatMap(({ isPending }, index) => (isPending ? [index] : []))
  const seen = new Set<string>()

  /** The answered ones that may come next, and the first unplaced. */
  const eligible = (from: number): { low: number; answered: number[]; bound: number } => {
    let low = from
    while (low < count && (placed[low] === 1 || at(low).isPending)) low++
    const found: number[] = []
    let bound = Number.POSITIVE_INFINITY
    for (let index = low; index < count && at(index).start <= bound; index++) {
      if (placed[index] === 1 || at(index).isPending) continue
      found.push(index)
      bound = Math.min(bound, at(index).end)
    }
    return { low, answered: found, bound }
  }

  /** Places what fits and changes nothing, then says what may come next; undefined where all of this is known already. */
  const frame = (
    from: number,
    state: number,
    latestStart: number,
    placedHere: number[],
  ): Frame | undefined => {
    let latest = latestStart
    let look = eligible(from)
    for (;;) {
      const free = look.answered.find((index) => {
        const operation = at(index)
        return (
          isObserver(operation) &&
          step(state, operation) === state &&
          // Who must happen before this one began, if at all, would be shut out.
          !pending.some((other) => placed[other] === 0 && at(other).end < operation.start)
        )
      })
      if (free === undefined) break
      placed[free] = 1
      placedHere.push(free)
      latest = Math.max(latest, at(free).start)
      look = eligible(look.low)
    }
    const alive = pending.filter((index) => at(index).end >= latest)
    const ahead: number[] = []
    for (let index = look.low + 1; index < count && at(index).start <= latest; index++) {
      if (placed[index] === 1 && !at(index).isPending) ahead.push(index)
    }
    const key = `${state}|${latest}|${look.low}|${ahead}|${alive.filter((index) => placed[index] === 1)}`
    if (seen.has(key)) return undefined
    seen.add(key)
    // What ended first tends to have happened first; what was never answered is tried last.
    look.answered.sort((a, b) => at(a).end - at(b).end)
    const unanswered = alive.filter((index) => placed[index] === 0 && at(index).start <= look.bound)
    return {
      state,
      latestStart: latest,
      low: look.low,
      placed: placedHere,
      candidates: [...look.answered, ...unanswered],
      next: 0,
    }
  }

  const first = frame(0, initial, Number.NEGATIVE_INFINITY, []) as Frame
  const stack: Frame[] = [first]
  for (;;) {
    const top = stack.at(-1)
    if (!top) return 'not linearizable'
    if (top.low >= count) return 'linearizable'
    if (seen.size > budget) return 'undecided'
    const candidate = top.candidates[top.next++]
    if (candidate === undefined) {
      stack.pop()
      for (const index of top.placed) placed[index] = 0
      continue
    }
    const operation = at(candidate)
    const state = step(top.state, operation)
    if (state === undefined || (operation.isPending && state === top.state)) continue
    placed[candidate] = 1
    const placedHere = [candidate]
    const next = frame(top.low, state, Math.max(top.latestStart, operation.start), placedHere)
    if (next) stack.push(next)
    else for (const index of placedHere) placed[index] = 0
  }
}
