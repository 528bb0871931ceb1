import type { Content } from '../contents/content.ts'
import type { History } from '../history.ts'
import type { Entry } from '../ledger.ts'
import { ABSENT, type Answer } from '../operation.ts'
import type { CounterAct, KeyOperation, RegisterAct } from './key-operation.ts'

/** What happened to each key. */
export interface KeyHistories {
  readonly counters: ReadonlyMap<string, readonly KeyOperation<CounterAct>[]>
  /** Registers, and unique keys. */
  readonly registers: ReadonlyMap<string, readonly KeyOperation<RegisterAct>[]>
}

/** Sorts the operations by the key that they are about, and adds what is in the file as a last look at it. */
export function keyHistories(histories: readonly History[], content: Content): KeyHistories {
  const counters = new Map<string, KeyOperation<CounterAct>[]>()
  const registers = new Map<string, KeyOperation<RegisterAct>[]>()
  let last = 0
  for (const { worker, entries } of histories) {
    for (const [position, entry] of entries.entries()) {
      last = Math.max(last, entry.start, entry.end ?? 0)
      // A process that went on after a kill began when the killed one was dead.
      const when = { worker, ...timesOf(entry, entries[position + 1]?.start) }
      const counted = counterAct(entry)
      if (counted) push(counters, counted.key, { ...when, act: counted.act })
      const registered = registerAct(entry)
      if (registered) push(registers, registered.key, { ...when, act: registered.act })
    }
  }
  if (content.unreadable === undefined) {
    const when = {
      worker: undefined,
      index: -1,
      start: last + 1,
      end: Number.POSITIVE_INFINITY,
      isPending: false,
    }
    for (const key of counters.keys()) {
      const value = content.counters.get(key) ?? 0
      push(counters, key, { ...when, act: { kind: 'read', value } })
    }
    const values = new Map(content.registers.map(({ key, value }) => [key, value]))
    for (const key of registers.keys()) {
      push(registers, key, { ...when, act: { kind: 'read', value: values.get(key) ?? ABSENT } })
    }
  }
  return { counters, registers }
}

/** Rejected with an error it may have happened all the same, and nobody says by when. */
function timesOf(
  { index, start, end, answer }: Entry,
  next: number | undefined,
): Omit<KeyOperation<unknown>, 'act' | 'worker'> {
  const isPending = answer === undefined || answer.said === 'error'
  if (!isPending) return { index, start, end: end as number, isPending }
  return {
    index,
    start,
    end: answer ? Number.POSITIVE_INFINITY : (next ?? Number.POSITIVE_INFINITY),
    isPending,
  }
}

function counterAct({ operation, answer }: Entry): { key: string; act: CounterAct } | undefined {
  if (!('counter' in operation) || answer?.said === 'stale') return undefined
  const kind = operation.kind === 'increment' ? 'increment' : 'read'
  const value = told(answer)
  if (value === undefined && kind === 'read') return undefined
  return { key: operation.counter, act: { kind, value: value ?? 0 } }
}

function registerAct({ operation, answer }: Entry): { key: string; act: RegisterAct } | undefined {
  const value = told(answer)
  switch (operation.kind) {
    case 'readRegister':
      return value === undefined ? undefined : { key: operation.register, act: { kind: 'read', value } }
    case 'readKey':
      return value === undefined ? undefined : { key: operation.key, act: { kind: 'read', value } }
    case 'writeRegister':
      return { key: operation.register, act: { kind: 'write', value: operation.value } }
    case 'compareAndSet': {
      const { from, to } = operation
      return { key: operation.register, act: { kind: 'compareAndSet', from, to, done: value === 1 } }
    }
    case 'insertKey': {
      const act = {
        kind: 'compareAndSet',
        from: ABSENT,
        to: operation.value,
        done: answer?.said === 'done',
      } as const
      return { key: operation.key, act }
    }
    case 'deleteKey':
      return { key: operation.key, act: { kind: 'delete', done: (value ?? 0) > 0 } }
    default:
      return undefined
  }
}

function told(answer: Answer | undefined): number | undefined {
  return answer?.said === 'done' ? answer.value : undefined
}

function push<Act>(map: Map<string, KeyOperation<Act>[]>, key: string, operation: KeyOperation<Act>): void {
  const list = map.get(key)
  if (list) list.push(operation)
  else map.set(key, [operation])
}
