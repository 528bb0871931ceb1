import type { Content } from '../contents/content.ts'
import type { Findings } from '../findings.ts'
import type { History } from '../history.ts'
import { words } from '../words.ts'
import { type Contradiction, counterContradiction } from './counter.ts'
import { type KeyHistories, keyHistories } from './key-histories.ts'
import type { KeyOperation } from './key-operation.ts'
import { registerContradiction } from './register.ts'

/** What was checked for linearizability. */
export interface LinearizabilityChecked {
  /** Counters, registers and unique keys: each is a history of its own. */
  readonly histories: number
  readonly operations: number
  /** Histories with too many possible orders to be decided. */
  readonly undecided: number
}

/**
 * Whether every counter, register and unique key answered as one would that does one operation at a time, each at some
 * moment between its call and its answer; what is in the file now is the last answer. One key at a time is enough: a
 * whole is linearizable if its objects are (Herlihy and Wing, TOPLAS 1990, "locality").
 */
export function checkLinearizability(
  histories: readonly History[],
  content: Content,
  findings: Findings,
): LinearizabilityChecked {
  const { counters, registers }: KeyHistories = keyHistories(histories, content)
  const begin = Math.min(...histories.map(({ entries }) => entries[0]?.start ?? Number.POSITIVE_INFINITY))
  let operations = 0
  let undecided = 0
  const objectTo = (key: string, found: Contradiction<unknown> | undefined) => {
    if (!found) return
    const first = found.operations.find(({ worker }) => worker !== undefined)
    const told = found.operations.map((operation) => `\n    ${sentence(operation, begin)}`).join('')
    findings.add({
      kind: 'notLinearizable',
      worker: first?.worker,
      record: key,
      message: `${key}: ${found.why}:${told}`,
    })
  }
  for (const [key, history] of counters) {
    operations += history.length
    objectTo(key, counterContradiction(history))
  }
  for (const [key, history] of registers) {
    operations += history.length
    const found = registerContradiction(history)
    if (found === 'undecided') undecided++
    else objectTo(key, found)
  }
  return { histories: counters.size + registers.size, operations, undecided }
}

function sentence({ worker, index, act, start, end }: KeyOperation<unknown>, begin: number): string {
  const who = worker === undefined ? 'in the file at the end' : `worker ${worker}, operation ${index}`
  const ms = (at: number) => (Number.isFinite(at) ? `${((at - begin) / 1e6).toFixed(3)} ms` : 'the end')
  const { kind, ...rest } = act as { kind: string }
  const values = Object.entries(rest).map(([name, value]) => `${name} ${value}`)
  return `${who}: ${[words(kind), ...values].join(' ')}, from ${ms(start)} to ${ms(end)}`
}
